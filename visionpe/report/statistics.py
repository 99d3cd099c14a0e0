"""Means of a few runs, and how far they can be trusted."""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """A mean of independent runs, with its 95 % interval.

    Attributes:
        mean: of the values.
        low, high: of the interval; NaN of one value alone, which says nothing of others.
        n: how many values.
    """

    mean: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float]) -> Interval:
    """The mean and its 95 % interval by Student's t: runs are taken to be normally distributed.

    Raises:
        ValueError: if there is no value.

    >>> interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, low=-0.48..., high=4.48..., n=3)
    """
    n = len(values)
    if n == 0:
        raise ValueError("`values` must hold at least one value, but is empty.")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    from scipy.special import stdtrit  # Student's t by degrees of freedom and share

    half = float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)
