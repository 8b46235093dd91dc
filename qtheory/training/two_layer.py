r"""Straight-through estimators on a network of two linear layers, in closed form.

Student and teacher compute :math:`v^\top \sigma(Z w)` with :math:`\sigma = 1\{\cdot > 0\}` from a
matrix :math:`Z` of independent standard normal numbers, one row a hidden unit. The loss is half
the mean squared difference; its gradient in the weights is zero on every sample, so training
replaces the derivative of :math:`\sigma` by that of a surrogate.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from qtheory._checks import (
    as_float_array,
    check_instance,
    check_integer,
    check_nonempty,
    check_positive,
    fail,
)
from qtheory.numerics import normal_density

__all__ = [
    "SURROGATES",
    "CoarseDescent",
    "SaddlePoint",
    "SpuriousPoint",
    "TwoLayerTeacher",
    "coarse_descent",
    "coarse_gradient",
    "descent_learning_rate",
    "gradient_cosine",
    "population_gradient",
    "population_loss",
    "saddle_point",
    "spurious_point",
]

FloatArray = NDArray[np.float64]
Surrogate = str | tuple[float, float]

SURROGATES: dict[str, tuple[float, float]] = {
    "identity": (-math.inf, math.inf),
    "relu": (0.0, math.inf),
    "clipped_relu": (0.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
}
"""Straight-through estimators by name: where the surrogate's derivative is one; else it is zero."""


# Overlap at the spurious point, over the power of the teacher's output, that rounding explains.
OVERLAP_ROUNDING = 1e-14


@dataclass(frozen=True, eq=False)
class TwoLayerTeacher:
    r"""The network that gives the labels.

    Parameters
    ----------
    output : array_like
        Weights :math:`v^*` of the second layer, shape ``(num_units,)``, not all zero.
    weights : array_like
        Weights :math:`w^*` shared by the hidden units, shape ``(dimension,)``, dimension at least
        two, not all zero. They are kept with length one, since the binary activation does not
        see the length.

    Raises
    ------
    ValueError
        If a vector has another shape, is zero or is not finite.

    Notes
    -----
    Book: ch10-model.

    Examples
    --------
    >>> from qtheory.training import TwoLayerTeacher
    >>> TwoLayerTeacher([1.0, 2.0], [3.0, 4.0]).weights
    array([0.6, 0.8])
    """

    output: FloatArray
    weights: FloatArray

    def __post_init__(self) -> None:
        """Check and copy the vectors."""
        output = _vector("output", self.output, minimum=1)
        weights = _unit(_vector("weights", self.weights, minimum=2))
        for name, array in (("output", output), ("weights", weights)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)


@dataclass(frozen=True, eq=False)
class SpuriousPoint:
    r"""The stationary point at which the hidden weights point away from the teacher's.

    Parameters
    ----------
    output : numpy.ndarray
        The second layer :math:`v` that is best there, shape ``(num_units,)``.
    weights : numpy.ndarray
        The direction :math:`-w^*`, shape ``(dimension,)``.
    loss : float
        Population loss there.
    overlap : float
        :math:`v^\top v^*`, zero if it is zero up to rounding. Below zero the point is a local
        minimum, else it is none.
    pull : float
        :math:`\|v\|^2 + v^\top v^* \ge 0`, the size of what an estimator with a derivative on
        negative inputs feels there.
    """

    output: FloatArray
    weights: FloatArray
    loss: float
    overlap: float
    pull: float

    @property
    def is_local_minimum(self) -> bool:
        """Whether the loss falls in no direction."""
        return self.overlap < 0


@dataclass(frozen=True, eq=False)
class SaddlePoint:
    r"""Where both layers are stationary although the weights are not those of the teacher.

    Parameters
    ----------
    output : numpy.ndarray
        The second layer :math:`v`, orthogonal to the teacher's, shape ``(num_units,)``.
    angle : float
        Angle of the hidden weights to the teacher's, in radians, between 0 and pi.
    loss : float
        Population loss there.
    """

    output: FloatArray
    angle: float
    loss: float


@dataclass(frozen=True, eq=False)
class CoarseDescent:
    """A path of gradient descent with expected coarse gradients.

    Parameters
    ----------
    losses, angles, norms : numpy.ndarray
        Population loss, angle to the teacher's weights in radians and length of the hidden
        weights before each step and after the last, shape ``(num_steps + 1, ...)``.
    output, weights : numpy.ndarray
        Both layers after the last step.
    """

    losses: FloatArray
    angles: FloatArray
    norms: FloatArray
    output: FloatArray
    weights: FloatArray


