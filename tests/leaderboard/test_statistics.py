from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import permutation_test, spearmanr

from genembench.problem import Problem
from leaderboard.records import Record
from leaderboard.replicates import write_replicates
from leaderboard.resampling import resamples
from leaderboard.rows import Row, build_rows
from leaderboard.spearman import FloatArray
from leaderboard.statistics import Statistics
from tests.leaderboard.made_up import finished, measured, record, untrained, write_predictions

N = 120


def gold(task: str) -> FloatArray:
    rng = np.random.default_rng(sum(task.encode()))
    found: FloatArray = np.round(rng.uniform(0, 5, N), 1)
    return found


def scored(noise: float, seed: int, *names: str) -> dict[str, tuple[list[float], list[float]]]:
    """Predictions of the named tasks, the worse the more noise; the same seed has the same errors."""
    found = {}
    for task in names:
        errors = np.random.default_rng([seed, sum(task.encode())]).normal(size=N)
        found[task] = (gold(task).tolist(), np.round(gold(task) / 5 + noise * errors, 6).tolist())
    return found


def drawn(task: str, n_resamples: int) -> list[FloatArray]:
    counts = np.concatenate(list(resamples(task, N, n_resamples)), axis=1)
    return [np.repeat(np.arange(N), column) for column in counts.T]


def rescored(predictions: tuple[list[float], list[float]], at: FloatArray) -> float:
    return 100 * float(spearmanr(np.array(predictions[0])[at], np.array(predictions[1])[at]).statistic)


class TestContests:
    def contests(self, *records: Record) -> list[tuple[str, list[str]]]:
        rows = build_rows(records)
        return [(each.budget, [rows[at].label for at in each.rows]) for each in Statistics(rows).contests]

    def test_one_for_each_budget_with_all_that_trains_nothing(self) -> None:
        records = [finished(), record("a", budget=10000), record("a", budget=2000), record("b", budget=2000)]
        assert self.contests(untrained("free"), *records) == [("2000", ["free", "a", "b"]), ("10000", ["free", "a"])]

    def test_training_free_rows_alone(self) -> None:
        assert self.contests(untrained("x"), untrained("y"), finished()) == [("0", ["x", "y"])]

    def test_one_row_is_no_contest(self) -> None:
        assert self.contests(record("a"), finished()) == []
        assert self.contests(record("a", budget=2000), record("a", budget=1000)) == []
        assert self.contests() == []

    def test_marked_rows_take_part_in_none(self) -> None:
        rows = build_rows([record("a"), record("b"), record("c")])
        assert Statistics([rows[0], replace(rows[1], mark="†"), rows[2]]).contests[0].rows == (0, 2)


def test_intervals_of_a_task_and_of_an_average_against_scipy(tmp_path: Path) -> None:
    predictions = scored(0.3, 0, "A", "B")
    rows = build_rows([measured(tmp_path, "a", predictions)])
    statistics = Statistics(rows, resamples=200)
    each = {task: [rescored(predictions[task], at) for at in drawn(task, 200)] for task in "AB"}
    for column, replicates in (("A", each["A"]), ("All", np.mean([each["A"], each["B"]], axis=0))):
        interval = statistics.interval(0, column)
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx(np.quantile(replicates, [0.025, 0.975]), abs=1e-5)
        assert statistics.run_interval(rows[0].first, column) == interval
    assert statistics.interval(0, "C") is None


def test_seeds_are_averaged_under_each_resample_and_add_their_own_error(tmp_path: Path) -> None:
    predictions = [scored(0.3, seed, "A") for seed in range(3)]
    records = [measured(tmp_path, "a", each, seed=seed) for seed, each in enumerate(predictions)]
    statistics = Statistics(build_rows(records), resamples=200)
    replicates = np.mean([[rescored(each["A"], at) for at in drawn("A", 200)] for each in predictions], axis=0)
    scores = [record.scores[0].score for record in records]
    low, high = np.quantile(replicates, [0.025, 0.975])
    mean, width = np.mean(scores), 4.302653 * np.std(scores, ddof=1) / np.sqrt(3)
    interval = statistics.interval(0, "A")
    assert interval is not None
    assert interval.low == pytest.approx(mean - np.hypot(mean - low, width), abs=1e-4)
    assert interval.high == pytest.approx(mean + np.hypot(high - mean, width), abs=1e-4)
    alone = statistics.run_interval(records[1], "A")
    assert alone is not None
    expected = np.quantile([rescored(predictions[1]["A"], at) for at in drawn("A", 200)], [0.025, 0.975])
    assert (alone.low, alone.high) == pytest.approx(expected, abs=1e-5)


