from __future__ import annotations

import math

import pytest

from runners.schedule import learning_rate_factor


def test_linear_falls_from_the_first_step_to_the_last_without_wasting_either() -> None:
    assert [learning_rate_factor(s, 4, "linear", 0.0) for s in range(4)] == pytest.approx([7 / 8, 5 / 8, 3 / 8, 1 / 8])


def test_warm_up_rises_linearly_to_the_peak() -> None:
    factors = [learning_rate_factor(s, 10, "constant", 0.5) for s in range(10)]
    assert factors[:5] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert factors[5:] == [1.0] * 5


def test_cosine_is_half_way_at_half_time() -> None:
    assert learning_rate_factor(0, 1, "cosine", 0.0) == pytest.approx(0.5)
    assert learning_rate_factor(1, 4, "cosine", 0.0) == pytest.approx(0.5 * (1 + math.cos(math.pi * 3 / 8)))


def test_an_unknown_schedule_is_an_error() -> None:
    with pytest.raises(ValueError, match="zigzag"):
        learning_rate_factor(0, 1, "zigzag", 0.0)
