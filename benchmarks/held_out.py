"""Triplets that no training of a comparison sees, as a retrieval task: what hyper-parameters are chosen on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from benchmarks.demo.tasks import Retrieval
from benchmarks.kinds import texts_of
from benchmarks.overlap import normalised
from benchmarks.suite import Benchmark
from benchmarks.training_data import Row, TrainingData

HELD_OUT = "HeldOut"
"""Name of the task."""

COUNT = 500
"""Rows of the task, where there are as many."""


def held_out_triplets(
    data: TrainingData, largest: int, count: int = COUNT, *, also: Iterable[str] = ()
) -> tuple[Row, ...]:
    """Return rows from the end of the order whose query and positive are no text of the rows before ``largest``.

    Texts are compared as words: NFKC, without case, punctuation and spacing (`benchmarks.overlap.normalised`). Of
    several rows with one query the last stays.

    Args:
        data: All triplets, in the order of the seed that the trials train with.
        largest: What the largest budget takes from the beginning of that order.
        count: At most so many rows.
        also: Texts of other kinds that training sees.

    Returns:
        Rows beyond ``largest``, the last of the order first; fewer than ``count`` where no more are left.
    """
    seen = {_words(text) for row in data.rows[:largest] for text in texts_of(data.kind, row)}
    seen.update(map(_words, also))
    found: dict[str, Row] = {}
    for row in reversed(data.rows[largest:]):
        if len(found) == count:
            break
        query = _words(row["query"])
        if query not in found and query not in seen and _words(row["positive"]) not in seen:
            found[query] = row
    return tuple(found.values())


def held_out_benchmark(rows: Sequence[Row]) -> Benchmark:
    """Return the benchmark of these triplets: find each query's positive among all positives and hard negatives."""
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    relevant: dict[str, str] = {}
    # Two spellings of one sentence are one document: neither could be told to be the wrong answer.
    names: dict[str, str] = {}
    for row in rows:
        for text in (row["positive"], *row["negative"]):
            if _words(text) not in names:
                names[_words(text)] = name = _name(text)
                corpus[name] = text
        query = _name(row["query"])
        queries[query], relevant[query] = row["query"], names[_words(row["positive"])]
    return Benchmark("held-out triplets", (HELD_OUT,), made={HELD_OUT: Retrieval(queries, corpus, relevant)})


def _words(text: str) -> str:
    # Without letters or digits nothing is left to compare; "!!!" and "..." are two texts nevertheless.
    return normalised(text) or text


def _name(text: str) -> str:
    # mteb ranks equal similarities by the documents' names. A hash says nothing of which of them is the answer.
    return blake2b(text.encode(), digest_size=10).hexdigest()
