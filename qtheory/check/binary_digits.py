"""Checks of the answers to the exercises on binary networks."""

from numpy.typing import ArrayLike

from qtheory.check.base import Verdict, choose, compare

__all__ = [
    "equivalent_rate",
    "equivalent_weight_decay",
    "failed_cooling_assumption",
    "flips_of_a_step",
    "rate_of_first_flip",
    "safe_rate_of_adam",
    "share_after_random_changes",
]


def rate_of_first_flip(answer: ArrayLike) -> Verdict:
    """Judge the rate above which rounding to the nearest begins to move, at a largest push of 0.04.

    Parameters
    ----------
    answer : array_like
        One learning rate.

    Returns
    -------
    Verdict
        True for half the grid step over the push.
    """
    return compare(
        answer,
        25.0,
        right="half the grid step is one, so the threshold is one over the largest push.",
        hint="a weight flips when rate times push exceeds half the grid step of {-1, 1}.",
        misconceptions=[
            (50.0, "that is the whole step; a weight is rounded to the other sign at zero."),
            (12.5, "half of half a step: the levels -1 and 1 are two apart, half of that is one."),
            (0.04, "that is the push; which rate times it is one?"),
            (1.0, "at rate one that weight moves by 0.04 and is rounded back."),
        ],
    )


def safe_rate_of_adam(answer: ArrayLike) -> Verdict:
    """Judge the rate below which Adam with decays 0.9 and 0.99 never moves a rounded weight.

    Parameters
    ----------
    answer : array_like
        One learning rate.

    Returns
    -------
    Verdict
        True for the inverse of the bound on the direction after many steps.
    """
    bound = 0.1 / (0.01 * (1 - 0.81 / 0.99)) ** 0.5
    usual = 0.1 / (0.001 * (1 - 0.81 / 0.999)) ** 0.5
    return compare(
        answer,
        1 / bound,
        right="a shorter memory of the squares makes the largest direction smaller.",
        hint="let the number of steps grow in the bound, with r = 0.81 / 0.99, and invert it.",
        misconceptions=[
            (bound, "that is the bound on the direction; the rate is one over it."),
            (1 / usual, "that is the rate for a second decay of 0.999."),
            (1.0, "that holds in the first step; later directions can be larger than one."),
            (2 / bound, "half the grid step is one, not two."),
            (
                1 / (0.1 / (0.01 * (1 - 0.9 / 0.99)) ** 0.5),
                "r is the square of the first decay over the second.",
            ),
        ],
    )


def equivalent_rate(answer: ArrayLike) -> Verdict:
    """Judge the rate that from latent weights of a tenth the size gives the run of rate 0.01.

    Parameters
    ----------
    answer : array_like
        One learning rate of the binary weights.

    Returns
    -------
    Verdict
        True for a tenth of the rate.
    """
    return compare(
        answer,
        0.001,
        right="latent scale and rate count by their ratio alone.",
        hint="multiply latent start and rate by the same number.",
        misconceptions=[
            (0.1, "upside down: smaller latent weights need smaller steps."),
            (0.01, "at the same rate smaller latent weights change sign sooner."),
            (0.0001, "the rate goes with the scale, not with its square."),
        ],
    )


def equivalent_weight_decay(answer: ArrayLike) -> Verdict:
    """Judge the decay at which ten times the latent scale and rate give the run of decay 0.02.

    Parameters
    ----------
    answer : array_like
        One coefficient of decoupled weight decay.

    Returns
    -------
    Verdict
        True for a tenth of the decay.
    """
    return compare(
        answer,
        0.002,
        right="decay shrinks by the product of rate and coefficient, and that has to stay.",
        hint="write one step of a latent weight with decay, and multiply the weight by ten.",
        misconceptions=[
            (0.02, "the rate is ten times larger, so this decay would shrink ten times faster."),
            (0.2, "upside down: the larger rate makes the decay stronger already."),
            (0.0002, "the rate counts once in the decay, not twice."),
            (0.0, "some decay is needed: the smaller run has one."),
        ],
    )


def flips_of_a_step(answer: ArrayLike) -> Verdict:
    """Judge the mean number of changes in a step of stochastic rounding.

    Of 24576 weights a quarter is pushed inward, with a mean direction of 0.3, at rate 0.01.

    Parameters
    ----------
    answer : array_like
        One number of weights.

    Returns
    -------
    Verdict
        True for half the rate times the sum of the inward directions.
    """
    mean = 0.005 * 0.3 * 24576 / 4
    return compare(
        answer,
        mean,
        right="about nine weights of 24576, in a network that learns.",
        hint="the chance to change is half the rate times the inward direction.",
        misconceptions=[
            (4 * mean, "only what is pushed inward can change: a quarter of the weights."),
            (2 * mean, "the grid step is two: the chance is half the rate times the direction."),
            (8 * mean, "the grid step is two, and only a quarter is pushed inward."),
            (0.005 * 0.3, "that is the chance of one weight that is pushed inward."),
        ],
    )


def share_after_random_changes(answer: ArrayLike) -> Verdict:
    """Judge the share of changed weights after 1500 steps of random changes at 0.0005 each.

    Parameters
    ----------
    answer : array_like
        One share, in [0, 1].

    Returns
    -------
    Verdict
        True for an odd number of changes.
    """
    return compare(
        answer,
        0.5 * (1 - (1 - 0.001) ** 1500),
        right="an even number of changes leads back to the start.",
        hint="a weight differs from its start after an odd number of changes.",
        misconceptions=[
            (0.75, "that is the mean number of changes of a weight; some go back."),
            (
                1 - (1 - 0.0005) ** 1500,
                "that is the share that has changed at least once; some have gone back.",
            ),
            (0.5, "that is the limit; 1500 steps are not enough for it."),
            (1 - (1 - 0.001) ** 1500, "half of that: in the end half of the weights differ."),
        ],
    )


def failed_cooling_assumption(answer: str) -> Verdict:
    """Judge why the training loss of stochastic rounding falls with its rate in the network.

    Parameters
    ----------
    answer : str
        ``"everything is rounded"``, ``"rounding is unbiased"``, ``"the gradients are noisy"`` or
        ``"directions push both ways"``.

    Returns
    -------
    Verdict
        True for the one that the readout breaks.
    """
    says = {
        "everything is rounded": "the readout is not, and it follows slow weights more closely.",
        "rounding is unbiased": "between -1 and 1 it is: the weights only move inward or stay.",
        "the gradients are noisy": "batches of 64 are noisy, and P5 shows it.",
        "directions push both ways": "they do; otherwise no weight would ever change back.",
    }
    return choose(answer, "everything is rounded", says=says)
