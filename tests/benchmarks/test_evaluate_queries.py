"""A retrieval task's score query by query, against scores computed here from the cosines."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import cache
from math import log2
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.demo.tasks import RETRIEVAL, Retrieval, retrieval
from benchmarks.evaluate import Prediction, TaskScore, evaluate_task
from benchmarks.made_tasks import make_retrieval_task
from benchmarks.protocol import Role
from benchmarks.suite import Benchmark, resolve_benchmark
from runners.records import TaskResults


class Hashed:
    """Random vectors, one for each text: nothing is ranked well, and no two cosines are the same."""

    name, address, precision = "hashed", "1", "float32"

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        return np.stack([vector(text) for text in texts])


@cache
def vector(text: str) -> NDArray[np.float32]:
    return np.random.default_rng(list(text.encode())).normal(size=6).astype(np.float32)


def ranked(query: str, corpus: dict[str, str]) -> list[str]:
    documents = np.stack([vector(text) for text in corpus.values()]).astype(float)
    cosines = documents @ vector(query).astype(float) / np.linalg.norm(documents, axis=1)
    return [name for _, name in sorted(zip(-cosines, corpus, strict=True))]


def ndcg(order: list[str], relevant: dict[str, int]) -> float:
    gains = [relevant.get(name, 0) / log2(rank + 1) for rank, name in enumerate(order[:10], 1)]
    best = [grade / log2(rank + 1) for rank, grade in enumerate(sorted(relevant.values(), reverse=True)[:10], 1)]
    return sum(gains) / sum(best)


def average_precision(order: list[str], relevant: dict[str, int]) -> float:
    hits, found = 0, 0.0
    for rank, name in enumerate(order[:100], 1):
        if relevant.get(name, 0):
            hits += 1
            found += hits / rank
    return found / len(relevant)


MEASURES: dict[str, Callable[[list[str], dict[str, int]], float]] = {
    "ndcg_at_10": ndcg,
    "map_at_100": average_precision,
    "recall_at_5": lambda order, relevant: len(set(order[:5]) & set(relevant)) / len(relevant),
    "precision_at_3": lambda order, relevant: len(set(order[:3]) & set(relevant)) / 3,
    "hit_rate_at_20": lambda order, relevant: float(bool(set(order[:20]) & set(relevant))),
    "accuracy": lambda order, relevant: len({order[0]} & set(relevant)) / len(relevant),
}
CORPUS = {f"d{number}": f"document {number}" for number in range(40)}
QUERIES = {f"q{number}": f"question {number}" for number in range(12)}
# One to three answers, some better than others.
RELEVANT = {
    query: {f"d{(3 * at + 11 * each) % 40}": 1 + (at + each) % 2 for each in range(1 + at % 3)}
    for at, query in enumerate(QUERIES)
}
RELEVANT["q0"] = {ranked(QUERIES["q0"], CORPUS)[0]: 1}


def scored(monkeypatch: pytest.MonkeyPatch, main_score: str, change: Callable[[Any], None] = lambda task: None) -> Any:
    def load(self: Benchmark, name: str) -> Any:
        task: Any = make_retrieval_task(name, Retrieval(QUERIES, CORPUS, dict.fromkeys(QUERIES, "d0")), main_score)
        task.dataset["default"]["test"]["relevant_docs"] = {query: dict(each) for query, each in RELEVANT.items()}
        change(task)
        return task

    monkeypatch.setattr(Benchmark, "load_task", load)
    return evaluate_task(Hashed(), Benchmark("own", ("Asked",)), "Asked")


@pytest.mark.parametrize("main_score", list(MEASURES))
def test_each_query_has_its_own_score_and_their_mean_is_the_tasks(
    main_score: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    score, predictions = scored(monkeypatch, main_score)
    expected = {query: MEASURES[main_score](ranked(text, CORPUS), RELEVANT[query]) for query, text in QUERIES.items()}
    assert len(set(expected.values())) > 1
    assert {each.pair: each.score for each in predictions} == pytest.approx(expected, abs=1e-6)
    # mteb rounds the mean to five decimals, and does nothing else to it.
    assert score.score / 100 == pytest.approx(round(fmean(each.score for each in predictions), 5), abs=1e-12)
    assert {each.gold for each in predictions} == {None}
    assert (score.metric, score.pairs) == (main_score, 12)


def test_a_score_that_is_no_mean_over_queries_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    score, predictions = scored(monkeypatch, "mrr_at_10")
    assert score.score > 0
    assert predictions == []


def test_a_task_that_puts_something_else_into_its_main_score_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(task: Any) -> None:
        task.task_specific_scores = lambda *given, **named: {"ndcg_at_10": 0.123}

    score, predictions = scored(monkeypatch, "ndcg_at_10", change)
    assert score.score == pytest.approx(12.3)
    assert predictions == []


def test_several_splits_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(task: Any) -> None:
        task.dataset["default"]["dev"] = dict(task.dataset["default"]["test"])
        task._eval_splits = ["test", "dev"]

    score, predictions = scored(monkeypatch, "ndcg_at_10", change)
    assert score.split == "test+dev"
    assert predictions == []


def test_the_demo_is_scored_query_by_query() -> None:
    benchmark = resolve_benchmark("demo", tasks=[RETRIEVAL], data_dir=None)
    score, predictions = evaluate_task(Hashed(), benchmark, RETRIEVAL)
    made = retrieval()
    corpus = dict(made.corpus)
    expected = {query: ndcg(ranked(text, corpus), {made.relevant[query]: 1}) for query, text in made.queries.items()}
    assert {each.pair: each.score for each in predictions} == pytest.approx(expected, abs=1e-6)
    assert 100 * fmean(expected.values()) == pytest.approx(score.score, abs=1e-3)


def test_the_file_holds_queries_and_that_of_pairs_is_as_it_was(tmp_path: Path) -> None:
    results = TaskResults(tmp_path, "address")
    facts = {"subset": "default", "split": "test", "score": 50.0, "pairs": 2, "seconds": 1.0}
    retrieved = TaskScore(task="Asked", metric="ndcg_at_10", **facts)  # type: ignore[arg-type]
    results.add(retrieved, [Prediction("q,1", None, 1 / 3), Prediction("q2", None, 2 / 3)], {})
    paired = TaskScore(task="Pairs", metric="cosine_spearman", **facts)  # type: ignore[arg-type]
    results.add(paired, [Prediction("0-ab", 4.0, 1 / 3), Prediction("1-cd", 2.5, -0.25)], {})
    assert (tmp_path / "predictions" / "Asked.csv").read_text() == 'query,score\n"q,1",0.333333333\nq2,0.666666667\n'
    assert (tmp_path / "predictions" / "Pairs.csv").read_text() == (
        "pair,gold,score\n0-ab,4.0,0.333333333\n1-cd,2.5,-0.25\n"
    )
    with (tmp_path / "predictions" / "Asked.csv").open(newline="") as file:
        assert [row["query"] for row in csv.DictReader(file)] == ["q,1", "q2"]
