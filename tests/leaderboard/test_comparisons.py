from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, t

from leaderboard.comparisons import (
    NOTHING,
    Error,
    compare,
    holm,
    improvement,
    interval_of,
    over_seeds,
    p_value,
    quadrature,
    seed_error,
)
from leaderboard.samples import Sample
from leaderboard.spearman import FloatArray


def sample(
    scores: Sequence[float],
    seeds: Sequence[int] | None = None,
    deviation: float = 1.0,
    trained: bool = True,
    noise: int = 0,
) -> Sample:
    """A row of one task whose mean has replicates of exactly this standard deviation around its score."""
    draws = np.random.default_rng(noise).normal(size=2000)
    draws = (draws - draws.mean()) / draws.std(ddof=1) * deviation
    replicates = np.array(scores)[:, None] + draws
    names = tuple(range(len(scores))) if seeds is None else tuple(seeds)
    return Sample(("T",), names, tuple(scores), trained, {"T": np.array(scores)}, {"T": replicates})


def near(se: float, df: float) -> Any:
    """An error that is equal up to rounding."""
    return Error(pytest.approx(se), pytest.approx(df))  # type: ignore[arg-type]


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04; the last may not be below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_the_error_over_seeds_by_hand() -> None:
    error = over_seeds([50.0, 52.0, 57.0])  # variance (9 + 1 + 16) / 2 = 13
    assert error.se == pytest.approx(math.sqrt(13 / 3))
    assert error.df == 2
    assert error.quantile == pytest.approx(4.302653, abs=1e-6)  # of any table
    assert over_seeds([50.0]) == NOTHING
    assert NOTHING.quantile == pytest.approx(1.959964, abs=1e-6)


def test_quadrature_has_welch_and_satterthwaites_degrees_of_freedom() -> None:
    assert quadrature(Error(3.0, 2), Error(4.0, math.inf)) == near(5.0, 5**4 / (3**4 / 2))
    assert quadrature(Error(3.0, 2), Error(4.0, 4)) == near(5.0, 625 / (81 / 2 + 256 / 4))
    assert quadrature(Error(3.0, math.inf), Error(4.0, math.inf)) == Error(5.0, math.inf)
    assert quadrature(NOTHING, NOTHING) == NOTHING


def test_same_seeds_belong_together_in_whatever_order() -> None:
    first, second = sample([60.0, 62.0, 67.0], [0, 1, 2]), sample([66.0, 61.0, 58.0], [2, 1, 0])
    assert seed_error(first, second) == near(1 / 3, 2)  # differences 2 1 1: variance 1/3


def test_other_seeds_add_up() -> None:
    first, second = sample([60.0, 62.0, 67.0], [0, 1, 2]), sample([60.0, 62.0, 61.0, 61.0], [0, 1, 2, 3])
    one, other = 13 / 3, (1 + 1) / 3 / 4  # nested, but not the same: variances of the two means
    expected = (one + other) ** 2 / (one**2 / 2 + other**2 / 3)
    assert seed_error(first, second) == near(math.sqrt(one + other), expected)


def test_a_single_trained_run_is_taken_to_vary_like_the_other_row() -> None:
    several = sample([60.0, 62.0, 67.0])
    assert seed_error(several, sample([50.0])) == near(math.sqrt(13 / 3 + 13), 2)
    assert seed_error(sample([50.0]), several) == near(math.sqrt(13 / 3 + 13), 2)
    assert seed_error(several, sample([50.0], trained=False)) == near(math.sqrt(13 / 3), 2)
    assert seed_error(sample([60.0]), sample([50.0])) == NOTHING
    assert seed_error(sample([60.0], [1]), sample([50.0], [2])) == NOTHING


def test_p_values_against_scipys_distributions() -> None:
    assert p_value(2.0, Error(1.0, math.inf)) == pytest.approx(2 * norm.sf(2.0))
    assert p_value(-3.0, Error(1.5, 2.5)) == pytest.approx(2 * t.sf(2.0, 2.5))
    assert p_value(12.0, Error(1.0, math.inf)) == pytest.approx(3.55e-33, rel=0.01)


def test_where_nothing_varies_only_rounding_is_in_doubt() -> None:
    assert p_value(0.0, NOTHING) == 1.0
    assert p_value(1e-3, NOTHING) == 1.0
    assert p_value(1e-12, Error(1e-6, math.inf)) == 1.0
    assert p_value(0.5, NOTHING) == 0.0


