"""Assertions with a stated resolution, and references that share no code with the library."""

import math

import mpmath
import numpy as np


def assert_mc_close(theory, estimate, *, num_sigmas=5.0, rel_resolution=0.05):
    """Compare a formula with a simulation that could have seen a wrong formula.

    Fails if the two differ by more than ``num_sigmas`` standard errors, which happens by chance
    six times in ten million at five, and fails if the simulation is too coarse to have noticed a
    relative error of ``rel_resolution``.
    """
    resolution = num_sigmas * estimate.std_error / abs(theory)
    assert resolution <= rel_resolution, (
        f"resolves {resolution:.2%} of the theory, {rel_resolution:.2%} is asked for"
    )
    z = estimate.z_score(theory)
    assert abs(z) <= num_sigmas, f"{estimate.mean:.6g} against {theory:.6g}: z = {z:.2f}"


def assert_slope(x, y, expected, *, tol):
    """Compare the slope of a straight line through (x, y), least squares, with a value."""
    slope = np.polyfit(x, y, 1)[0]
    assert abs(slope - expected) <= tol, f"slope {slope:.4f}, expected {expected:.4f} +- {tol}"


def exact_density(source):
    """Density of the standardized source in mpmath, from its textbook form."""
    mp = mpmath.mp
    name = type(source).__name__
    if name == "Gaussian":
        return lambda z: mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)
    if name == "Laplace":
        return lambda z: mp.exp(-mp.sqrt(2) * abs(z)) / mp.sqrt(2)
    if name == "Uniform":
        return lambda z: 1 / (2 * mp.sqrt(3)) if abs(z) <= mp.sqrt(3) else mp.mpf(0)
    nu = mp.mpf(source.df)
    scale = mp.sqrt((nu - 2) / nu)
    peak = mp.gamma((nu + 1) / 2) / mp.gamma(nu / 2) / mp.sqrt(nu * mp.pi) / scale
    return lambda z: peak * (1 + (z / scale) ** 2 / nu) ** (-(nu + 1) / 2)


def exact_cell_moment(source, lower, upper, reference, order):
    """Moment of a source over one cell by 40-digit quadrature, split where the density bends."""
    mp = mpmath.mp
    with mpmath.workdps(40):
        density, std, mean = exact_density(source), mp.mpf(source.std), mp.mpf(source.mean)
        a, b, y = ((mp.mpf(float(v)) - mean) / std for v in (lower, upper, reference))
        end = mp.sqrt(3) if type(source).__name__ == "Uniform" else mp.inf
        a, b = max(a, -end), min(b, end)
        if a >= b:
            return 0.0
        # Geometric distances from both ends, so that a steep or narrow cell is resolved.
        steps = [mp.mpf(2) ** k for k in range(-6, 7)]
        inner = [mp.mpf(k) for k in (-8, -4, -2, -1, 0, 1, 2, 4, 8)]
        inner += [a + s for s in steps if a > -mp.inf] + [b - s for s in steps if b < mp.inf]
        points = [a, *sorted({p for p in inner if a < p < b}), b]
        # The tolerance of mpmath is absolute: far tails are scaled up to the size of one.
        peak = density(min(max(mp.mpf(0), a), b))
        value = mp.quad(lambda z: (z - y) ** order * (density(z) / peak), points)
        return float(std**order * value * peak)


def exact_distortion(quantizer, source):
    """Distortion by 40-digit quadrature, cell by cell."""
    edges = [-math.inf, *quantizer.thresholds, math.inf]
    return math.fsum(
        exact_cell_moment(source, edges[i], edges[i + 1], level, 2)
        for i, level in enumerate(quantizer.levels)
    )
