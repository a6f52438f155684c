"""Scoring an encoder: each result is on disk as soon as it exists, and what is there is not scored again."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.evaluate import Prediction, TaskScore, evaluate
from benchmarks.protocol import TextEncoder
from benchmarks.suite import Benchmark
from methods.encoder import Encoder
from methods.parts.ledger import Ledger, charging
from runners import interrupt
from runners.interrupt import Interrupted
from runners.parallel.encoding import SharedEncoder
from runners.progress import Progress, say
from runners.records import TaskResults

Results = dict[str, tuple[TaskScore, dict[str, float]]]
"""Score and evaluation costs (seconds, texts, tokens, model FLOPs) of each task."""


def score_encoder(encoder: TextEncoder, benchmark: Benchmark, stored: TaskResults, label: str) -> Results:
    """Score ``encoder`` on the tasks that ``stored`` lacks, and return the results of all.

    Raises:
        Interrupted: this process was asked to stop; what is scored is stored.
        UnusableVectorsError: the vectors cannot be scored.
    """
    results: Results = stored.done()
    ledger = Ledger()
    last = Ledger()
    with Progress(f"{label}: encoding", 0, "text") as bar, charging(ledger):

        def encoded(done: int, texts: int) -> None:
            if texts != bar.total or done <= bar.done:
                bar.begin(texts)
            bar.to(done)

        def keep(score: TaskScore, predictions: list[Prediction]) -> None:
            nonlocal last
            costs = {
                "seconds": score.seconds,
                "texts": ledger.sequences - last.sequences,
                "tokens": ledger.real_tokens - last.real_tokens,
                "model_flops": ledger.model_flops - last.model_flops,
            }
            last = Ledger(**asdict(ledger))
            stored.add(score, predictions, costs)
            results[score.task] = score, costs
            say(f"{label}: {score.task} {score.score:.2f} ({score.pairs:,} pairs, {score.seconds:.1f} s)")
            if interrupt.asked():
                raise Interrupted("stopped on request; run the same command again to go on")

        if isinstance(encoder, Encoder | SharedEncoder):
            encoder.on_progress = encoded
        evaluate(encoder, benchmark, on_task=keep, skip=list(results))
    return results
