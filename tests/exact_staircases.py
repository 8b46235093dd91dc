"""Moments of staircases in 40 digits, by routes that share nothing with the library."""

import itertools

import mpmath

DIGITS = 40


def tail(x):
    """Upper tail of the standard normal law."""
    return mpmath.erfc(x / mpmath.sqrt(2)) / 2


def steps(staircase, variance):
    """Thresholds in standard deviations and heights, as exact numbers."""
    sigma = mpmath.sqrt(mpmath.mpf(variance))
    levels = [mpmath.mpf(float(y)) for y in staircase.levels]
    thresholds = [mpmath.mpf(float(g)) / sigma for g in staircase.thresholds]
    return thresholds, [b - a for a, b in itertools.pairwise(levels)], levels


def moment(staircase, variance, power):
    """Mean of a power of the output, cell by cell."""
    with mpmath.workdps(DIGITS):
        thresholds, _, levels = steps(staircase, variance)
        edges = [mpmath.ninf, *thresholds, mpmath.inf]
        cells = zip(levels, edges, edges[1:], strict=False)
        return mpmath.fsum(y**power * (tail(a) - tail(b)) for y, a, b in cells)


def slope(staircase, correlation, variance):
    """Slope of the cross moment: the double sum of bivariate densities."""
    with mpmath.workdps(DIGITS):
        thresholds, heights, _ = steps(staircase, variance)
        c = mpmath.mpf(correlation)
        pairs = [
            h * k * mpmath.exp(-(s * s + t * t - 2 * c * s * t) / (2 * (1 - c * c)))
            for s, h in zip(thresholds, heights, strict=True)
            for t, k in zip(thresholds, heights, strict=True)
        ]
        return mpmath.fsum(pairs) / (2 * mpmath.pi * mpmath.sqrt(1 - c * c))


def cross_moment(staircase, correlation, variance):
    """Cross moment: mean squared plus the slope integrated from zero, in the arcsine variable."""
    with mpmath.workdps(20):
        thresholds, heights, _ = steps(staircase, variance)

        def integrand(angle):
            sine, cosine = mpmath.sin(angle), mpmath.cos(angle)
            return mpmath.fsum(
                h * k * mpmath.exp(-(s * s + t * t - 2 * s * t * sine) / (2 * cosine**2))
                for s, h in zip(thresholds, heights, strict=True)
                for t, k in zip(thresholds, heights, strict=True)
            )

        end = mpmath.asin(mpmath.mpf(correlation))
        gaps = [mpmath.pi / 2 * (1 - mpmath.mpf(2) ** -k) for k in range(1, 12)]
        inner = [g * mpmath.sign(end) for g in gaps if g < abs(end)]
        covariance = mpmath.quad(integrand, [0, *inner, end]) / (2 * mpmath.pi)
        return moment(staircase, variance, 1) ** 2 + covariance


def uniform_optimum(num_levels, start):
    """Root of D q(D) = a(D) with 1 - D a(D), straight from the sums over all thresholds."""
    with mpmath.workdps(DIGITS):
        places = [mpmath.mpf(2 * k - num_levels) / 2 for k in range(1, num_levels)]
        positive = [j for j in places if j > 0]
        middle = mpmath.mpf(1) / 4 if num_levels % 2 == 0 else mpmath.mpf(0)

        def sums(spacing):
            a = 2 * mpmath.fsum(mpmath.npdf(j * spacing) for j in positive)
            a += mpmath.npdf(0) if num_levels % 2 == 0 else 0
            return a, middle + 4 * mpmath.fsum(j * tail(j * spacing) for j in positive)

        def equation(spacing):
            a, q = sums(spacing)
            return spacing * q - a

        root = mpmath.findroot(equation, (mpmath.mpf(start), mpmath.mpf(start) * 1.0001))
        return root, 1 - root * sums(root)[0]
