"""How a cost grows: the exponent of a power law, by least squares on logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class Exponent:
    """The slope of log cost over log size, and its standard error (None with two points)."""

    exponent: float
    standard_error: float | None


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> Exponent | None:
    """Fit cost = a · size^b; None where there are not two sizes, or a cost is not above 0."""
    if len(set(sizes)) < 2 or min(costs) <= 0:
        return None
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    mean_x, mean_y = fmean(x), fmean(y)
    spread = sum((each - mean_x) ** 2 for each in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    left = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    free = len(x) - 2
    return Exponent(slope, math.sqrt(left / free / spread) if free else None)
