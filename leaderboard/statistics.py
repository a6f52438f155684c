"""Everything a leaderboard claims with a number: intervals, comparisons on equal pairs, ranks with ties.

Rows are named by their place in the list that was given. Scores are on the 0-100 scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from leaderboard.comparisons import compare, holm, interval_of
from leaderboard.evidence import Evidence
from leaderboard.records import Record
from leaderboard.rows import Row, budget_size
from leaderboard.samples import Sample, sample_of, score_of
from leaderboard.standings import letters, rank_interval


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of a score, a difference or a probability."""

    low: float
    high: float


@dataclass(frozen=True)
class Contest:
    """Rows that may be ranked against each other: those of one budget, and all that train nothing.

    Finished models and rows that are marked as not comparable take part in none.
    """

    budget: str
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """One row against another on the same pairs: ``first`` minus ``second`` of one column.

    Attributes:
        first: Place of the row that scores higher (the earlier one where both score the same).
        second: Place of the other.
        difference: First minus second, never negative.
        interval: 95 % interval of the difference, not adjusted for the number of comparisons.
        p: Two-sided p-value of "no difference".
        p_holm: The same, adjusted by Holm over all comparisons of the column in the contest.
        improvement: Probability of improvement: how likely ``first`` beats ``second`` on a task drawn at random.
        improvement_interval: Its 95 % interval over resampled pairs.
    """

    first: int
    second: int
    difference: float
    interval: Interval
    p: float
    p_holm: float
    improvement: float
    improvement_interval: Interval

    @property
    def significant(self) -> bool:
        """Whether the difference stands at the 5 % level after Holm's correction."""
        return self.p_holm < 0.05


@dataclass(frozen=True)
class Standing:
    """A row's rank as an interval: ``best`` with every tie in its favour, ``worst`` with none; ``group`` are letters.

    Two rows that share a letter cannot be told apart.
    """

    best: int
    worst: int
    group: str