def test_whatever_is_missing_leaves_no_interval(tmp_path: Path) -> None:
    records = [measured(tmp_path, "a", scored(0.3, seed, "A", "B"), seed=seed) for seed in range(2)]
    (records[1].source.parent / "predictions" / "B.csv").unlink()
    statistics = Statistics(build_rows(records), resamples=50)
    assert statistics.interval(0, "A") is not None
    assert statistics.interval(0, "B") is None
    assert statistics.interval(0, "All") is None
    assert statistics.run_interval(records[0], "All") is not None


def test_a_task_with_several_subsets_has_none(tmp_path: Path) -> None:
    folder = measured(tmp_path, "a", scored(0.3, 0, "A")).source.parent
    value = json.loads((folder / "run.json").read_text())
    value["scores"].append({**value["scores"][0], "subset": "other"})
    statistics = Statistics(build_rows([Record.from_json(value, folder / "run.json")]), resamples=50)
    assert statistics.interval(0, "A") is None


class TestComparisons:
    @pytest.fixture
    def statistics(self, tmp_path: Path) -> Statistics:
        """Rows a (good), b (a copy of a), c (bad), free (hardly worse than a), by name."""
        records = [
            measured(tmp_path, "a", scored(0.3, 0, "A", "B")),
            measured(tmp_path, "b", scored(0.3, 0, "A", "B")),
            measured(tmp_path, "c", scored(1.5, 1, "A", "B")),
            measured(tmp_path, "free", scored(0.31, 2, "A", "B"), free=True),
        ]
        return Statistics([Row(record.method.name, (record,)) for record in records], resamples=400)

    def test_all_pairs_best_first(self, statistics: Statistics) -> None:
        (contest,) = statistics.contests
        found = statistics.comparisons(contest, "All")
        scores = [row.average("All") or 0.0 for row in statistics.rows]
        order = sorted(range(4), key=lambda at: -scores[at])
        assert [(each.first, each.second) for each in found] == [
            (order[one], order[other]) for one in range(4) for other in range(one + 1, 4)
        ]
        for each in found:
            assert each.difference == pytest.approx(scores[each.first] - scores[each.second])
            assert each.difference >= 0
            assert each.interval.low <= each.difference <= each.interval.high
            assert (each.p_holm < 0.05) == each.significant
        smallest = min(each.p for each in found)
        assert min(each.p_holm for each in found) == pytest.approx(6 * smallest)

    def test_copies_have_p_1(self, statistics: Statistics) -> None:
        found = {
            frozenset((each.first, each.second)): each for each in statistics.comparisons(*self.headline(statistics))
        }
        copies = found[frozenset((0, 1))]
        assert (copies.difference, copies.p, copies.p_holm, copies.improvement) == (0.0, 1.0, 1.0, 0.5)
        assert (copies.first, copies.second) == (0, 1)  # the earlier one

    @staticmethod
    def headline(statistics: Statistics) -> tuple:  # type: ignore[type-arg]
        return statistics.contests[0], "All"

    def test_the_paired_error_is_that_of_the_difference_under_each_resample(self, tmp_path: Path) -> None:
        first, second = scored(0.3, 0, "A"), scored(0.4, 0, "A")
        rows = build_rows([measured(tmp_path, "a", first), measured(tmp_path, "b", second)])
        statistics = Statistics(rows, resamples=300)
        (found,) = statistics.comparisons(statistics.contests[0], "A")
        each = [rescored(first["A"], at) - rescored(second["A"], at) for at in drawn("A", 300)]
        width = 1.959964 * np.std(each, ddof=1)
        assert found.interval.low == pytest.approx(found.difference - width, abs=1e-4)
        assert found.interval.high == pytest.approx(found.difference + width, abs=1e-4)

    def test_p_is_near_that_of_a_permutation_test(self, tmp_path: Path) -> None:
        # Both are on the same scale, so that swapping them within pairs is a fair test.
        rng = np.random.default_rng(9)
        truth = gold("A")
        first, second = (np.round(truth + rng.normal(0, deviation, N), 6) for deviation in (1.5, 2.5))
        records = [
            measured(tmp_path, name, {"A": (truth.tolist(), values.tolist())})
            for name, values in (("a", first), ("b", second))
        ]
        statistics = Statistics(build_rows(records), resamples=2000)
        (found,) = statistics.comparisons(statistics.contests[0], "A")
        other = permutation_test(
            (first, second),
            lambda a, b: spearmanr(truth, a).statistic - spearmanr(truth, b).statistic,
            permutation_type="samples",
            vectorized=False,
            n_resamples=1500,
            rng=np.random.default_rng(0),
        )
        assert 0.005 < other.pvalue < 0.2
        assert found.p == pytest.approx(other.pvalue, rel=0.5)

    def test_standings(self, statistics: Statistics) -> None:
        ranks = [statistics.standing(at, "All") for at in range(4)]
        assert [(each.best, each.worst, each.group) for each in ranks if each] == [
            (1, 3, "a"),
            (1, 3, "a"),
            (4, 4, "b"),
            (1, 3, "a"),
        ]

    def test_best_and_level(self, statistics: Statistics) -> None:
        assert statistics.best("All") == {0, 1}
        assert statistics.level("All") == {3}

    def test_each_task_is_resampled_once_and_only_when_asked(self, tmp_path: Path) -> None:
        records = [measured(tmp_path, name, scored(0.3, at, "A", "B")) for at, name in enumerate("ab")]
        said: list[str] = []
        statistics = Statistics(build_rows(records), resamples=50, progress=said.append)
        assert said == []
        for _ in range(2):
            for column in ("A", "All", "B"):
                statistics.interval(0, column)
                statistics.run_interval(records[1], column)
                statistics.best(column)
                statistics.level(column)
                statistics.standing(1, column)
                statistics.comparisons(statistics.contests[0], column)
        assert said == ["resampling A 50 times for 2 runs", "resampling B 50 times for 2 runs"]