def population_loss(teacher: TwoLayerTeacher, output: ArrayLike, weights: ArrayLike) -> FloatArray:
    r"""Half the mean squared difference of student and teacher.

    Parameters
    ----------
    teacher : TwoLayerTeacher
        The network that gives the labels.
    output : array_like
        Second layer :math:`v`, shape ``(..., num_units)``.
    weights : array_like
        Hidden weights :math:`w`, shape ``(..., dimension)``, not zero.

    Returns
    -------
    numpy.ndarray
        The loss, shape ``(...)``.

    Raises
    ------
    ValueError
        If a shape does not fit the teacher, a number is not finite, or ``weights`` is zero.

    See Also
    --------
    qtheory.training.simulate.two_layer_gradients : The same, by sampling.

    Notes
    -----
    Book: ch10-population-loss.

    Assumptions: independent standard normal inputs.

    Accuracy: 1e-15 of :math:`(\|v\| + \|v^*\|)^2` times the number of units.

    Examples
    --------
    >>> from qtheory.training import TwoLayerTeacher, population_loss
    >>> teacher = TwoLayerTeacher([1.0], [1.0, 0.0])
    >>> float(population_loss(teacher, [1.0], [-1.0, 0.0]))
    0.5
    """
    v, w = _student(teacher, output, weights)
    return _loss(teacher, v, _angle(teacher, w))


