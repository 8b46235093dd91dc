"""Checks of answers to the exercises of the book; each tells what is wrong and gives a hint."""

from qtheory.check.base import Verdict, compare

__all__ = ["Verdict", "compare"]
