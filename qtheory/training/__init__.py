"""Part 3: BinaryConnect against stochastic rounding, their bounds and chains, and relatives."""

from qtheory.training import simulate
from qtheory.training.descent import (
    Descent,
    Record,
    descend,
)
from qtheory.training.moments import (
    StepMoments,
    one_step_moments,
)
from qtheory.training.noise import (
    DiscreteNoise,
    GaussianNoise,
    GradientNoise,
    NoNoise,
    RademacherNoise,
    StudentTNoise,
)
from qtheory.training.problems import (
    LogisticRegression,
    Quadratic,
    ThreeBasins,
)
from qtheory.training.rules import (
    BinaryConnect,
    DeterministicRounding,
    GradientDescent,
    StochasticRounding,
    UpdateRule,
)
from qtheory.training.schedules import (
    constant,
    geometric,
    inverse_sqrt,
    inverse_time,
    piecewise,
)

__all__ = [
    "BinaryConnect",
    "Descent",
    "DeterministicRounding",
    "DiscreteNoise",
    "GaussianNoise",
    "GradientDescent",
    "GradientNoise",
    "LogisticRegression",
    "NoNoise",
    "Quadratic",
    "RademacherNoise",
    "Record",
    "StepMoments",
    "StochasticRounding",
    "StudentTNoise",
    "ThreeBasins",
    "UpdateRule",
    "constant",
    "descend",
    "geometric",
    "inverse_sqrt",
    "inverse_time",
    "one_step_moments",
    "piecewise",
    "simulate",
]
