"""Part 3: stochastic rounding, BinaryConnect, their bounds and Markov chains, and their neighbors."""

__all__: list[str] = []
