"""Exceptions and warnings of the library."""

__all__ = ["AssumptionWarning", "ConvergenceError"]


class ConvergenceError(RuntimeError):
    """An iteration stopped before it met its tolerance.

    Parameters
    ----------
    message : str
        What was solved and why it stopped.
    last_iterate : object
        The last value reached.
    residual : float
        Size of the residual there, in the units of the equation solved.
    """

    def __init__(self, message: str, *, last_iterate: object, residual: float) -> None:
        super().__init__(f"{message} (residual {residual:.3g})")
        self.last_iterate = last_iterate
        self.residual = residual


class AssumptionWarning(UserWarning):
    """A formula was evaluated outside the range its docstring states."""