def population_gradient(
    teacher: TwoLayerTeacher, output: ArrayLike, weights: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    r"""Gradient of the population loss, which no single sample shows.

    Parameters
    ----------
    teacher : TwoLayerTeacher
        The network that gives the labels.
    output : array_like
        Second layer :math:`v`, shape ``(..., num_units)``.
    weights : array_like
        Hidden weights :math:`w`, shape ``(..., dimension)``, not parallel to the teacher's.

    Returns
    -------
    tuple of numpy.ndarray
        Gradients in ``output`` and in ``weights``, shapes of the two.

    Raises
    ------
    ValueError
        If a shape does not fit the teacher, a number is not finite, or ``weights`` is parallel to
        the teacher's, where the loss has a kink.

    Notes
    -----
    Book: ch10-population-gradient.

    Assumptions: independent standard normal inputs.

    Accuracy: 1e-14 relative, divided by the sine of the angle.
    """
    v, w = _student(teacher, output, weights)
    angle = _angle(teacher, w)
    _check_apart(angle, weights)
    across = _across(teacher, _unit(w))
    overlap = (v @ teacher.output)[..., None]
    length = _length(w)[..., None]
    return _output_gradient(teacher, v, angle), -overlap / (2 * np.pi * length) * across


def coarse_gradient(
    teacher: TwoLayerTeacher,
    output: ArrayLike,
    weights: ArrayLike,
    *,
    kind: Surrogate = "relu",
) -> FloatArray:
    r"""Gradient in the hidden weights that a straight-through estimator gives on average.

    Parameters
    ----------
    teacher : TwoLayerTeacher
        The network that gives the labels.
    output : array_like
        Second layer :math:`v`, shape ``(..., num_units)``.
    weights : array_like
        Hidden weights :math:`w`, shape ``(..., dimension)``, not zero.
    kind : str or tuple of float
        A name of :data:`SURROGATES`, or the two ends of the interval on which the derivative of
        the surrogate is one; infinite ends are let through.

    Returns
    -------
    numpy.ndarray
        Expected coarse gradient, shape of ``weights``.

    Raises
    ------
    ValueError
        If a shape does not fit the teacher, a number is not finite, ``weights`` is zero, or
        ``kind`` is neither a name nor an interval.

    See Also
    --------
    qtheory.training.simulate.two_layer_gradients : The same, by sampling.

    Notes
    -----
    Book: thm-ch10-coarse-gradient and ch10-windows.

    With :math:`a = v^\top v^*`, :math:`s = 1^\top v`, :math:`s^* = 1^\top v^*`, the ends
    :math:`A < B` of the interval over :math:`\|w\|` and :math:`\hat w = w / \|w\|`:

    .. math:: \Bigl[p \|v\|^2 + \tfrac12 b\,(s^2 - s s^* - \|v\|^2 + a)
              - a\,\bigl(\phi(A)\Phi(A \cot\theta) - \phi(B)\Phi(B \cot\theta)\bigr)\Bigr] \hat w
              - a\,\frac{\Phi(B/\sin\theta) - \Phi(A/\sin\theta)}{\sqrt{2\pi}}\,w^* ,

    :math:`b = \phi(A) - \phi(B)`, :math:`p = \phi(A_+) - \phi(B_+)`.

    Assumptions: independent standard normal inputs.

    Accuracy: 1e-14 of :math:`(\|v\| + \|v^*\|)^2` times the number of units.

    Limits: finite at angles zero and pi, where the population gradient does not exist.

    References
    ----------
    Cf. [YinEtAl2019]_ for identity, ReLU and clipped ReLU.

    Examples
    --------
    >>> from qtheory.training import TwoLayerTeacher, coarse_gradient
    >>> teacher = TwoLayerTeacher([1.0], [1.0, 0.0])
    >>> coarse_gradient(teacher, [1.0], [0.0, 2.0], kind="identity").round(6)
    array([-0.398942,  0.398942])
    """
    v, w = _student(teacher, output, weights)
    along, pull = _coefficients(teacher, v, w, _window(kind))
    return along[..., None] * _unit(w) - pull[..., None] * teacher.weights


def gradient_cosine(
    teacher: TwoLayerTeacher,
    output: ArrayLike,
    weights: ArrayLike,
    *,
    kind: Surrogate = "relu",
) -> FloatArray:
    r"""Cosine of the angle between expected coarse gradient and population gradient.

    Parameters
    ----------
    teacher : TwoLayerTeacher
        The network that gives the labels.
    output : array_like
        Second layer :math:`v`, shape ``(..., num_units)``, not orthogonal to the teacher's.
    weights : array_like
        Hidden weights :math:`w`, shape ``(..., dimension)``, not parallel to the teacher's.
    kind : str or tuple of float
        As in :func:`coarse_gradient`.

    Returns
    -------
    numpy.ndarray
        Cosine in the hidden weights, shape ``(...)``, in (0, 1]. NaN where a gradient is zero or
        too small for float64.

    Raises
    ------
    ValueError
        As in :func:`coarse_gradient` and :func:`population_gradient`.

    Notes
    -----
    Book: thm-ch10-correlation.

    Assumptions: independent standard normal inputs.

    Accuracy: the part across the weights is exact up to rounding; the part along them is a sum
    of terms that may cancel, each exact up to rounding.

    Limits: never negative, whatever the interval.

    Examples
    --------
    >>> from qtheory.training import TwoLayerTeacher, gradient_cosine
    >>> teacher = TwoLayerTeacher([1.0], [1.0, 0.0])
    >>> print(round(float(gradient_cosine(teacher, [1.0], [0.0, 2.0], kind="identity")), 6))
    0.707107
    """
    v, w = _student(teacher, output, weights)
    along, pull = _coefficients(teacher, v, w, _window(kind))
    angle = _angle(teacher, w)
    _check_apart(angle, weights)
    # The true gradient has no part along the weights; across them both have the same sign.
    radial, turn = along - pull * np.cos(angle), np.abs(pull) * np.sin(angle)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(turn > 0, turn / np.hypot(radial, turn), np.nan))


def spurious_point(teacher: TwoLayerTeacher) -> SpuriousPoint:
    r"""Best second layer when the hidden weights point the wrong way.

    Parameters
    ----------
    teacher : TwoLayerTeacher
        The network that gives the labels.

    Returns
    -------
    SpuriousPoint
        The point, its loss, and whether it is a local minimum.

    Notes
    -----
    Book: thm-ch10-landscape and thm-ch10-spurious.

    .. math:: v = (I + J)^{-1} (J - I) v^*, \qquad
              v^\top v^* = \frac{2 (1^\top v^*)^2}{m + 1} - \|v^*\|^2, \qquad
              \|v\|^2 + v^\top v^* = \frac{2 (m - 1) (1^\top v^*)^2}{(m + 1)^2} .

    Assumptions: independent standard normal inputs.

    Accuracy: an overlap within 1e-14 of :math:`\|v^*\|^2` from zero counts as zero, and then the
    point as no local minimum.

    References
    ----------
    Cf. [YinEtAl2019]_.

    Examples
    --------
    >>> from qtheory.training import TwoLayerTeacher, spurious_point
    >>> point = spurious_point(TwoLayerTeacher([1.0, -1.0, 1.0], [1.0, 0.0]))
    >>> point.output, point.is_local_minimum
    (array([-0.5,  1.5, -0.5]), True)
    """
    check_instance("teacher", teacher, TwoLayerTeacher)
    v_star, m = teacher.output, teacher.output.size
    total, power = float(v_star.sum()), float(v_star @ v_star)
    overlap = 2 * total**2 / (m + 1) - power
    output = _best_output(teacher, math.pi)
    return SpuriousPoint(
        output=output,
        weights=-teacher.weights,
        loss=float(_loss(teacher, output, np.asarray(math.pi))),
        overlap=0.0 if abs(overlap) <= OVERLAP_ROUNDING * power else overlap,
        pull=2 * (m - 1) * total**2 / (m + 1) ** 2,
    )


