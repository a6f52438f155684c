"""Simulations: whether 95 % intervals hold the truth 95 times in a hundred, and true nulls are rejected 5 times.

Gold scores and cosines are bivariate normal, where Spearman's coefficient of the population is known:
6 / pi * asin(rho / 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from leaderboard.comparisons import compare, interval_of, percentiles
from leaderboard.resampling import resamples
from leaderboard.samples import Sample
from leaderboard.spearman import FloatArray, Spearman

N = 200
SETS = 500
DRAWS = list(resamples("simulation", N, 320))
# 0.95 +- 3 standard deviations of 500 coin tosses, cut where an interval would be no use any more.
LOW, HIGH = 0.92, 0.98


def population(rho: FloatArray | float) -> FloatArray:
    return np.asarray(600 / math.pi * np.arcsin(np.asarray(rho) / 2))


def measure(gold: FloatArray, cosines: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Scores of several encoders, and the same under each resample."""
    correlate = Spearman(gold, cosines)
    replicates = np.concatenate([correlate(counts) for counts in DRAWS], axis=1)
    return 100 * correlate(np.ones((N, 1), np.uint16))[:, 0], 100 * replicates


def row(scores: FloatArray, replicates: FloatArray) -> Sample:
    seeds = tuple(range(len(scores)))
    return Sample(("T",), seeds, tuple(scores.tolist()), True, {"T": scores}, {"T": replicates})


def cosines(rng: np.random.Generator, gold: FloatArray, rhos: Sequence[float], shared: float) -> list[FloatArray]:
    """Encoders that correlate with gold by rho each; of their errors a part is common to all."""
    common = rng.normal(size=N)
    errors = [math.sqrt(shared) * common + math.sqrt(1 - shared) * rng.normal(size=N) for _ in rhos]
    return [rho * gold + math.sqrt(1 - rho**2) * error for rho, error in zip(rhos, errors, strict=True)]


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_an_interval_of_one_seed(rho: float) -> None:
    rng = np.random.default_rng(int(10 * rho))
    below = above = 0
    for _ in range(SETS):
        gold = rng.normal(size=N)
        low, high = interval_of(row(*measure(gold, cosines(rng, gold, [rho], 0.0))))
        below += int(population(rho) < low)
        above += int(population(rho) > high)
    assert LOW <= 1 - (below + above) / SETS <= HIGH
    assert max(below, above) <= 0.055 * SETS  # neither side takes nearly all the misses


def test_a_difference_on_the_same_pairs() -> None:
    rng = np.random.default_rng(1)
    first, second = 0.7, 0.6
    truth = population(first) - population(second)
    held = unpaired = 0
    for _ in range(SETS):
        gold = rng.normal(size=N)
        scores, replicates = measure(gold, cosines(rng, gold, [first, second], 0.8))
        one, other = row(scores[:1], replicates[:1]), row(scores[1:], replicates[1:])
        low, high = compare(one, other).interval
        held += int(low <= truth <= high)
        # As if the pairs were not the same: much too wide.
        width = 1.96 * math.hypot(one.replicates.std(), other.replicates.std())
        unpaired += int(abs(one.score - other.score - truth) <= width)
    assert LOW <= held / SETS <= HIGH
    assert unpaired / SETS > 0.99


def test_equal_methods_seem_different_one_time_in_twenty() -> None:
    rng = np.random.default_rng(2)
    rejected = 0
    for _ in range(SETS):
        gold = rng.normal(size=N)
        scores, replicates = measure(gold, cosines(rng, gold, [0.6, 0.6], 0.5))
        rejected += compare(row(scores[:1], replicates[:1]), row(scores[1:], replicates[1:])).p < 0.05
    assert 0.02 <= rejected / SETS <= 0.08


def test_three_seeds_cover_and_pairs_alone_do_not() -> None:
    rng = np.random.default_rng(3)
    spread = np.random.default_rng(0).normal(0.6, 0.08, size=1_000_000)
    truth = population(np.clip(spread, -1, 1)).mean()
    held = pairs_only = rejected = 0
    for _ in range(SETS):
        gold = rng.normal(size=N)
        rhos = rng.normal(0.6, 0.08, size=6).tolist()
        scores, replicates = measure(gold, cosines(rng, gold, rhos, 0.9))
        first, second = row(scores[:3], replicates[:3]), row(scores[3:], replicates[3:])
        low, high = interval_of(first)
        held += low <= truth <= high
        low, high = percentiles(first.replicates)
        pairs_only += low <= truth <= high
        rejected += compare(first, second).p < 0.05
    assert LOW <= held / SETS <= 0.985  # both parts at 95 % in quadrature hold a little more than that
    assert pairs_only / SETS < 0.87
    assert 0.02 <= rejected / SETS <= 0.09  # Welch and Satterthwaite's approximation is a little free with 2 seeds' df