class Statistics:
    """The statistics of one table, computed when they are asked for and then kept.

    Args:
        rows: The rows of the table.
        resamples: How often the pairs of each task are resampled.
        progress: Told one line for each task whose pairs are resampled; ten methods on nine STS sets take some ten
            seconds in all.

    Raises:
        Problem: (by every method) predictions are damaged, or not comparable; see ``leaderboard.replicates``.
    """

    def __init__(
        self, rows: Sequence[Row], *, resamples: int = 10_000, progress: Callable[[str], None] | None = None
    ) -> None:
        self.rows = tuple(rows)
        self.resamples = resamples
        self._evidence = Evidence(self.rows, resamples, progress)
        self._samples: dict[tuple[int, str], Sample | None] = {}
        self._comparisons: dict[tuple[Contest, str], tuple[Comparison, ...]] = {}
        self._standings: dict[tuple[Contest, str], dict[int, Standing]] = {}
        self._best: dict[str, set[int]] = {}
        self._level: dict[str, set[int]] = {}

    @cached_property
    def contests(self) -> tuple[Contest, ...]:
        """The contests, smallest budget first; none with fewer than two rows."""
        budgets: dict[str, float] = {}
        free, trained = [], []
        for at, row in enumerate(self.rows):
            if row.first.finished_model or row.mark:
                continue
            if row.first.budget.asked:
                trained.append(at)
                budgets[row.first.budget.label] = budget_size(row.first)
            else:
                free.append(at)
        labels = sorted(budgets, key=lambda label: (budgets[label], label))
        places = {
            label: sorted([*free, *(at for at in trained if self.rows[at].first.budget.label == label)])
            for label in labels
        }
        return tuple(Contest(label, tuple(rows)) for label, rows in (places or {"0": free}).items() if len(rows) > 1)

    def interval(self, at: int, column: str) -> Interval | None:
        """Return the interval of a row's task or average; None where its pairs are not at hand."""
        sample = self._sample(at, column)
        return None if sample is None else Interval(*interval_of(sample))

    def run_interval(self, record: Record, column: str) -> Interval | None:
        """Return the interval of one run of a row by itself: what the pairs leave open, and nothing of the seeds."""
        sample = sample_of([record], column, self._evidence)
        return None if sample is None else Interval(*interval_of(sample))

    def comparisons(self, contest: Contest, column: str) -> tuple[Comparison, ...]:
        """Compare all pairs of rows of a contest that have the column's pairs; Holm is over these.

        They stand in the order of the rows' scores: the best against the second, the third, ..., the second against the
        third, ...
        """
        key = (contest, column)
        if key not in self._comparisons:
            samples = self._entrants(contest, column)
            pairs = list(combinations(samples, 2))
            found = [compare(samples[one], samples[other]) for one, other in pairs]
            adjusted = holm([each.p for each in found])
            self._comparisons[key] = tuple(
                Comparison(
                    *pair,
                    each.difference,
                    Interval(*each.interval),
                    each.p,
                    p_holm,
                    each.improvement,
                    Interval(*each.improvement_interval),
                )
                for pair, each, p_holm in zip(pairs, found, adjusted, strict=True)
            )
        return self._comparisons[key]

    def standing(self, at: int, column: str) -> Standing | None:
        """Return a row's rank; None where it takes part in no contest, in several, or has no pairs at hand.

        So too where no other row of its contest has them.
        """
        mine = [contest for contest in self.contests if at in contest.rows]
        if len(mine) != 1:
            return None
        key = (mine[0], column)
        if key not in self._standings:
            self._standings[key] = self._rank(*key)
        return self._standings[key].get(at)

    def best(self, column: str) -> set[int]:
        """Return the rows that are best of their contest (all their contests), by two decimals, in a column."""
        if column not in self._best:
            tops = [(contest, self._top(contest, column)) for contest in self.contests]
            entered = {at for contest, _ in tops for at in contest.rows}
            self._best[column] = {at for at in entered if all(at in top for contest, top in tops if at in contest.rows)}
        return set(self._best[column])

    def level(self, column: str) -> set[int]:
        """Return the rows that are not best but not significantly worse than the best of their contest (each).

        Where several rows are best, than none of them.
        """
        if column not in self._level:
            level = {at for contest in self.contests for at in contest.rows} - self.best(column)
            for contest in self.contests:
                top = self._top(contest, column)
                alike = {
                    frozenset((each.first, each.second))
                    for each in self.comparisons(contest, column)
                    if not each.significant
                }
                # Where either row has no pairs there is no comparison, and the row is not level.
                level -= {
                    at
                    for at in contest.rows
                    if at not in top and not (top and all(frozenset((at, it)) in alike for it in top))
                }
            self._level[column] = level
        return set(self._level[column])

    def _sample(self, at: int, column: str) -> Sample | None:
        """Return what is known of a row in a column."""
        key = (at, column)
        if key not in self._samples:
            self._samples[key] = sample_of(self.rows[at].records, column, self._evidence)
        return self._samples[key]

    def _entrants(self, contest: Contest, column: str) -> dict[int, Sample]:
        """Return the rows of a contest that have the column's pairs, highest score first; equal ones in table order."""
        found = {at: sample for at in contest.rows if (sample := self._sample(at, column)) is not None}
        # An average of this name over other tasks is another average.
        tasks = next((sample.tasks for sample in found.values()), ())
        found = {at: sample for at, sample in found.items() if sample.tasks == tasks}
        return dict(sorted(found.items(), key=lambda item: -item[1].score))

    def _rank(self, contest: Contest, column: str) -> dict[int, Standing]:
        """Rank the rows of a contest that have the column's pairs."""
        ranked = list(self._entrants(contest, column))
        if len(ranked) < 2:
            return {}
        better = {(each.first, each.second) for each in self.comparisons(contest, column) if each.significant}
        groups = letters(ranked, better)
        return {at: Standing(*rank_interval(at, ranked, better), groups[at]) for at in ranked}

    def _top(self, contest: Contest, column: str) -> set[int]:
        """Return the rows of a contest that print the highest score."""
        scores = {at: score for at in contest.rows if (score := score_of(self.rows[at], column)) is not None}
        highest = f"{max(scores.values()):.2f}" if scores else ""
        return {at for at, score in scores.items() if f"{score:.2f}" == highest}
