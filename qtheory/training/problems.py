"""Objectives with known constants, on which the theory of training is stated and checked."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from qtheory._checks import (
    as_float_array,
    check_generator,
    check_integer,
    check_nonempty,
    check_positive,
    fail,
)
from qtheory.errors import ConvergenceError

__all__ = ["LogisticRegression", "Quadratic", "ThreeBasins"]

FloatArray = NDArray[np.float64]

MAX_NEWTON_STEPS = 100
NEWTON_TOLERANCE = 1e-13
SHORTEST_STEP = 1e-9
# Largest third derivative of log(1 + exp(x)).
LOGISTIC_THIRD = 1 / (6 * np.sqrt(3.0))
SYMMETRY_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Quadratic:
    r"""The quadratic :math:`F(w) = \tfrac12 (w - w^*)^\top A (w - w^*)`.

    Parameters
    ----------
    hessian : array_like
        The matrix A, shape ``(d, d)``, symmetric and positive semidefinite; or its eigenvalues,
        shape ``(d,)``, when it is diagonal.
    minimizer : array_like of float
        The minimizer :math:`w^*`, shape ``(d,)`` or a number for all coordinates.

    Notes
    -----
    Book: ch08-quadratic.

    Examples
    --------
    >>> from qtheory.training import Quadratic
    >>> bowl = Quadratic([1.0, 4.0], minimizer=[0.5, 0.0])
    >>> float(bowl.value([0.5, 1.0])), bowl.gradient([0.5, 1.0]).tolist()
    (2.0, [0.0, 4.0])
    >>> bowl.strong_convexity, bowl.smoothness
    (1.0, 4.0)
    """

    hessian: FloatArray
    minimizer: FloatArray = 0.0  # type: ignore[assignment]
    curvatures: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        """Check the arguments."""
        hessian = _frozen("hessian", self.hessian)
        if hessian.ndim not in (1, 2) or hessian.shape[0] != hessian.shape[-1]:
            raise fail("hessian", "a square matrix or a vector of eigenvalues", hessian.shape)
        if (
            hessian.ndim == 2
            and np.abs(hessian - hessian.T).max() > SYMMETRY_TOLERANCE * np.abs(hessian).max()
        ):
            raise fail("hessian", "symmetric", hessian)
        curvatures = np.sort(hessian if hessian.ndim == 1 else np.linalg.eigvalsh(hessian))
        if curvatures[0] < -SYMMETRY_TOLERANCE * abs(curvatures[-1]):
            raise fail("hessian", "positive semidefinite", float(curvatures[0]))
        minimizer = _frozen("minimizer", self.minimizer)
        if minimizer.shape not in ((), (hessian.shape[0],)):
            raise fail("minimizer", f"a number or of shape ({hessian.shape[0]},)", minimizer.shape)
        object.__setattr__(self, "hessian", hessian)
        minimizer = np.broadcast_to(minimizer, (hessian.shape[0],))
        object.__setattr__(self, "minimizer", minimizer)
        curvatures = np.maximum(curvatures, 0.0)
        curvatures.flags.writeable = False
        object.__setattr__(self, "curvatures", curvatures)

    @property
    def dimension(self) -> int:
        """Number of weights."""
        return int(self.hessian.shape[0])

    @property
    def minimum(self) -> float:
        """Least value, zero."""
        return 0.0

    @property
    def strong_convexity(self) -> float:
        """Smallest eigenvalue."""
        return float(self.curvatures[0])

    @property
    def smoothness(self) -> float:
        """Largest eigenvalue."""
        return float(self.curvatures[-1])

    @property
    def hessian_lipschitz(self) -> float:
        """Zero: the Hessian is constant."""
        return 0.0

    def value(self, weights: ArrayLike) -> FloatArray:
        """Return F, shape ``(...)``, of weights of shape ``(..., d)``."""
        offset = self._offset(weights)
        return np.asarray(0.5 * (self._times(offset) * offset).sum(axis=-1))

    def gradient(self, weights: ArrayLike) -> FloatArray:
        """Return the gradient, of the shape ``(..., d)`` of the weights."""
        return self._times(self._offset(weights))

    def _offset(self, weights: ArrayLike) -> FloatArray:
        return _points(weights, self.dimension) - self.minimizer

    def _times(self, offset: FloatArray) -> FloatArray:
        return offset * self.hessian if self.hessian.ndim == 1 else offset @ self.hessian


@dataclass(frozen=True, eq=False)
class LogisticRegression:
    r"""Logistic regression with a quadratic penalty, with its constants and minimizer.

    Parameters
    ----------
    features : array_like of float
        Inputs :math:`x_i`, shape ``(n, d)``.
    labels : array_like of float
        Labels :math:`y_i`, shape ``(n,)``, each +1 or -1.
    penalty : float
        Factor :math:`\mu` of the penalty, above zero; the strong convexity.

    Raises
    ------
    ConvergenceError
        If Newton's method does not find the minimizer.

    Notes
    -----
    Book: ch08-logistic.

    .. math:: F(w) = \frac1n \sum_i \log\bigl(1 + e^{-y_i x_i^\top w}\bigr)
              + \frac\mu2 \lVert w \rVert^2

    Accuracy: the minimizer to a gradient of 1e-13 of the largest feature, if that is above one.
    """

    features: FloatArray
    labels: FloatArray
    penalty: float
    minimizer: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        """Check the arguments and find the minimizer."""
        features, labels = _frozen("features", self.features), _frozen("labels", self.labels)
        if features.ndim != 2:
            raise fail("features", "of shape (n, d)", features.shape)
        if labels.shape != features.shape[:1] or not (np.abs(labels) == 1).all():
            raise fail("labels", f"{features.shape[0]} values of +1 or -1", labels)
        object.__setattr__(self, "penalty", check_positive("penalty", self.penalty))
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "labels", labels)
        minimizer = self._minimize()
        minimizer.flags.writeable = False
        object.__setattr__(self, "minimizer", minimizer)

    @property
    def dimension(self) -> int:
        """Number of weights."""
        return int(self.features.shape[1])

    @property
    def minimum(self) -> float:
        """Value at the minimizer."""
        return float(self.value(self.minimizer))

    @property
    def strong_convexity(self) -> float:
        """The penalty's factor, a lower bound of the curvature."""
        return self.penalty

    @property
    def smoothness(self) -> float:
        """Upper bound of the curvature: a quarter of the largest of the Gram matrix."""
        gram = self.features.T @ self.features / self.features.shape[0]
        return float(np.linalg.eigvalsh(gram)[-1]) / 4 + self.penalty

    @property
    def hessian_lipschitz(self) -> float:
        """Upper bound of the Hessian's Lipschitz constant, from the third derivatives."""
        return float(LOGISTIC_THIRD * (np.linalg.norm(self.features, axis=1) ** 3).mean())

    def gradient_norm(self, radius: float) -> float:
        """Return a bound of every sample's gradient where the weights are shorter than a radius."""
        length = check_positive("radius", radius)
        return float(np.linalg.norm(self.features, axis=1).max()) + self.penalty * length

    def value(self, weights: ArrayLike) -> FloatArray:
        """Return F, shape ``(...)``, of weights of shape ``(..., d)``."""
        w = _points(weights, self.dimension)
        margins = (w @ self.features.T) * self.labels
        return np.asarray(
            np.logaddexp(0, -margins).mean(axis=-1) + 0.5 * self.penalty * (w * w).sum(axis=-1)
        )

    def gradient(self, weights: ArrayLike) -> FloatArray:
        """Return the gradient, of the shape ``(..., d)`` of the weights."""
        w = _points(weights, self.dimension)
        pull = self.labels * special.expit(-(w @ self.features.T) * self.labels)
        return np.asarray(self.penalty * w - pull @ self.features / self.features.shape[0])

    def hessian(self, weights: ArrayLike) -> FloatArray:
        """Return the Hessian, shape ``(d, d)``, at weights of shape ``(d,)``."""
        chance = special.expit(self.features @ _points(weights, self.dimension))
        weighted = self.features * (chance * (1 - chance))[:, None]
        gram = weighted.T @ self.features / self.features.shape[0]
        return np.asarray(gram + self.penalty * np.eye(self.dimension))

    def sample_gradient(
        self, weights: ArrayLike, *, batch_size: int = 1, rng: np.random.Generator
    ) -> FloatArray:
        """Return an unbiased gradient for each replica, from its own samples with replacement.

        Parameters
        ----------
        weights : array_like of float
            Shape ``(..., d)``.
        batch_size : int
            Number of samples of a gradient, at least 1.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        numpy.ndarray
            Shape ``(..., d)``.
        """
        w = _points(weights, self.dimension)
        size = check_integer("batch_size", batch_size, minimum=1)
        count = self.features.shape[0]
        picks = check_generator("rng", rng).integers(0, count, (*w.shape[:-1], size))
        inputs, labels = self.features[picks], self.labels[picks]
        pull = labels * special.expit(-(inputs @ w[..., None])[..., 0] * labels)
        return np.asarray(self.penalty * w - (pull[..., None] * inputs).mean(axis=-2))

    def _minimize(self) -> FloatArray:
        """Return the minimizer by Newton's method with halved steps."""
        w = np.zeros(self.dimension)
        tolerance = NEWTON_TOLERANCE * max(1.0, float(np.abs(self.features).max()))
        for _ in range(MAX_NEWTON_STEPS):
            slope = self.gradient(w)
            if np.abs(slope).max() < tolerance:
                return w
            move = np.linalg.solve(self.hessian(w), slope)
            w = self._shorter(w, np.asarray(move, dtype=np.float64))
        residual = float(np.abs(self.gradient(w)).max())
        message = "Newton's method found no minimizer of the logistic regression."
        raise ConvergenceError(message, last_iterate=w, residual=residual)

    def _shorter(self, w: FloatArray, move: FloatArray) -> FloatArray:
        """Return the end of a step, halved until value or gradient falls.

        Next to the minimizer values differ by roundings only, and the gradient still falls.
        """
        value, slope = self.value(w), np.linalg.norm(self.gradient(w))
        length = 1.0
        while length > SHORTEST_STEP:
            end = w - length * move
            if self.value(end) < value or np.linalg.norm(self.gradient(end)) < slope:
                return end
            length /= 2
        return w


