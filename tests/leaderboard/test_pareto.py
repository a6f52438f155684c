from __future__ import annotations

import math
import random

import pytest

from leaderboard.pareto import Direction, pareto_front

LOWER, HIGHER = Direction.LOWER, Direction.HIGHER


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(5.0, 1.0)], [0]),
        ([(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)], [0, 1, 2]),
        ([(3.0, 3.0), (1.0, 1.0)], [1, 0]),  # cheapest first
        ([(1.0, 2.0), (2.0, 2.0)], [0]),  # as good but dearer is dominated
        ([(1.0, 2.0), (1.0, 3.0)], [1]),  # as cheap but worse is dominated
        ([(1.0, 2.0), (1.0, 2.0)], [0, 1]),  # equal in both: both stand
        ([(1.0, 2.0), (2.0, 5.0), (1.0, 2.0), (2.0, 5.0), (2.0, 4.0)], [0, 2, 1, 3]),
        ([(0.0, 9.0), (1.0, 2.0), (1.0, 2.0)], [0]),  # equal in both: both fall
        ([(0.0, math.nan), (math.nan, 9.0), (1.0, 1.0)], [2]),
        ([(math.inf, 3.0), (1.0, 2.0)], [1, 0]),
    ],
)
def test_front_of_cost_and_quality(points: list[tuple[float, float]], front: list[int]) -> None:
    assert pareto_front(points) == front


def test_more_of_a_speed_is_better_and_the_fastest_stands_first() -> None:
    speeds = [(100.0, 50.0), (400.0, 40.0), (300.0, 39.0), (400.0, 41.0), (90.0, 50.0)]
    assert pareto_front(speeds, (HIGHER, HIGHER)) == [3, 0]


@pytest.mark.parametrize(
    "directions", [(LOWER, HIGHER), (HIGHER, HIGHER), (LOWER, LOWER), (HIGHER, LOWER, HIGHER), (LOWER,)]
)
def test_a_point_is_on_the_front_unless_another_is_no_worse_in_all_and_better_in_one(
    directions: tuple[Direction, ...],
) -> None:
    generator = random.Random(len(directions))
    signs = [1 if direction is HIGHER else -1 for direction in directions]
    for count in range(25):
        # Few different values, so that ties are common.
        points = [tuple(float(generator.randrange(5)) for _ in directions) for _ in range(count)]

        def better(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
            gains = [sign * (mine - its) for sign, mine, its in zip(signs, one, other, strict=True)]
            return min(gains) >= 0 < max(gains)

        expected = {at for at, point in enumerate(points) if not any(better(other, point) for other in points)}
        front = pareto_front(points, directions)
        assert set(front) == expected
        assert len(front) == len(expected)
        firsts = [signs[0] * points[at][0] for at in front]
        assert firsts == sorted(firsts, reverse=True)


def test_points_and_directions_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="zip"):
        pareto_front([(1.0, 2.0, 3.0)])
