from __future__ import annotations

from collections.abc import Sequence
from math import log2

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.demo.tasks import Retrieval
from benchmarks.evaluate import evaluate_task
from benchmarks.made_tasks import make_retrieval_task, make_sts_task
from benchmarks.protocol import Role
from benchmarks.sts_files import StsPair
from benchmarks.suite import Benchmark
from genembench.problem import Problem

PAIRS = [
    StsPair("east", "east", 12.0),
    StsPair("east", "north", -3.0),
    StsPair("east", "northeast", 9.5),
    StsPair("north", "west", 1.0),
    StsPair("west", "northeast", 1.5),
]


class Compass:
    """Texts are directions; "d30" is 30 degrees."""

    name, address, precision = "compass", "0", "float32"

    def __init__(self) -> None:
        self.roles: dict[str, Role] = {}

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        self.roles |= dict.fromkeys(texts, role)
        named = {"east": 0, "northeast": 45, "north": 90, "west": 180}
        angles = np.radians([named[text] if text in named else int(text.removeprefix("d")) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    made = Retrieval(
        queries={"q-first": "d0", "q-third": "d100", "q-not": "d180"},
        corpus={f"at-{angle}": f"d{angle}" for angle in (1, 20, 95, 102, 110, *range(170, 181))},
        relevant={"q-first": "at-1", "q-third": "at-110", "q-not": "at-1"},
    )
    tasks = {"Own-1.b": lambda: make_sts_task("Own-1.b", PAIRS), "Asked": lambda: make_retrieval_task("Asked", made)}
    monkeypatch.setattr(Benchmark, "load_task", lambda self, name: tasks[name]())
    return Benchmark("own", tuple(tasks))


def test_pairs_are_scored_by_spearman_of_the_cosine(benchmark: Benchmark) -> None:
    encoder = Compass()
    score, predictions = evaluate_task(encoder, benchmark, "Own-1.b")
    cosines = [1, 0, np.sqrt(0.5), 0, -np.sqrt(0.5)]
    # Ranks of the gold scores 5 1 4 2 3, of the cosines 5 2.5 4 2.5 1: their differences squared add up to
    # 0 + 2.25 + 0 + 0.25 + 4 = 6.5; with the tie it is Pearson's correlation of the ranks.
    ranks = np.corrcoef([5, 1, 4, 2, 3], [5, 2.5, 4, 2.5, 1])[0, 1]
    assert spearmanr([pair.score for pair in PAIRS], cosines)[0] == pytest.approx(ranks)
    assert score.score == pytest.approx(100 * ranks, abs=1e-6)
    assert (score.task, score.metric, score.subset, score.split) == ("Own-1.b", "cosine_spearman", "default", "test")
    assert score.pairs == len(predictions) == 5
    assert [prediction.gold for prediction in predictions] == [12.0, -3.0, 9.5, 1.0, 1.5]
    np.testing.assert_allclose([prediction.score for prediction in predictions], cosines, atol=1e-6)
    assert [prediction.pair.partition("-")[0] for prediction in predictions] == ["0", "1", "2", "3", "4"]
    assert len({prediction.pair.partition("-")[2] for prediction in predictions}) == 5
    assert set(encoder.roles.values()) == {"symmetric"}


def test_a_question_is_scored_by_the_rank_of_its_answer_among_the_first_ten(benchmark: Benchmark) -> None:
    encoder = Compass()
    score, predictions = evaluate_task(encoder, benchmark, "Asked")
    # To 100 degrees 102 is nearest, then 95, then 110. To 180 eleven documents are nearer than the answer.
    expected = [1, 1 / log2(1 + 3), 0]
    assert score.score == pytest.approx(100 * sum(expected) / 3, abs=1e-3)
    assert (score.metric, score.pairs) == ("ndcg_at_10", 3)
    assert {each.pair: each.score for each in predictions} == pytest.approx(
        dict(zip(["q-first", "q-third", "q-not"], expected, strict=True))
    )
    assert (encoder.roles["d100"], encoder.roles["d95"]) == ("query", "document")


@pytest.mark.parametrize("pairs", [[StsPair("a", "b", 2.0)], [StsPair("a", "b", 2.0), StsPair("c", "d", 2.0)]])
def test_gold_scores_that_are_all_the_same_are_refused(pairs: list[StsPair]) -> None:
    with pytest.raises(Problem, match=r"own: the gold score of every pair is 2\.0"):
        make_sts_task("own", pairs)
