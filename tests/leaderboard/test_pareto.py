from __future__ import annotations

import math

import pytest

from leaderboard.axes import CostAxis
from leaderboard.pareto import pareto_front


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
def test_front(points: list[tuple[float, float]], front: list[int]) -> None:
    assert pareto_front(points) == front


def test_the_cost_axis_keeps_order_and_room_for_nothing() -> None:
    axis = CostAxis([0, 1000, 4000, 10000])
    places = [axis(cost) for cost in (0, 1000, 4000, 10000)]
    assert places == sorted(places)
    assert 0 < places[0] < axis.strip < places[1]
    assert places[-1] < 1
    assert axis.ticks(exact=True) == [1000, 4000, 10000]


def test_a_cost_axis_without_free_points_has_no_strip_and_a_single_cost_is_centred() -> None:
    axis = CostAxis([2000])
    assert axis.strip == 0
    assert axis(2000) == pytest.approx(0.5)
    assert CostAxis([0])(0) == 0.5


@pytest.mark.parametrize("costs", [[1e12], [1e12, 4e12], [1e9, 1e18], [3e10, 7e14], [1.1e12, 1.2e12]])
def test_round_ticks_are_few_and_never_none(costs: list[float]) -> None:
    assert 1 <= len(CostAxis([0, *costs]).ticks(exact=False)) <= 5