def test_one_seed_has_the_percentiles() -> None:
    draws = np.arange(1001.0)  # 2.5 % of the way from 0 to 1000 is 25
    one = Sample(("T",), (0,), (500.0,), True, {"T": np.array([500.0])}, {"T": draws[None]})
    assert interval_of(one) == pytest.approx((25.0, 975.0))


def test_several_seeds_widen_each_side_in_quadrature() -> None:
    draws = np.arange(1001.0)
    scores = (597.0, 599.0, 604.0)  # mean 600, variance 13
    task = {"T": np.array(scores)}
    low, high = interval_of(Sample(("T",), (0, 1, 2), scores, True, task, {"T": np.stack([draws] * 3)}))
    width = 4.302653 * math.sqrt(13 / 3)
    assert low == pytest.approx(600 - math.hypot(575, width), abs=1e-4)
    assert high == pytest.approx(600 + math.hypot(375, width), abs=1e-4)


def test_a_difference_on_the_same_pairs_by_hand() -> None:
    shared = np.random.default_rng(0).normal(0, 9, size=(1, 4000))
    own = np.where(np.arange(4000) % 2, 1.0, -1.0)  # standard deviation 1 (up to 1/8000)
    task = {"T": np.array([60.0])}, {"T": np.array([58.0])}
    first = Sample(("T",), (0,), (60.0,), True, task[0], {"T": 60 + shared + own})
    second = Sample(("T",), (0,), (58.0,), True, task[1], {"T": 58 + shared})
    found = compare(first, second)
    assert found.difference == 2.0
    assert found.interval == pytest.approx((2 - 1.959964, 2 + 1.959964), abs=1e-3)
    assert found.p == pytest.approx(0.0455, abs=1e-3)  # two standard errors
    assert found.improvement == 1.0
    assert found.improvement_interval == (1.0, 1.0)


def test_a_difference_with_seeds_by_hand() -> None:
    first, second = sample([60.0, 62.0, 67.0], deviation=1.0, noise=1), sample([58.0, 61.0, 66.0], deviation=0.0)
    found = compare(first, second)  # differences 2 1 1: mean 4/3, variance of the mean 1/9, of the pairs 1
    df = (1 + 1 / 9) ** 2 / ((1 / 9) ** 2 / 2)
    width = t.ppf(0.975, df) * math.sqrt(1 + 1 / 9)
    assert found.difference == pytest.approx(4 / 3)
    assert found.interval == pytest.approx((4 / 3 - width, 4 / 3 + width), abs=1e-6)
    assert found.p == pytest.approx(2 * t.sf(4 / 3 / math.sqrt(1 + 1 / 9), df), abs=1e-9)


def test_copies_of_one_row_cannot_be_told_apart() -> None:
    one = sample([60.0, 62.0])
    found = compare(one, sample([60.0, 62.0]))
    assert (found.difference, found.p, found.interval) == (0.0, 1.0, (0.0, 0.0))
    assert found.improvement == 0.5


def test_probability_of_improvement_by_hand() -> None:
    def scores(*values: float) -> FloatArray:
        return np.array(values)

    # Task 1: 3 of 4 pairs of runs are better, one is equal. Task 2: none of 4.
    first, second = [scores(2.0, 5.0), scores(1.0, 1.0)], [scores(1.0, 2.0), scores(3.0, 4.0)]
    assert improvement(first, second) == pytest.approx((3.5 / 4 + 0) / 2)
    assert improvement(second, first) == pytest.approx(1 - 3.5 / 8)


def test_its_interval_is_over_resamples() -> None:
    # One seed, two tasks: the first always wins, the second in 3 of 10 resamples.
    wins = np.where(np.arange(1000) % 10 < 3, 1.0, -1.0)
    tasks = {"A": np.array([60.0]), "B": np.array([49.0])}
    first = Sample(("A", "B"), (0,), (54.5,), True, tasks, {"A": np.full((1, 1000), 60.0), "B": 50 + wins[None]})
    tasks = {"A": np.array([50.0]), "B": np.array([50.0])}
    flat = {"A": np.full((1, 1000), 50.0), "B": np.full((1, 1000), 50.0)}
    found = compare(first, Sample(("A", "B"), (0,), (50.0,), True, tasks, flat))
    assert found.improvement == 0.5
    assert found.improvement_interval == (0.5, 1.0)
