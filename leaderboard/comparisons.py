"""The arithmetic of differences: standard errors, degrees of freedom, p-values, Holm, probability of improvement.

Two things make a difference uncertain: which pairs a test set happens to hold, and which seeds happened to be run. The
first is measured by resampling pairs, with as many degrees of freedom as one likes; the second by the deviation over a
few seeds, with Student's t, because resampling three seeds covers far less than it claims. What a seed changes on
single pairs, and not on the whole, is in both: where seeds change nothing else, this errs on the side of doubt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from leaderboard.samples import Sample
from leaderboard.spearman import FloatArray

# What replicates that should be equal may differ by: they are kept in float32.
NO_DEVIATION = 1e-4
# What the recorded scores of equal predictions may differ by (twice the largest tolerance of leaderboard.replicates).
NO_DIFFERENCE = 2e-3


@dataclass(frozen=True)
class Error:
    """A standard error and its degrees of freedom."""

    se: float
    df: float

    @property
    def quantile(self) -> float:
        """How many standard errors a 95 % interval reaches to either side."""
        return float(ndtri(0.975) if math.isinf(self.df) else stdtrit(self.df, 0.975))


NOTHING = Error(0.0, math.inf)


def over_seeds(values: Sequence[float]) -> Error:
    """Return the error of a mean over seeds; with a single seed nothing is known of it, and it counts as none."""
    if len(values) < 2:
        return NOTHING
    return Error(stdev(values) / math.sqrt(len(values)), len(values) - 1)


def quadrature(*errors: Error) -> Error:
    """Add independent errors; the degrees of freedom are Welch and Satterthwaite's."""
    se = math.hypot(*(each.se for each in errors))
    if se == 0:
        return NOTHING
    uncertain = sum((each.se / se) ** 4 / each.df for each in errors)
    return Error(se, 1 / uncertain if uncertain > 0 else math.inf)


def seed_error(first: Sample, second: Sample) -> Error:
    """Return the error that seeds bring into the difference of two rows.

    Where both were run with the same seeds, these belong together (they share the order of the data), and it is that of
    the differences. Otherwise both rows' errors add up. A trained row with a single run is taken to vary as much as the
    other (left out, 12 to 32 of 100 rows that were equal in simulations seemed to differ); what trains nothing has
    nothing that a seed could change. With a single run of both, nothing is known, and seeds count as no error.
    """
    one, other = dict(zip(first.seeds, first.scores, strict=True)), dict(zip(second.seeds, second.scores, strict=True))
    if one.keys() == other.keys() and len(one) == len(first.seeds) == len(second.seeds):
        return over_seeds([one[seed] - other[seed] for seed in one])
    several, single = sorted((first, second), key=lambda sample: len(sample.scores), reverse=True)
    known = over_seeds(several.scores)
    if len(single.scores) == 1 and single.trained:
        return Error(known.se * math.sqrt(1 + len(several.scores)), known.df)
    return quadrature(known, over_seeds(single.scores))


def p_value(difference: float, error: Error) -> float:
    """Return the two-sided p-value of "no difference".

    It comes from the normal or t distribution, not from counting resamples on the other side of zero: with 10,000
    of these no p-value could be below 1e-4, and among several hundred comparisons Holm would never find one.

    Where nothing varies (each resample changes both rows alike) there is no doubt about the difference: p is 0, or 1 if
    it is no larger than rounding makes it. So p is 1 for two copies of one encoder.
    """
    if error.se <= NO_DEVIATION and abs(difference) <= NO_DIFFERENCE:
        return 1.0
    if error.se == 0:
        return 0.0
    below = -abs(difference) / error.se
    return float(2 * (ndtr(below) if math.isinf(error.df) else stdtr(error.df, below)))


def holm(values: Sequence[float]) -> list[float]:
    """Adjust p-values so that any false one among all is claimed with the stated probability (Holm 1979, step-down)."""
    adjusted = [0.0] * len(values)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(values)), key=lambda at: values[at])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[at]))
        adjusted[at] = largest
    return adjusted


def percentiles(replicates: FloatArray) -> tuple[float, float]:
    """Return what holds the middle 95 % of ``[B]`` replicates."""
    low, high = np.quantile(replicates, [0.025, 0.975])
    return float(low), float(high)


def improvement(first: Sequence[FloatArray], second: Sequence[FloatArray]) -> FloatArray:
    """Return the probability of improvement (Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice").

    That is the mean over tasks of the share of pairs of runs, one from each row, in which the first is better;
    equality counts half.

    Args:
        first: For each task the scores of one row's seeds, ``[seeds, ...]``.
        second: The same of the other row, with the same last dimensions.

    Returns:
        ``[...]``.
    """
    shares = []
    for one, other in zip(first, second, strict=True):
        better, equal = one[:, None] > other[None], one[:, None] == other[None]
        shares.append((better + 0.5 * equal).mean(axis=(0, 1)))
    return np.asarray(np.mean(shares, axis=0), np.float64)


def interval_of(sample: Sample) -> tuple[float, float]:
    """Return the 95 % interval of a row's score.

    With one seed these are the percentiles of the replicates. In simulations with 100 to 400 pairs they hold the truth
    94 to 96 times in a hundred, about equally often missed on both sides; normal and reflected ("basic") intervals
    are worse, and a Fisher transformation is no better. With several seeds the distance from the score to either
    percentile and the half-width of the seeds' t interval are added in quadrature.
    """
    low, high = percentiles(sample.replicates)
    if len(sample.scores) < 2:
        return low, high
    error = over_seeds(sample.scores)
    score, width = sample.score, error.quantile * error.se
    return score - math.hypot(max(0.0, score - low), width), score + math.hypot(max(0.0, high - score), width)


@dataclass(frozen=True)
class Difference:
    """One row minus another in one column, with what ``Comparison`` says of it before Holm's adjustment."""

    difference: float
    interval: tuple[float, float]
    p: float
    improvement: float
    improvement_interval: tuple[float, float]


def compare(first: Sample, second: Sample) -> Difference:
    """Compare two rows of a column on the same pairs.

    The standard error has two parts: the deviation of the difference over the resamples, which both rows share, and
    that over seeds. The interval is the normal or t one around the difference of the scores.
    """
    difference = first.score - second.score
    pairs = Error(float(np.std(first.replicates - second.replicates, ddof=1)), math.inf)
    error = quadrature(pairs, seed_error(first, second))
    width = error.quantile * error.se
    one, other = list(first.task_scores.values()), list(second.task_scores.values())
    resampled = improvement(list(first.task_replicates.values()), list(second.task_replicates.values()))
    return Difference(
        difference,
        (difference - width, difference + width),
        p_value(difference, error),
        float(improvement(one, other)),
        percentiles(resampled),
    )
