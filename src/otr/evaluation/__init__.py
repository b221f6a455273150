"""Benchmarks, generation, answer rules, scores and comparisons. Importing it loads no torch."""

from otr.evaluation.answers import grade

__all__ = ["grade"]
