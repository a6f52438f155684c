from __future__ import annotations

import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap, spearmanr

from genembench.problem import Problem
from leaderboard.facts import TaskScore
from leaderboard.packed import FILE, packed_bytes, read_packed
from leaderboard.replicates import (
    Packing,
    Source,
    replicates,
    replicates_of,
    write_all_replicates,
    write_replicates,
)
from leaderboard.resampling import resamples
from tests.leaderboard.made_up import write_predictions

SIZES = {
    "BIOSSES": 100,
    "SICK-R": 9927,
    "STS12": 3108,
    "STS13": 1500,
    "STS14": 3750,
    "STS15": 3000,
    "STS16": 1186,
    "STS17": 250,
    "STSBenchmark": 1379,
}
SPEARMAN = "cosine_spearman"


def pairs(n: int = 60, seed: int = 0) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    gold = np.round(np.random.default_rng(99).uniform(0, 5, n), 1)
    return gold.tolist(), np.round(gold / 5 + rng.normal(0, 0.3, n), 6).tolist()


def score(task: str, value: float, metric: str = SPEARMAN, subset: str = "default") -> TaskScore:
    return TaskScore(task=task, subset=subset, split="test", metric=metric, score=value, pairs=60)


def drawn(task: str, n: int, n_resamples: int) -> list[np.ndarray]:
    counts = np.concatenate(list(resamples(task, n, n_resamples)), axis=1)
    return [np.repeat(np.arange(n), column) for column in counts.T]


def test_a_replicate_is_the_score_of_the_drawn_pairs(tmp_path: Path) -> None:
    gold, first = pairs(seed=1)
    second = pairs(seed=2)[1]
    for name, values in (("a", first), ("b", second)):
        write_predictions(tmp_path / name, "T", gold, values)
    found = replicates_of([Source(tmp_path / name) for name in ("a", "none", "b")], "T", SPEARMAN, 25)
    assert found[1] is None
    for each, values in ((found[0], first), (found[2], second)):
        expected = [100 * spearmanr(np.array(gold)[at], np.array(values)[at]).statistic for at in drawn("T", 60, 25)]
        np.testing.assert_allclose(np.array(each), expected, atol=1e-5)  # they are kept in float32


def test_queries_have_means(tmp_path: Path) -> None:
    values = np.round(np.random.default_rng(0).uniform(0, 1, 40), 5)
    write_predictions(tmp_path, "R", None, values.tolist())
    found = replicates(tmp_path, "R", "ndcg_at_10", 12, score=100 * values.mean())
    np.testing.assert_allclose(np.array(found), [100 * values[at].mean() for at in drawn("R", 40, 12)], atol=1e-5)


def test_runs_share_their_resamples_whenever_they_are_computed(tmp_path: Path) -> None:
    gold, first = pairs(seed=1)
    write_predictions(tmp_path / "a", "T", gold, first)
    write_predictions(tmp_path / "b", "T", gold, pairs(seed=2)[1])
    together = replicates_of([Source(tmp_path / "a"), Source(tmp_path / "b")], "T", SPEARMAN, 600)
    for name, expected in zip(("a", "b"), together, strict=True):
        np.testing.assert_array_equal(replicates(tmp_path / name, "T", SPEARMAN, 600), expected)
        few = replicates(tmp_path / name, "T", SPEARMAN, 7)
        assert expected is not None
        np.testing.assert_array_equal(few, expected[:7])


def test_their_spread_is_that_of_scipys_bootstrap(tmp_path: Path) -> None:
    gold, values = pairs(n=150, seed=3)
    write_predictions(tmp_path, "T", gold, values)
    found = replicates(tmp_path, "T", SPEARMAN, 4000)
    assert found is not None
    other = bootstrap(
        (gold, values),
        lambda a, b: 100 * spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(1),
    )
    low, high = np.quantile(found, [0.025, 0.975])
    assert found.std(ddof=1) == pytest.approx(other.standard_error, rel=0.06)  # either has an error of about 1.6 %
    assert low == pytest.approx(other.confidence_interval.low, abs=0.3 * other.standard_error)
    assert high == pytest.approx(other.confidence_interval.high, abs=0.3 * other.standard_error)


def test_predictions_of_another_run_are_refused(tmp_path: Path) -> None:
    gold, values = pairs()
    truth = 100 * spearmanr(gold, values).statistic
    write_predictions(tmp_path, "T", gold, values)
    assert replicates(tmp_path, "T", SPEARMAN, 5, score=truth + 0.9e-4) is not None
    with pytest.raises(Problem, match="does not belong to its record"):
        replicates(tmp_path, "T", SPEARMAN, 5, score=truth + 1.1e-4)
    with pytest.raises(Problem, match="does not belong to its record"):
        replicates(tmp_path, "T", SPEARMAN, 5, score=float("nan"))


