"""Scoring a run's encoder again: every task's score, and every pair's cosine, beside what was recorded."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evaluate import Prediction, TaskScore, evaluate
from benchmarks.protocol import UnusableVectorsError
from genembench.problem import Problem
from methods.encoder import Encoder
from runners.checklist import Checklist
from runners.engine import Engine
from runners.progress import Progress, say
from runners.recorded import RecordedRun

PART = "scores"
TOLERANCE = {"float32": 0.01, "bfloat16": 0.2}
"""How far a score (x100) may be from the recorded one: another processor rounds otherwise, bfloat16 more so."""
COSINE_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05}
"""The same for the cosine of one pair."""


@dataclass(frozen=True)
class Again:
    """A task scored again.

    Attributes:
        task: Its name.
        recorded: The record's score, x100.
        now: The score now.
        largest: Largest difference of any pair's cosine (or any query's score); None without predictions then or now.
        verdict: ``ok`` or ``DIFFERS``.
    """

    task: str
    recorded: float
    now: float
    largest: float | None
    verdict: str

    @property
    def difference(self) -> float:
        """Now minus recorded."""
        return self.now - self.recorded


def score_again(run: RecordedRun, engine: Engine, tolerance: float | None, found: Checklist) -> list[Again]:
    """Score the encoder on its benchmark.

    Args:
        run: The run.
        engine: Where and in what precision to compute.
        tolerance: Of a score, x100; None for that of the precisions, `TOLERANCE`.
        found: Where to write down what came out.

    Returns:
        The tasks that could be scored, in the benchmark's order.
    """
    record, results = run.record, list[Again]()
    recorded, loose = record.task_scores(), _precision(run, engine)
    allowed, cosine = TOLERANCE[loose] if tolerance is None else tolerance, COSINE_TOLERANCE[loose]

    def keep(score: TaskScore, predictions: list[Prediction]) -> None:
        largest, wrong = compare(run.folder / "predictions" / f"{score.task}.csv", predictions)
        apart = score.score - recorded[score.task]
        say(f"{score.task}: recorded {recorded[score.task]:.4f}, now {score.score:.4f}")
        if not abs(apart) <= allowed:
            wrong = f"recorded {recorded[score.task]:.4f}, now {score.score:.4f}, {apart:+.4f}"
        # The score of a single query jumps where two documents change places; that of a task says how often.
        elif not wrong and largest is not None and predictions[0].gold is not None and largest > cosine:
            wrong = f"the cosine of a pair differs from its prediction by {largest:.2g}"
        results.append(Again(score.task, recorded[score.task], score.score, largest, "DIFFERS" if wrong else "ok"))
        if wrong:
            found.add(PART, score.task, "differs", wrong)

    with found.trying(PART, "scored again"):
        benchmark = run.benchmark
        with _failing(found):
            encoder = run.encoder(engine)
            found.add(PART, "tolerance", "note", f"{allowed:g} of a score x100, {cosine:g} of a cosine")
            if isinstance(encoder, Encoder) and engine.precision != record.engine.get("precision"):
                what = f"recorded in {record.engine.get('precision')}, scored again in {engine.precision}"
                found.add(PART, "precision", "note", what)
            with Progress(f"{record.run}: encoding", 0, "text") as bar:

                def encoded(done: int, texts: int) -> None:
                    if texts != bar.total or done <= bar.done:
                        bar.begin(texts)
                    bar.to(done)

                if isinstance(encoder, Encoder):
                    encoder.on_progress = encoded
                evaluate(encoder, benchmark, on_task=keep)
    right = [each for each in results if each.verdict == "ok"]
    if right:
        what = f"{len(right)} of {len(recorded)} tasks, at most {max(abs(each.difference) for each in right):.1e} apart"
        found.add(PART, "scored again", "ok", what)
    return results


@contextmanager
def _failing(found: Checklist) -> Iterator[None]:
    """Say so where an encoder cannot be loaded or scored: changed files fail in whichever library reads them."""
    try:
        yield
    except Problem:
        raise
    except UnusableVectorsError as error:
        found.add(PART, "scored again", "differs", str(error))
    except Exception as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        found.add(PART, "scored again", "unchecked", f"the encoder fails: {type(error).__name__}: {reason}")


def _precision(run: RecordedRun, engine: Engine) -> str:
    """The looser of the precisions then and now; a finished model's own may be anything on a GPU."""
    cuda = "cuda" in (engine.device, run.record.engine.get("device"))
    if run.record.finished_model and cuda:
        return "bfloat16"
    return "bfloat16" if "bfloat16" in (engine.precision, run.record.engine.get("precision")) else "float32"


def compare(file: Path, predictions: Sequence[Prediction]) -> tuple[float | None, str]:
    """Hold predictions against those of a file.

    Returns:
        The largest difference of a score, None where there is nothing to compare; and what is wrong: other pairs, or
        other gold scores.
    """
    if not predictions or not file.is_file():
        return None, ""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        keys = ("query",) if "query" in rows[0] else ("pair", "gold")
        then = [(row[keys[0]], float(row["gold"]) if "gold" in row else None, float(row["score"])) for row in rows]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        return None, f"{file.name} cannot be read: {error!r}"
    now = [(each.pair, each.gold, each.score) for each in predictions]
    if [each[0] for each in then] != [each[0] for each in now]:
        return None, f"{file.name} is of other {keys[0]}s, or in another order"
    if [each[1] for each in then] != [each[1] for each in now]:
        return None, f"{file.name} has other gold scores than the task"
    return max(abs(one[2] - other[2]) for one, other in zip(then, now, strict=True)), ""


def table(results: Sequence[Again]) -> str:
    """Lay the tasks out: recorded, now, difference, largest difference of a pair, verdict."""
    width = max(len("task"), *(len(each.task) for each in results))
    lines = [f"{'task':<{width}}  recorded       now  difference  largest |cosine| difference  verdict"]
    for each in results:
        largest = "–" if each.largest is None else f"{each.largest:.1e}"
        numbers = f"{each.recorded:>8.4f}  {each.now:>8.4f}  {each.difference:>+10.4f}"
        lines.append(f"{each.task:<{width}}  {numbers}  {largest:>27}  {each.verdict}")
    return "\n".join(lines)
