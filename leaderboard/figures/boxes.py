"""Boxes, spots and lines in pixels: what touches what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

# left, bottom, right, top
Box = tuple[float, float, float, float]
Spot = tuple[float, float]


def box_beside(spot: Spot, size: Spot, distance: float, angle: float) -> Box:
    """Return the box of a size whose nearest edge or corner is about this far from a spot in a direction."""
    across, up = math.cos(angle), math.sin(angle)
    width, height = size
    # The middle moves with the direction, so that a name goes round its point without jumping.
    x = spot[0] + across * distance + width / 2 * max(-1.0, min(1.0, 1.6 * across))
    y = spot[1] + up * distance + height / 2 * max(-1.0, min(1.0, 1.6 * up))
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def around(spot: Spot, reach: float) -> Box:
    """Return the box that reaches so far from a spot on every side."""
    return spot[0] - reach, spot[1] - reach, spot[0] + reach, spot[1] + reach


def wider(box: Box, by: float = 1.0) -> Box:
    """Return a box that is wider on every side."""
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def touch(one: Box, other: Box) -> bool:
    """Whether two boxes have a point in common."""
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def within(box: Box, frame: Box) -> bool:
    """Whether a box lies inside a frame."""
    return frame[0] <= box[0] and frame[1] <= box[1] and box[2] <= frame[2] and box[3] <= frame[3]


def nearest(box: Box, spot: Spot) -> Spot:
    """Return the point of a box that is nearest to a spot."""
    return min(max(spot[0], box[0]), box[2]), min(max(spot[1], box[1]), box[3])


def along(line: Sequence[Spot], step: float) -> list[Spot]:
    """Return points along a line, a step apart."""
    dots = []
    for (x, y), (to_x, to_y) in pairwise(line):
        count = max(1, math.ceil(math.dist((x, y), (to_x, to_y)) / step))
        dots += [(x + (to_x - x) * at / count, y + (to_y - y) * at / count) for at in range(count + 1)]
    return dots


def gap(box: Box, spot: Spot) -> float:
    """Return how far a spot is from a box."""
    return math.dist(nearest(box, spot), spot)