@pytest.mark.parametrize("change", ["gold", "order", "fewer"])
def test_runs_over_other_pairs_are_refused(tmp_path: Path, change: str) -> None:
    gold, values = pairs()
    write_predictions(tmp_path / "a", "T", gold, values)
    other = {"gold": [*gold[:-1], 2.25], "order": gold[::-1], "fewer": gold[:-1]}[change]
    write_predictions(tmp_path / "b", "T", other, values[: len(other)])
    with pytest.raises(Problem, match="different T pairs") as problem:
        replicates_of([Source(tmp_path / "a"), Source(tmp_path / "b")], "T", SPEARMAN, 5)
    assert f"{tmp_path / 'a'} and {tmp_path / 'b'}" in problem.value.what


def test_another_metric_cannot_be_had_from_cosines_and_one_pair_says_nothing(tmp_path: Path) -> None:
    write_predictions(tmp_path, "T", *pairs())
    assert replicates(tmp_path, "T", "cosine_pearson", 5) is None
    write_predictions(tmp_path, "U", [1.0], [0.5])
    assert replicates(tmp_path, "U", SPEARMAN, 5) is None
    write_predictions(tmp_path, "R", None, [0.5])
    assert replicates(tmp_path, "R", "ndcg_at_10", 5) is None


class TestPacked:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_predictions(tmp_path / "run", "T", *pairs(seed=1))
        write_predictions(tmp_path / "run", "R", None, [0.25, 0.5, 1.0])
        write_predictions(tmp_path / "run", "Two", None, [0.25, 0.5, 1.0])
        return tmp_path / "run"

    def scores(self) -> list[TaskScore]:
        gold, values = pairs(seed=1)
        truth = 100 * float(spearmanr(gold, values).statistic)
        mean = 100 * 1.75 / 3
        two = [score("Two", mean, "ndcg_at_10", subset) for subset in ("en", "de")]
        return [score("T", truth), score("R", mean, "ndcg_at_10"), score("None", 50.0), *two]

    def test_packed_and_unpacked_runs_have_the_same_numbers(self, folder: Path, tmp_path: Path) -> None:
        file = write_replicates(folder, tmp_path / "packed", self.scores(), resamples=50)
        assert file == tmp_path / "packed" / FILE
        assert sorted(path.name for path in file.parent.iterdir()) == [FILE]
        for task, metric in (("T", SPEARMAN), ("R", "ndcg_at_10")):
            one, other = replicates_of([Source(folder), Source(file.parent)], task, metric, 50)
            assert one is not None
            np.testing.assert_array_equal(one, other)
        assert replicates(file.parent, "None", SPEARMAN, 50) is None
        assert replicates(file.parent, "T", "ndcg_at_10", 50) is None

    def test_fewer_resamples_are_the_first_ones_and_more_are_refused(self, folder: Path, tmp_path: Path) -> None:
        write_replicates(folder, tmp_path / "packed", self.scores(), resamples=50)
        np.testing.assert_array_equal(
            replicates(tmp_path / "packed", "T", SPEARMAN, 9), replicates(folder, "T", SPEARMAN, 9)
        )
        with pytest.raises(Problem, match="holds 50 resamples of T, 51 are asked for"):
            replicates(tmp_path / "packed", "T", SPEARMAN, 51)

    def test_packing_a_packed_record_again_gives_the_same_file(self, folder: Path, tmp_path: Path) -> None:
        first = write_replicates(folder, tmp_path / "a", self.scores(), resamples=50)
        second = write_replicates(tmp_path / "a", tmp_path / "b", self.scores(), resamples=50)
        assert first is not None
        assert second is not None
        assert first.read_bytes() == second.read_bytes()

    def test_bytes_do_not_depend_on_the_time(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = write_replicates(folder, tmp_path / "a", self.scores(), resamples=50)
        assert first is not None
        monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
        monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2_000_000_000))
        second = write_replicates(folder, tmp_path / "b", self.scores(), resamples=50)
        assert second is not None
        assert first.read_bytes() == second.read_bytes()
        with zipfile.ZipFile(first) as archive:
            assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}

    def test_a_file_holds_no_gold_score_and_needs_no_pickle(self, folder: Path, tmp_path: Path) -> None:
        file = write_replicates(folder, tmp_path / "packed", self.scores(), resamples=5)
        assert file is not None
        with np.load(file, allow_pickle=False) as stored:
            shapes = {name: stored[name].shape for name in stored.files}
        assert shapes == {
            "format": (),
            "tasks": (2,),
            "metrics": (2,),
            "pairs": (2,),
            "addresses": (2,),
            "scores": (2,),
            "replicates": (2, 5),
        }

    def test_predictions_count_where_both_are_there(self, folder: Path) -> None:
        write_replicates(folder, folder, self.scores(), resamples=5)
        assert replicates(folder, "T", SPEARMAN, 50) is not None

    def test_a_packed_run_over_other_pairs_is_refused(self, folder: Path, tmp_path: Path) -> None:
        write_replicates(folder, tmp_path / "packed", self.scores(), resamples=5)
        gold, values = pairs()
        write_predictions(tmp_path / "other", "T", [*gold[:-1], 2.25], values)
        with pytest.raises(Problem, match="different T pairs"):
            replicates_of([Source(tmp_path / "other"), Source(tmp_path / "packed")], "T", SPEARMAN, 5)

    def test_a_packed_run_must_have_its_records_score(self, folder: Path, tmp_path: Path) -> None:
        write_replicates(folder, tmp_path / "packed", self.scores(), resamples=5)
        with pytest.raises(Problem, match="does not belong to its record"):
            replicates(tmp_path / "packed", "T", SPEARMAN, 5, score=12.0)

    def test_many_runs_are_packed_as_each_by_itself_whatever_their_pairs(self, folder: Path, tmp_path: Path) -> None:
        gold, values = pairs(seed=2)
        gold[0] = 2.25
        write_predictions(tmp_path / "other", "T", gold, values)
        truth = [score("T", 100 * float(spearmanr(gold, values).statistic))]
        packings = [
            Packing(tmp_path / "none", tmp_path / "packed" / "none", []),
            Packing(tmp_path / "other", tmp_path / "packed" / "other", truth),
            Packing(folder, tmp_path / "packed" / "run", self.scores()),
        ]
        found = write_all_replicates(packings, resamples=50)
        assert found == [None, *(tmp_path / "packed" / name / FILE for name in ("other", "run"))]
        for packing, file in zip(packings[1:], found[1:], strict=True):
            alone = write_replicates(packing.folder, tmp_path / "alone", packing.scores, resamples=50)
            assert file is not None
            assert alone is not None
            assert file.read_bytes() == alone.read_bytes()

    def test_without_predictions_nothing_is_written(self, tmp_path: Path) -> None:
        assert write_replicates(tmp_path, tmp_path / "packed", [score("T", 1.0)], resamples=5) is None
        assert not (tmp_path / "packed").exists()

    def test_damaged_files_and_other_formats_are_problems(self, folder: Path, tmp_path: Path) -> None:
        file = write_replicates(folder, tmp_path / "packed", self.scores(), resamples=5)
        assert file is not None
        whole = file.read_bytes()
        for content in (b"", b"no zip", whole[: len(whole) // 2], whole.replace(b"metrics", b"metricx")):
            file.write_bytes(content)
            with pytest.raises(Problem, match="is damaged"):
                read_packed(file.parent, "T")
        np.savez(file, format=np.array(2))
        with pytest.raises(Problem, match="has format 2; this version of genembench reads 1"):
            read_packed(file.parent, "T")
        np.savez(file, format=np.array({"a": 1}, dtype=object))
        with pytest.raises(Problem, match="is damaged"):
            read_packed(file.parent, "T")

    def test_numbers_that_are_none_are_a_problem(self, folder: Path, tmp_path: Path) -> None:
        file = write_replicates(folder, tmp_path / "packed", self.scores(), resamples=5)
        assert file is not None
        task = read_packed(file.parent, "T")
        assert task is not None
        task.replicates[3] = np.nan
        file.write_bytes(packed_bytes([task]))
        with pytest.raises(Problem, match="not a list of finite numbers"):
            read_packed(file.parent, "T")


def test_ten_methods_on_nine_sts_sets_take_seconds(tmp_path: Path) -> None:
    sources = [Source(tmp_path / f"m{at}") for at in range(10)]
    for task, n in SIZES.items():
        for at, source in enumerate(sources):
            write_predictions(source.folder, task, *pairs(n, at))
    start = time.process_time()
    for task in SIZES:
        replicates_of(sources, task, SPEARMAN, 1000)
    assert time.process_time() - start < 9.0  # some 2 s