def saddle_point(teacher: TwoLayerTeacher) -> SaddlePoint | None:
    r"""Point at which both layers are stationary between the teacher and its opposite.

    Parameters
    ----------
    teacher : TwoLayerTeacher
        The network that gives the labels.

    Returns
    -------
    SaddlePoint or None
        The point, or ``None`` if there is none: then the opposite of the teacher is no local
        minimum either.

    Notes
    -----
    Book: thm-ch10-landscape.

    .. math:: \frac{2\theta}{\pi} = \frac{\|v^*\|^2}{\|v^*\|^2 - (1^\top v^*)^2 / (m + 1)} < 2 .

    Assumptions: independent standard normal inputs.

    Accuracy: of whether there is one, that of :func:`spurious_point`.

    References
    ----------
    Cf. [YinEtAl2019]_.
    """
    check_instance("teacher", teacher, TwoLayerTeacher)
    v_star, m = teacher.output, teacher.output.size
    power = float(v_star @ v_star)
    if spurious_point(teacher).overlap >= 0:
        return None
    angle = 0.5 * math.pi * power / (power - float(v_star.sum()) ** 2 / (m + 1))
    output = _best_output(teacher, angle)
    return SaddlePoint(output, angle, float(_loss(teacher, output, np.asarray(angle))))


def descent_learning_rate(
    teacher: TwoLayerTeacher,
    output: ArrayLike,
    weights: ArrayLike,
    *,
    kind: Surrogate = "relu",
) -> FloatArray:
    r"""Learning rate up to which a step along the expected coarse gradient is sure to descend.

    Parameters
    ----------
    teacher : TwoLayerTeacher
        The network that gives the labels.
    output : array_like
        Second layer :math:`v`, shape ``(..., num_units)``.
    weights : array_like
        Hidden weights :math:`w`, shape ``(..., dimension)``, not zero.
    kind : str or tuple of float
        As in :func:`coarse_gradient`.

    Returns
    -------
    numpy.ndarray
        The largest learning rate that the theorem allows, shape ``(...)``, above zero.

    Raises
    ------
    ValueError
        As in :func:`coarse_gradient`.

    Notes
    -----
    Book: thm-ch10-descent.

    Assumptions: independent standard normal inputs; both layers take the step at once.

    Limits: of the order of the length of the weights as this shrinks, if the interval of the
    surrogate touches zero.
    """
    v, w = _student(teacher, output, weights)
    along, pull = _coefficients(teacher, v, w, _window(kind))
    length = _length(w)
    radial = along - pull * np.cos(_angle(teacher, w))
    turning = _kappa(teacher, w, _window(kind))
    with np.errstate(divide="ignore"):
        limits = [
            np.full(length.shape, 4 / (teacher.output.size + 1)),
            np.where(radial > 0, length / (2 * np.maximum(radial, 0)), np.inf),
            length / (2 * np.abs(pull)),
            np.sqrt(np.pi * length / (2 * turning * (teacher.output @ teacher.output))),
        ]
    return np.asarray(np.min(np.broadcast_arrays(*limits), axis=0))


