from __future__ import annotations

from math import log, sqrt
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import benchmarks.lexical
from benchmarks.evaluate import Prediction, TaskScore, evaluate
from benchmarks.lexical import TfidfEncoder
from benchmarks.sts_files import read_pairs
from benchmarks.suite import Benchmark
from genembench.problem import Problem


def test_weights_by_hand() -> None:
    encoder = TfidfEncoder(["a cat", "A dog!", "a cat"])
    # Two different texts: "a" stands in both, each animal in one; the weight is ln((1 + 2) / (1 + df)) + 1.
    common, rare = log(3 / 3) + 1, log(3 / 2) + 1
    length = sqrt(common**2 + rare**2)
    vectors = encoder.encode(["a cat", "dog a", "cat cat", "bird"], "symmetric")
    assert vectors.dtype == np.float32
    expected = [[common, rare, 0], [common, 0, rare], [0, length, 0], [0, 0, 0]]
    np.testing.assert_allclose(vectors, np.array(expected) / length, atol=1e-6)
    # A word twice counts twice before the vector is normalised.
    twice = encoder.encode(["a cat cat"], "document")[0]
    assert twice[1] / twice[0] == pytest.approx(2 * rare / common)


def test_vectors_do_not_depend_on_role_order_or_repeats_and_the_address_says_so() -> None:
    one, two = TfidfEncoder(["x y", "y z"]), TfidfEncoder(["y z", "x y", "y z"])
    assert one.address == two.address
    np.testing.assert_array_equal(one.encode(["z x"], "query"), two.encode(["z x"], "document"))
    assert one.address != TfidfEncoder(["x y", "y w"]).address


def test_too_much_to_hold_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["one two", "three four", "five six"]
    monkeypatch.setattr(benchmarks.lexical, "MOST_NUMBERS", 18)
    TfidfEncoder(texts)
    monkeypatch.setattr(benchmarks.lexical, "MOST_NUMBERS", 17)
    with pytest.raises(Problem, match="3 texts of 6 different words are too many") as caught:
        TfidfEncoder(texts)
    assert "--tasks" in caught.value.hint


def test_it_is_scored_like_every_encoder(tiny_sts: Path) -> None:
    benchmark = Benchmark("sts", ("STS16", "STS17"), tiny_sts)
    predicted: dict[str, list[float]] = {}

    def keep(score: TaskScore, predictions: list[Prediction]) -> None:
        predicted[score.task] = [prediction.score for prediction in predictions]

    scores = evaluate(TfidfEncoder(benchmark.texts()), benchmark, on_task=keep)
    # Counted with Python's own words and numbers.
    documents = [set(text.split()) for text in set(benchmark.texts())]
    for score in scores:
        pairs = read_pairs(tiny_sts / f"{score.task}.test.jsonl")
        cosines = [_cosine(pair.sentence1, pair.sentence2, documents) for pair in pairs]
        np.testing.assert_allclose(predicted[score.task], cosines, atol=1e-5)
        # Equal sentences tie but for the last digit, so the order is that of the cosines as they were predicted.
        golds = [pair.score for pair in pairs]
        assert score.score == pytest.approx(100 * spearmanr(golds, predicted[score.task])[0], abs=1e-6)


def _cosine(one: str, two: str, documents: list[set[str]]) -> float:
    words = set(one.split()) | set(two.split())
    weight = {word: log((1 + len(documents)) / (1 + sum(word in each for each in documents))) + 1 for word in words}
    first, second = ({word: text.split().count(word) * weight[word] for word in words} for text in (one, two))
    norm = sqrt(sum(x**2 for x in first.values())) * sqrt(sum(x**2 for x in second.values()))
    return sum(first[word] * second[word] for word in words) / norm
