"""Which points nothing else beats on everything at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum


class Direction(Enum):
    """Which end of a scale is the good one."""

    LOWER = "lower is better"
    HIGHER = "higher is better"

    def cost(self, value: float) -> float:
        """Return the value on a scale of which less is always better."""
        return value if self is Direction.LOWER else -value


def pareto_front(
    points: Sequence[Sequence[float]], directions: Sequence[Direction] = (Direction.LOWER, Direction.HIGHER)
) -> list[int]:
    """Return the indices of the points on the front, best in the first measure first (equal points in their order).

    A point is dominated when another is no worse in any measure and differs in at least one. Points equal in all do not
    dominate each other: they stand or fall together. A point with a NaN is never on the front.

    Args:
        points: One value per measure each, usually a cost and a quality.
        directions: Which end of each measure is the good one.
    """
    costs = {
        at: tuple(direction.cost(value) for direction, value in zip(directions, point, strict=True))
        for at, point in enumerate(points)
        if not any(map(math.isnan, point))
    }
    front: list[int] = []
    # In this order only an earlier point can dominate a later one, and where any does, one of the front does too.
    for at in sorted(costs, key=lambda at: (costs[at], at)):
        if not any(_dominates(costs[other], costs[at]) for other in front):
            front.append(at)
    return front


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether ``one`` costs no more than ``other`` in anything, and less in something."""
    return one != other and all(mine <= its for mine, its in zip(one, other, strict=True))
