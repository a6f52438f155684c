"""Which points nothing else beats on both cost and quality."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points on the front, cheapest first (equal points in their given order).

    A point is dominated when another costs no more, is no worse, and differs in at least one of the two. Points equal
    in both do not dominate each other: they stand or fall together. A point with a NaN is never on the front.

    Args:
        points: Pairs of cost (lower is better) and quality (higher is better).
    """
    usable = [at for at, point in enumerate(points) if not any(map(math.isnan, point))]
    # Cheapest first and, at equal cost, best first: then only the best seen so far can dominate what follows.
    usable.sort(key=lambda at: (points[at][0], -points[at][1], at))
    front: list[int] = []
    for at in usable:
        if not front or points[at][1] > points[front[-1]][1] or points[at] == points[front[-1]]:
            front.append(at)
    return front