def coarse_descent(
    teacher: TwoLayerTeacher,
    output: ArrayLike,
    weights: ArrayLike,
    *,
    kind: Surrogate = "relu",
    learning_rate: float,
    num_steps: int,
    normalize: bool = False,
) -> CoarseDescent:
    r"""Gradient descent on both layers, the hidden one with expected coarse gradients.

    Parameters
    ----------
    teacher : TwoLayerTeacher
        The network that gives the labels.
    output : array_like
        Second layer at the start, shape ``(..., num_units)``.
    weights : array_like
        Hidden weights at the start, shape ``(..., dimension)``, not zero.
    kind : str or tuple of float
        As in :func:`coarse_gradient`.
    learning_rate : float
        Step in both layers, above zero.
    num_steps : int
        Number of steps, not negative.
    normalize : bool
        Whether the hidden weights are scaled to length one after each step.

    Returns
    -------
    CoarseDescent
        Losses, angles and lengths along the path, and where it ends.

    Raises
    ------
    ValueError
        If an argument is out of range, the hidden weights become zero on the way, or the learning
        rate is so large that the path leaves float64.

    Notes
    -----
    Book: thm-ch10-descent.

    Assumptions: infinitely many samples in each step.
    """
    v, w = _student(teacher, output, weights)
    rate = check_positive("learning_rate", learning_rate)
    num_steps = check_integer("num_steps", num_steps, minimum=0)
    window, records = _window(kind), []
    for step in range(num_steps + 1):
        angle = _angle(teacher, w)
        records.append((_loss(teacher, v, angle), angle, _length(w)))
        if step == num_steps:
            break
        with np.errstate(over="ignore", invalid="ignore"):
            along, pull = _coefficients(teacher, v, w, window)
            v = v - rate * _output_gradient(teacher, v, angle)
            w = w - rate * (along[..., None] * _unit(w) - pull[..., None] * teacher.weights)
            if not np.isfinite(_loss(teacher, v, angle) + _length(w)).all():
                raise fail("learning_rate", "such that the path stays finite", learning_rate)
        w = _unit(w) if normalize else w
    losses, angles, norms = (np.array(part) for part in zip(*records, strict=True))
    return CoarseDescent(losses, angles, norms, v, w)


def _vector(name: str, value: ArrayLike, *, minimum: int) -> FloatArray:
    """Return a copy of a vector that is finite and not zero."""
    array = np.array(as_float_array(name, value), dtype=np.float64)
    if array.ndim != 1 or array.size < minimum:
        raise fail(name, f"a vector of at least {minimum} numbers", f"shape {array.shape}")
    if not np.isfinite(array).all() or not array.any():
        raise fail(name, "finite and not zero", value)
    return array