class TestSeveralContests:
    @pytest.fixture
    def rows(self, tmp_path: Path) -> list[Row]:
        """free is worse than a at budget 2000 and better than b at 1000; c is much worse than both."""
        records = [
            measured(tmp_path, "free", scored(0.35, 0, "A"), free=True),
            measured(tmp_path, "a", scored(0.2, 0, "A"), budget=2000),
            measured(tmp_path, "b", scored(0.4, 0, "A"), budget=1000),
            measured(tmp_path, "c", scored(3.0, 1, "A"), budget=1000),
        ]
        return [Row(record.method.name, (record,)) for record in records]

    def test_best_must_be_best_of_all(self, rows: list[Row]) -> None:
        statistics = Statistics(rows, resamples=200)
        assert [(each.budget, each.rows) for each in statistics.contests] == [("1000", (0, 2, 3)), ("2000", (0, 1))]
        assert statistics.best("A") == {1}

    def test_a_rank_is_of_one_contest(self, rows: list[Row]) -> None:
        statistics = Statistics(rows, resamples=200)
        assert statistics.standing(0, "A") is None
        last = statistics.standing(3, "A")
        assert last is not None
        assert (last.best, last.worst) == (3, 3)

    def test_level_must_be_level_in_all(self, rows: list[Row], tmp_path: Path) -> None:
        # free leads at 1000, and is clearly worse than a at 2000: level in neither sense.
        assert 0 not in Statistics(rows, resamples=200).level("A")
        near = measured(tmp_path / "near", "a", scored(0.31, 5, "A"), budget=2000)
        assert near.scores[0].score > rows[0].first.scores[0].score
        statistics = Statistics([rows[0], Row("a", (near,)), *rows[2:]], resamples=200)
        assert statistics.best("A") == {1}
        assert statistics.level("A") == {0}


