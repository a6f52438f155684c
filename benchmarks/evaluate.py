"""Score an encoder on the tasks of a benchmark. Every number is mteb's own; nothing comes from its result cache."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.mteb_adapter import MtebEncoder, quiet_mteb, role_of
from benchmarks.protocol import TextEncoder, UnusableVectorsError
from benchmarks.query_scores import QueryScores
from benchmarks.sts_files import StsPair
from benchmarks.suite import Benchmark
from genembench.problem import Problem

if TYPE_CHECKING:
    from mteb import AbsTask
    from mteb.results import TaskResult

# mteb hands texts over in data-loader batches; the adapter puts them together again, so the fewer the better.
_HANDED_OVER = 65_536


@dataclass(frozen=True)
class TaskScore:
    """The main score of one task.

    Attributes:
        task: mteb's name of the task.
        subset: mteb's name of the subset ("default" where there is only one); joined by "+" where there are several.
        split: The split scored, joined likewise.
        metric: mteb's main score of the task.
        score: Its value times 100, not rounded.
        pairs: Rows scored: sentence pairs, or examples of another task (0 where mteb does not say).
        seconds: Encoding and scoring, without loading the data.
    """

    task: str
    subset: str
    split: str
    metric: str
    score: float
    pairs: int
    seconds: float


@dataclass(frozen=True)
class Prediction:
    """One thing that a task's score is made of: a sentence pair, or a query of a retrieval task.

    Attributes:
        pair: The pair's id (row and content), or the query's in its task.
        gold: The pair's gold score on the task's scale; None for a query.
        score: The cosine of the pair's vectors, or the query's own main score, 0 to 1.
    """

    pair: str
    gold: float | None
    score: float


def evaluate(
    encoder: TextEncoder,
    benchmark: Benchmark,
    *,
    on_task: Callable[[TaskScore, list[Prediction]], None],
    skip: Collection[str] = (),
) -> list[TaskScore]:
    """Score an encoder task by task; a text that several tasks share is encoded once.

    A shared text's vector was made in other company than it would have had in the later task alone, so there it may
    differ in the last bit of float32, and no more.

    Args:
        encoder: What is scored.
        benchmark: The tasks and their data.
        on_task: Called with each result as soon as it exists, so that a crash loses one task at most.
        skip: Tasks already scored.

    Raises:
        Problem: A task's data cannot be had.
        UnusableVectorsError: The encoder's vectors cannot be scored.
    """
    adapter = MtebEncoder(encoder)
    scores = []
    for name in benchmark.tasks:
        if name not in skip:
            score, predictions = evaluate_task(adapter, benchmark, name)
            on_task(score, predictions)
            scores.append(score)
    return scores


def evaluate_task(
    encoder: TextEncoder | MtebEncoder, benchmark: Benchmark, task_name: str
) -> tuple[TaskScore, list[Prediction]]:
    """Score an encoder on one task.

    Args:
        encoder: An encoder, or an adapter around one that already holds vectors of earlier tasks.
        benchmark: Where the task's data come from.
        task_name: One of ``benchmark.tasks``.

    Returns:
        The score; for an STS task the cosine of each pair in the order of the rows, for a retrieval task whose score is
        a mean over queries the score of each query, for other tasks nothing.

    Raises:
        Problem: The task's data cannot be had.
        UnusableVectorsError: The vectors are malformed, or so much alike that the main score is not a number.
    """
    adapter = encoder if isinstance(encoder, MtebEncoder) else MtebEncoder(encoder)
    task = benchmark.load_task(task_name)
    pairs = pairs_of(task)
    queries = QueryScores.of(task) if pairs is None else None
    import_module("sentence_transformers")  # mteb does so while it evaluates; that is not the encoder's time.
    start = time.perf_counter()
    if pairs is not None:
        _prime(adapter, task, pairs)
    predictions = []
    with TemporaryDirectory() as folder:
        # Of a retrieval task mteb would write a thousand documents a query.
        result = _run_mteb(adapter, task, None if pairs is None else Path(folder))
        seconds = time.perf_counter() - start
        if pairs is not None:
            predictions = _predictions(Path(folder) / task.prediction_file_name, task, pairs)
    if queries is not None:
        found = queries.making(float(result.get_score()))
        predictions = [Prediction(query, None, own) for query, own in found.items()]
    if pairs is None:
        adapter.forget()  # A retrieval corpus is large, and no other task has the same.
    else:
        adapter.forget_beyond()
    score = 100 * float(result.get_score())
    if not math.isfinite(score):
        raise UnusableVectorsError(
            f"{adapter.encoder.name}: {task.metadata.main_score} on {task_name} is {score}; "
            "are the vectors of all texts the same?"
        )
    count = _examples(task) if pairs is None else len(pairs)
    subsets = dict.fromkeys(scores["hf_subset"] for split in result.scores.values() for scores in split)
    return (
        TaskScore(
            task_name, "+".join(subsets), "+".join(result.scores), task.metadata.main_score, score, count, seconds
        ),
        predictions,
    )


def _run_mteb(adapter: MtebEncoder, task: AbsTask, folder: Path | None) -> TaskResult:
    import mteb

    with quiet_mteb():
        results = mteb.evaluate(
            adapter,
            task,
            cache=None,
            co2_tracker=False,
            encode_kwargs={"batch_size": _HANDED_OVER, "show_progress_bar": False},
            prediction_folder=folder,
            show_progress_bar=False,
        )
    if not results.task_results:
        raise Problem(f"mteb gave no result for {task.metadata.name}: {results.exceptions}")
    return results.task_results[0]


def pairs_of(task: AbsTask) -> list[StsPair] | None:
    """Return the pairs of an STS task with one subset and one split, in order; None for every other task."""
    from mteb.abstasks import AbsTaskSTS

    if not isinstance(task, AbsTaskSTS) or len(task.hf_subsets) != 1 or len(task.eval_splits) != 1:
        return None
    data: Any = task.dataset
    # The slice reads whole columns at once; going through them row by row takes longer than scoring them.
    columns = data.get(task.hf_subsets[0], data)[task.eval_splits[0]][:]
    first, second = (columns[name] for name in task.column_names)
    return [StsPair(*pair) for pair in zip(first, second, columns["score"], strict=True)]


def _prime(adapter: MtebEncoder, task: Any, pairs: list[StsPair]) -> None:
    role1, role2 = role_of(task.input1_prompt_type), role_of(task.input2_prompt_type)
    first, second = [pair.sentence1 for pair in pairs], [pair.sentence2 for pair in pairs]
    if role1 == role2:
        adapter.prime([*first, *second], role1)
    else:
        adapter.prime(first, role1)
        adapter.prime(second, role2)


def _predictions(file: Path, task: AbsTask, pairs: list[StsPair]) -> list[Prediction]:
    """Read the cosines that mteb wrote and put them beside the pairs."""
    written = json.loads(file.read_text(encoding="utf-8"))
    cosines = written[task.hf_subsets[0]][task.eval_splits[0]]["cosine_scores"]
    return [
        Prediction(_pair_id(row, pair), float(pair.score), float(cosine))
        for row, (pair, cosine) in enumerate(zip(pairs, cosines, strict=True))
    ]


def _pair_id(row: int, pair: StsPair) -> str:
    content = f"{pair.sentence1}\x1f{pair.sentence2}".encode()
    return f"{row}-{hashlib.blake2b(content).hexdigest()[:12]}"


def _examples(task: AbsTask) -> int:
    data: Any = task.dataset
    try:
        parts = [data.get(subset, data)[split] for subset in task.hf_subsets for split in task.eval_splits]
        # A retrieval split is a dictionary of corpus, queries and judgements; its examples are the queries.
        return sum(len(part["queries"]) if isinstance(part, dict) else len(part) for part in parts)
    except (AttributeError, KeyError, TypeError):
        return 0