def _student(
    teacher: TwoLayerTeacher, output: ArrayLike, weights: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return both layers of the student as arrays that fit the teacher."""
    check_instance("teacher", teacher, TwoLayerTeacher)
    found = []
    for name, value, size in (
        ("output", output, teacher.output.size),
        ("weights", weights, teacher.weights.size),
    ):
        array = np.asarray(as_float_array(name, value), dtype=np.float64)
        check_nonempty(name, array)
        if array.ndim == 0 or array.shape[-1] != size:
            raise fail(name, f"an array whose last axis has {size} entries", f"shape {array.shape}")
        if not np.isfinite(array).all():
            raise fail(name, "finite", value)
        found.append(array)
    if (~found[1].any(axis=-1)).any():
        raise fail("weights", "not zero", weights)
    if not np.isfinite(_length(found[1])).all():
        raise fail("weights", "of finite length", weights)
    return found[0], found[1]


def _check_apart(angle: FloatArray, weights: ArrayLike) -> None:
    """Refuse weights along those of the teacher."""
    if (np.sin(angle) < 1e-12).any():
        raise fail("weights", "not parallel to the teacher's, where the loss has a kink", weights)


def _window(kind: Surrogate) -> tuple[float, float]:
    """Return the interval on which the derivative of the surrogate is one."""
    if isinstance(kind, str) and kind in SURROGATES:
        return SURROGATES[kind]
    number = int | float | np.integer | np.floating
    if isinstance(kind, tuple) and len(kind) == 2 and all(isinstance(x, number) for x in kind):
        lower, upper = float(kind[0]), float(kind[1])
        if lower < upper:
            return lower, upper
    names = ", ".join(map(repr, SURROGATES))
    raise fail("kind", f"one of {names} or an interval (lower, upper)", kind)


def _length(weights: FloatArray) -> FloatArray:
    """Return lengths; squares neither overflow nor vanish, since the largest entry is one."""
    largest = np.abs(weights).max(axis=-1, keepdims=True)
    scaled = weights / np.where(largest > 0, largest, 1.0)
    with np.errstate(over="ignore"):
        return np.asarray(largest[..., 0] * np.linalg.norm(scaled, axis=-1))


def _unit(weights: FloatArray) -> FloatArray:
    largest = np.abs(weights).max(axis=-1, keepdims=True)
    if not largest.all():
        raise fail("weights", "not zero", "zero after a step")
    scaled = weights / largest
    return np.asarray(scaled / np.linalg.norm(scaled, axis=-1, keepdims=True))


def _angle(teacher: TwoLayerTeacher, weights: FloatArray) -> FloatArray:
    """Return the angle to the teacher's weights, with all its digits near zero and pi."""
    direction = _unit(weights)
    apart = np.linalg.norm(direction - teacher.weights, axis=-1)
    together = np.linalg.norm(direction + teacher.weights, axis=-1)
    return np.asarray(2 * np.arctan2(apart, together))


def _across(teacher: TwoLayerTeacher, direction: FloatArray) -> FloatArray:
    """Return the unit vector orthogonal to a direction, on the side of the teacher's weights."""
    rest = teacher.weights - (direction @ teacher.weights)[..., None] * direction
    length = np.linalg.norm(rest, axis=-1, keepdims=True)
    return np.asarray(rest / np.where(length > 0, length, 1.0))


def _loss(teacher: TwoLayerTeacher, output: FloatArray, angle: FloatArray) -> FloatArray:
    """Return the loss as a sum of two parts that are not negative near the teacher."""
    gap = output - teacher.output
    square = np.sum(gap * gap, axis=-1) + gap.sum(axis=-1) ** 2
    return np.asarray(square / 8 + angle / (2 * np.pi) * (output @ teacher.output))


def _output_gradient(teacher: TwoLayerTeacher, output: FloatArray, angle: FloatArray) -> FloatArray:
    gap = output - teacher.output
    turned = angle[..., None] / (2 * np.pi) * teacher.output
    return np.asarray(0.25 * (gap + gap.sum(axis=-1, keepdims=True)) + turned)


def _best_output(teacher: TwoLayerTeacher, angle: float) -> FloatArray:
    """Return the second layer of least loss at an angle."""
    v_star = teacher.output
    shrunk = v_star - v_star.sum() / (v_star.size + 1)
    return np.asarray(v_star - 2 * angle / math.pi * shrunk)


def _coefficients(
    teacher: TwoLayerTeacher, output: FloatArray, weights: FloatArray, window: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Return the coarse gradient's coefficients of the unit weights and of minus the teacher's."""
    angle = _angle(teacher, weights)
    ends = _ends(weights, window)
    overlap = output @ teacher.output
    total, power = output.sum(axis=-1), np.sum(output * output, axis=-1)
    both = -np.diff(normal_density(ends), axis=0)[0]
    positive = -np.diff(normal_density(np.maximum(ends, 0)), axis=0)[0]
    edge = normal_density(ends) * special.ndtr(_over(ends * np.cos(angle), np.sin(angle)))
    mixed = total * (total - teacher.output.sum()) - power + overlap
    along = positive * power + 0.5 * both * mixed + np.diff(edge, axis=0)[0] * overlap
    return along, overlap * _kappa(teacher, weights, window)


def _kappa(
    teacher: TwoLayerTeacher, weights: FloatArray, window: tuple[float, float]
) -> FloatArray:
    """Return the factor with which the surrogate turns the weights, above zero."""
    sine = np.sin(_angle(teacher, weights))
    ends = _over(_ends(weights, window), sine)
    # Positive intervals are mirrored, since probabilities near one have lost their digits.
    ends = np.where(ends[0] > 0, -ends[::-1], ends)
    return np.asarray(np.diff(special.ndtr(ends), axis=0)[0] / math.sqrt(2 * math.pi))


def _ends(weights: FloatArray, window: tuple[float, float]) -> FloatArray:
    """Return both ends of the interval over the length of the weights, shape (2, ...)."""
    length = _length(weights)
    with np.errstate(over="ignore"):
        return np.stack([end / length for end in window])


def _over(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide; zero over zero is zero, and infinite times zero as well: its factor vanishes."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = numerator / denominator
    return np.asarray(np.where((numerator == 0) | np.isnan(ratio), 0.0, ratio))
