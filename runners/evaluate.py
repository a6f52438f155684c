"""``genembench evaluate``: score one encoder, ours or a finished model of others."""

from __future__ import annotations

if __name__ == "__main__":
    # See compare.py: this folder must not stand first on Python's path.
    import os
    import sys

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

import argparse
import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from genembench.problem import Problem

if TYPE_CHECKING:
    from benchmarks.averages import Average
    from benchmarks.evaluate import Prediction, TaskScore
    from benchmarks.protocol import TextEncoder
    from benchmarks.suite import Benchmark
    from runners.engine import Engine

SUMMARY = "score one encoder on the STS tasks, or on any MTEB tasks"


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    from runners.options import add_benchmark_options, add_engine_options

    result = argparse.ArgumentParser(prog="genembench evaluate", description=SUMMARY, allow_abbrev=False)
    result.add_argument(
        "--encoder",
        metavar="DIR|sentence-transformers:PATH|llm2vec:PATH+PATH|tfidf",
        help="a run's folder or its encoder, a finished model (LLM2Vec's as published), or a bag of words",
    )
    add_benchmark_options(result)
    add_engine_options(result, training=False)
    result.add_argument("--output", type=Path, metavar="DIR", help="folder for scores.csv and the predictions")
    result.add_argument("--config", metavar="FILE", help="TOML, YAML or JSON file of these options")
    return result


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code.

    Raises:
        Problem: something the user has to mend.
    """
    from runners.options import parse

    options = parse(parser(), arguments)
    if not options.encoder:
        raise Problem(
            "no --encoder was given", "Give a run's folder, sentence-transformers:PATH, llm2vec:PATH+PATH, or tfidf."
        )
    if options.output is None:
        raise Problem("no --output was given", "Name a folder for scores.csv and the predictions.")

    from benchmarks.evaluate import evaluate
    from benchmarks.protocol import UnusableVectorsError
    from runners.addresses import evaluation_address
    from runners.output import Output, write_json
    from runners.prepare import choose_benchmark, make_engine
    from runners.progress import say
    from runners.records import TaskResults, now
    from runners.worker import silence

    output = Output(options.output, "evaluate")
    output.check()
    engine = make_engine(options)
    benchmark = choose_benchmark(options)
    silence()
    encoder = _load(options.encoder, benchmark, engine)
    with output.claim():
        address = evaluation_address(encoder.address, benchmark.address, encoder.precision)
        stored = TaskResults(output.folder, address)

        def keep(score: TaskScore, predictions: list[Prediction]) -> None:
            stored.add(score, predictions, {"seconds": score.seconds})
            say(f"{score.task} {score.score:.2f} ({score.pairs:,} pairs, {score.seconds:.1f} s)")

        try:
            evaluate(encoder, benchmark, on_task=keep, skip=list(stored.done()))
        except UnusableVectorsError as error:
            raise Problem(str(error), "The encoder cannot be scored: train it again or choose another.") from error
        scores = {task: score for task, (score, _) in stored.done().items() if task in benchmark.tasks}
        found = benchmark.average({task: score.score for task, score in scores.items()})
        _write(output.folder / "scores.csv", benchmark.tasks, scores, found)
        facts = {"encoder": options.encoder, "evaluation_address": address, "benchmark": benchmark.address}
        write_json(output.folder / "evaluation.json", facts | {"precision": encoder.precision, "finished": now()})
    for average in found:
        print(f"{average.name} {average.score:.2f}")
    print(f"scores: {output.folder / 'scores.csv'}")
    return 0


def _load(given: str, benchmark: Benchmark, engine: Engine) -> TextEncoder:
    from benchmarks import lexical
    from runners.finished import finished_model, is_finished

    if given == lexical.NAME:
        return lexical.TfidfEncoder(benchmark.texts())
    if is_finished(given):
        return finished_model(given).load(engine)
    from methods.encoder import load_encoder

    return load_encoder(given, device=engine.device, precision=engine.precision)


def _write(file: Path, tasks: Sequence[str], scores: Mapping[str, TaskScore], found: Sequence[Average]) -> None:
    from runners.output import write_text

    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["task", "score", "pairs"])
    for task in tasks:
        writer.writerow([task, f"{scores[task].score:.4f}", scores[task].pairs])
    for average in found:
        writer.writerow([average.name, f"{average.score:.4f}", sum(scores[task].pairs for task in average.tasks)])
    write_text(file, text.getvalue())


if __name__ == "__main__":
    from genembench.__main__ import run_command

    raise SystemExit(run_command(main, sys.argv[1:]))