@dataclass(frozen=True)
class ThreeBasins:
    r"""A line with two bad minima and a good one, on which annealing can be watched.

    Notes
    -----
    Book: ch09-three-basins.

    .. math:: f(w) = \begin{cases} w^2 + 2 & w < 1 \\ (w - 2.5)^2 + 0.75 & 1 \le w < 3.5 \\
              (w - 4.75)^2 + 0.19 & w \ge 3.5 \end{cases}

    The branches meet exactly at 1, and within 0.0025 at 3.5. The best minimizer 4.75 lies midway
    between two points of a grid of step 0.5. The landscape of Li et al. [Li2017]_, cf.

    Examples
    --------
    >>> from qtheory.training import ThreeBasins
    >>> float(ThreeBasins().value(4.5)), float(ThreeBasins().gradient(4.5))
    (0.2525, -0.5)
    """

    minimizers: tuple[float, ...] = field(default=(0.0, 2.5, 4.75), init=False)
    minima: tuple[float, ...] = field(default=(2.0, 0.75, 0.19), init=False)
    borders: tuple[float, ...] = field(default=(1.0, 3.5), init=False)

    def value(self, weights: ArrayLike) -> FloatArray:
        """Return f of each element."""
        w, basin = self._basin(weights)
        return np.asarray((w - np.take(self.minimizers, basin)) ** 2 + np.take(self.minima, basin))

    def gradient(self, weights: ArrayLike) -> FloatArray:
        """Return the derivative of each element, that of the right branch at a border."""
        w, basin = self._basin(weights)
        return np.asarray(2 * (w - np.take(self.minimizers, basin)))

    def basin(self, weights: ArrayLike) -> NDArray[np.intp]:
        """Return the number 0, 1 or 2 of the basin that each element lies in."""
        return self._basin(weights)[1]

    def _basin(self, weights: ArrayLike) -> tuple[FloatArray, NDArray[np.intp]]:
        w = as_float_array("weights", weights).astype(np.float64)
        return w, np.searchsorted(self.borders, w, side="right")


def _frozen(name: str, value: ArrayLike) -> FloatArray:
    """Return a finite float64 copy that cannot be written."""
    array = np.array(as_float_array(name, value), dtype=np.float64)
    check_nonempty(name, array)
    if not np.isfinite(array).all():
        raise fail(name, "finite", array)
    array.flags.writeable = False
    return array


def _points(weights: ArrayLike, dimension: int) -> FloatArray:
    """Return weights of shape (..., d) as float64."""
    w: FloatArray = np.asarray(as_float_array("weights", weights), dtype=np.float64)
    if w.ndim == 0 or w.shape[-1] != dimension:
        raise fail("weights", f"of shape (..., {dimension})", w.shape)
    return w
