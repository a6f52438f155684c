from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.evaluate import evaluate_task
from benchmarks.held_out import HELD_OUT, held_out_benchmark, held_out_triplets
from benchmarks.protocol import Role
from benchmarks.training_data import TrainingData


def triplet(query: str, positive: str, *negatives: str) -> dict[str, Any]:
    return {"query": query, "positive": positive, "negative": list(negatives or ("other",))}


def data(*rows: dict[str, Any]) -> TrainingData:
    return TrainingData("triplets", "here", tuple(map(str, range(len(rows)))), rows, {}, len(rows), 0)


TRAINED = (triplet("One dog.", "a hound", "a cat", "a bird"), triplet("two", "deux"))


def queries(*rest: dict[str, Any], largest: int = 2, **more: Any) -> list[str]:
    return [row["query"] for row in held_out_triplets(data(*TRAINED, *rest), largest, **more)]


def test_rows_are_taken_from_the_end_and_at_most_so_many() -> None:
    rest = [triplet(f"q{n}", f"p{n}") for n in range(5)]
    assert queries(*rest) == ["q4", "q3", "q2", "q1", "q0"]
    assert queries(*rest, count=2) == ["q4", "q3"]
    assert queries(*rest, largest=5) == ["q4", "q3"]
    assert queries(*rest, largest=7) == queries(*rest, largest=99) == []


@pytest.mark.parametrize("seen", ["ONE  dog", "Ａ hound!", "a cat", "A BIRD", "two", "deux"])
def test_what_is_trained_on_is_neither_asked_nor_looked_for(seen: str) -> None:
    free = triplet("free", "libre")
    assert queries(free, triplet(seen, "p")) == ["free"]
    assert queries(free, triplet("q", seen)) == ["free"]
    # As a wrong answer it gives nothing away.
    assert queries(free, triplet("q", "p", seen)) == ["q", "free"]
    assert queries(free, triplet("q", "p"), also=[seen, "Q"]) == ["free"]


def test_a_query_is_asked_once() -> None:
    rows = [
        triplet("a b", "first"),
        triplet("c", "p"),
        triplet("A, b!", "last"),
        triplet("!!!", "p"),
        triplet("...", "p"),
    ]
    found = held_out_triplets(data(*rows), 0)
    assert [(row["query"], row["positive"]) for row in found] == [
        ("...", "p"),
        ("!!!", "p"),
        ("A, b!", "last"),
        ("c", "p"),
    ]


def test_the_address_is_the_contents() -> None:
    rows = [triplet("q1", "p1", "n1"), triplet("q2", "p2", "n2")]
    made = held_out_benchmark(rows)
    assert made.address == held_out_benchmark(rows[::-1]).address == pickle.loads(pickle.dumps(made)).address
    assert made.address != held_out_benchmark(rows[:1]).address
    assert made.address != held_out_benchmark([rows[0], triplet("q2", "p2", "n3")]).address
    assert made.address != held_out_benchmark([rows[0], triplet("q2", "n2", "p2")]).address
    assert set(made.texts()) == {"q1", "q2", "p1", "p2", "n1", "n2"}
    made.check()


class Compass:
    """Texts are directions in degrees."""

    name, address, precision = "compass", "0", "float32"

    def __init__(self) -> None:
        self.asked: dict[Role, set[str]] = {}

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        self.asked.setdefault(role, set()).update(texts)
        angles = np.radians([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_score_is_the_reciprocal_rank_of_the_positive() -> None:
    rows = [
        triplet("0", "2", "10"),  # the answer is the nearest: 1
        triplet("50", "60", "51", "53"),  # behind 51 and 53: 1/3
        triplet("90", "51", "60"),  # behind 90, 60 and 53 of the other rows: 1/4
        # Behind the nine from 170 on, and behind 90, the tenth: 0.
        triplet("180", "53", *(str(170 + n) for n in range(9)), "90"),
    ]
    encoder = Compass()
    score, predictions = evaluate_task(encoder, held_out_benchmark(rows), HELD_OUT)
    assert score.metric == "mrr_at_10"
    assert score.score == pytest.approx(100 * (1 + 1 / 3 + 1 / 4 + 0) / 4)
    assert (score.task, score.pairs, predictions) == (HELD_OUT, 4, [])
    assert encoder.asked["query"] == {"0", "50", "90", "180"}
    assert len(encoder.asked["document"]) == 5 + 10