def test_without_predictions_best_still_stands_on_the_scores() -> None:
    statistics = Statistics(build_rows([record("a", 50.001), record("b", 50.004), record("c", 49.0), finished()]))
    assert statistics.best("BIOSSES") == {0, 1}
    assert statistics.level("BIOSSES") == set()
    assert statistics.comparisons(statistics.contests[0], "BIOSSES") == ()
    assert statistics.interval(0, "BIOSSES") is None
    assert statistics.standing(0, "BIOSSES") is None
    assert statistics.best("nothing") == set()
    assert statistics.level("nothing") == set()


def test_a_row_without_predictions_is_in_no_comparison(tmp_path: Path) -> None:
    records = [
        measured(tmp_path, name, scored(noise, 0, "A")) for name, noise in (("a", 0.3), ("b", 0.31), ("c", 0.32))
    ]
    shutil.rmtree(records[1].source.parent / "predictions")
    statistics = Statistics(build_rows(records), resamples=100)
    (found,) = statistics.comparisons(statistics.contests[0], "A")
    assert (found.first, found.second) == (0, 2)
    assert found.p_holm == found.p
    assert statistics.standing(1, "A") is None
    assert 1 not in statistics.level("A")


def test_averages_over_other_tasks_are_not_compared(tmp_path: Path) -> None:
    records = [
        measured(tmp_path, name, scored(0.3 + at / 20, 0, *tasks))
        for at, (name, tasks) in enumerate(zip("abc", ("AB", "A", "AB"), strict=True))
    ]
    statistics = Statistics(build_rows(records), resamples=50)
    assert [(each.first, each.second) for each in statistics.comparisons(statistics.contests[0], "All")] == [(0, 2)]
    assert len(statistics.comparisons(statistics.contests[0], "A")) == 3


class TestOtherPairs:
    def rows(self, tmp_path: Path) -> list[Row]:
        records = [measured(tmp_path, name, scored(0.3, at, "A")) for at, name in enumerate("ab")]
        other = measured(tmp_path, "c", {"A": (gold("B").tolist(), scored(0.3, 0, "B")["B"][1])})
        return build_rows([*records, other])

    def test_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Problem, match="different A pairs"):
            Statistics(self.rows(tmp_path), resamples=50).interval(0, "A")

    def test_may_stand_in_a_marked_row(self, tmp_path: Path) -> None:
        rows = self.rows(tmp_path)
        statistics = Statistics([*rows[:2], replace(rows[2], mark="†")], resamples=50)
        assert statistics.interval(2, "A") is not None
        assert len(statistics.comparisons(statistics.contests[0], "A")) == 1


def test_packed_records_give_the_same_table(tmp_path: Path) -> None:
    records = [measured(tmp_path, name, scored(0.3 + at / 20, at, "A", "B")) for at, name in enumerate("abc")]
    packed = []
    for each in records:
        folder = tmp_path / "packed" / each.run
        write_replicates(each.source.parent, folder, each.scores, resamples=300)
        packed.append(Record.from_json(json.loads(each.source.read_text()), folder / "run.json"))
    # One of them stays as it was: both kinds may be mixed.
    first, second = (Statistics(build_rows(runs), resamples=200) for runs in (records, [records[0], *packed[1:]]))
    for column in ("A", "B", "All"):
        assert first.comparisons(first.contests[0], column) == second.comparisons(second.contests[0], column)
        for at in range(3):
            assert first.interval(at, column) == second.interval(at, column)
            assert first.standing(at, column) == second.standing(at, column)


def test_predictions_of_another_run_are_refused(tmp_path: Path) -> None:
    folder = measured(tmp_path, "a", scored(0.3, 0, "A")).source.parent
    write_predictions(folder, "A", *scored(0.4, 0, "A")["A"])
    value = json.loads((folder / "run.json").read_text())
    with pytest.raises(Problem, match="does not belong to its record"):
        Statistics(build_rows([Record.from_json(value, folder / "run.json")])).interval(0, "A")
