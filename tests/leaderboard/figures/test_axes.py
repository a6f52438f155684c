from __future__ import annotations

from itertools import pairwise

import pytest

from leaderboard.figures.axes import CostAxis, data_size, duration


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


@pytest.mark.parametrize("costs", [[1e12], [1e12, 4e12], [1e9, 1e18], [3e10, 7e14], [1.1e12, 1.2e12], [1e3, 2e17]])
def test_round_ticks_are_few_and_apart_and_never_none(costs: list[float]) -> None:
    axis = CostAxis([0, *costs])
    ticks = axis.ticks(exact=False)
    assert 1 <= len(ticks) <= 5
    assert all(axis(right) - axis(left) > 0.13 for left, right in pairwise(ticks))


@pytest.mark.parametrize("costs", [[3.0], [2.2, 40.0], [400.0, 1500.0], [5000.0, 6000.0], [0.9, 3e6], [2e5, 8e6]])
def test_times_are_marked_at_round_times(costs: list[float]) -> None:
    axis = CostAxis([0, *costs], duration)
    ticks = axis.ticks(exact=False)
    assert 1 <= len(ticks) <= 5
    assert all(duration(tick).split()[0] in ("1", "2", "5", "10", "20", "30", "50", "100") for tick in ticks)


@pytest.mark.parametrize("costs", [[0.03], [0.02, 0.05], [4e8], [1e-4, 3e-2]])
def test_times_that_no_round_one_is_near_are_marked_too(costs: list[float]) -> None:
    axis = CostAxis([0, *costs], duration)
    ticks = axis.ticks(exact=False)
    assert 1 <= len(ticks) <= 5
    assert all(axis.strip < axis(tick) <= 1 for tick in ticks)


def test_ticks_are_written_in_units() -> None:
    assert [duration(value) for value in (30.0, 120.0, 7200.0, 864000.0)] == ["30 s", "2 min", "2 h", "10 d"]
    assert [data_size(value) for value in (1.5e9, 6e8)] == ["1.5 GB", "600 MB"]
