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
    from runners.options import add_benchmark_options, add_engine_options, add_finished_options

    result = argparse.ArgumentParser(prog="genembench evaluate", description=SUMMARY, allow_abbrev=False)
    result.add_argument(
        "--encoder",
        metavar="DIR|sentence-transformers:PATH|llm2vec:PATH+PATH|tfidf",
        help="a run's folder or its encoder, a finished model (LLM2Vec's as published), or a bag of words",
    )
    add_finished_options(result)
    add_benchmark_options(result)
    add_engine_options(result, training=False, processes=True)
    result.add_argument(
        "--sensitivity",
        action="store_true",
        help="also score under other batch sizes, orders and precisions: do the scores move?",
    )
    result.add_argument(
        "--sensitivity-pairs", type=count, default=500, metavar="N", help="of each task (500); 0 for all of them"
    )
    result.add_argument("--sensitivity-bfloat16", action="store_true", help="bfloat16 on a CPU too: very slow")
    result.add_argument("--output", type=Path, metavar="DIR", help="folder for scores.csv and the predictions")
    result.add_argument("--config", metavar="FILE", help="TOML, YAML or JSON file of these options")
    return result


def count(text: str) -> int:
    """Read a whole number, 0 or more; one pair alone has no correlation."""
    number = int(text)
    if number < 0 or number == 1:
        raise argparse.ArgumentTypeError("must be 0 or at least 2")
    return number


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
    from methods.encoder import Encoder
    from runners.addresses import evaluation_address
    from runners.output import Output, write_json
    from runners.parallel.encoding import on_all
    from runners.parallel.helpers import helped
    from runners.prepare import choose_benchmark, make_engine
    from runners.progress import say
    from runners.records import TaskResults, now
    from runners.worker import silence

    output = Output(options.output, "evaluate")
    output.check()
    engine = make_engine(options)
    benchmark = choose_benchmark(options)
    silence()
    encoder = _load(options, benchmark, engine)
    if engine.processes > 1 and not isinstance(encoder, Encoder):
        raise Problem(
            f"--processes {engine.processes}: {options.encoder} is no encoder of ours, and runs on one",
            "Leave --processes out.",
        )
    with output.claim():
        address = evaluation_address(encoder.address, benchmark.address, encoder.precision)
        stored = TaskResults(output.folder, address)

        def keep(score: TaskScore, predictions: list[Prediction]) -> None:
            stored.add(score, predictions, {"seconds": score.seconds})
            say(f"{score.task} {score.score:.2f} ({score.pairs:,} pairs, {score.seconds:.1f} s)")

        try:
            with helped(options.encoder, engine) as group, on_all(encoder, group) as shared:
                evaluate(shared, benchmark, on_task=keep, skip=list(stored.done()))
        except UnusableVectorsError as error:
            raise Problem(str(error), "The encoder cannot be scored: train it again or choose another.") from error
        scores = {task: score for task, (score, _) in stored.done().items() if task in benchmark.tasks}
        found = benchmark.average({task: score.score for task, score in scores.items()})
        _write(output.folder / "scores.csv", benchmark.tasks, scores, found)
        facts = {"encoder": options.encoder, "evaluation_address": address, "benchmark": benchmark.address}
        facts |= {"precision": encoder.precision, "trust_remote_code": options.trust_remote_code, "finished": now()}
        write_json(output.folder / "evaluation.json", facts)
        moved = _sensitivity(options, encoder, benchmark, engine, output.folder) if options.sensitivity else ""
    for average in found:
        print(f"{average.name} {average.score:.2f}")
    print(f"scores: {output.folder / 'scores.csv'}")
    if moved:
        print(f"\n{moved}\nAll of it: {output.folder / 'sensitivity.csv'}")
    return 0


def _sensitivity(
    options: argparse.Namespace, encoder: TextEncoder, benchmark: Benchmark, engine: Engine, folder: Path
) -> str:
    """Measure how far the scores move with how the encoder is run; write it, and return it in words."""
    from dataclasses import replace

    from benchmarks.finished import SentenceTransformerEncoder
    from runners.engine import choose_precision
    from runners.finished import SentenceTransformersModel
    from runners.output import write_text
    from runners.sensitivity import measure, settings_of
    from runners.sensitivity_report import csv_text, report

    def load(*, precision: str | None = None, batch_size: int | None = None) -> TextEncoder:
        if batch_size is not None:
            where = options.encoder.removeprefix(SentenceTransformersModel.prefix)
            trusted = options.trust_remote_code
            return SentenceTransformerEncoder(where, engine.device, batch_size=batch_size, trust_remote_code=trusted)
        chosen = engine.precision if precision is None else choose_precision(precision, engine.device)
        return _load(options, benchmark, replace(engine, precision=chosen))

    on_gpu = engine.device == "cuda"
    settings, left_out = settings_of(encoder, load, cuda=on_gpu, bfloat16=options.sensitivity_bfloat16)
    found, tasks_left_out = measure(settings, benchmark, options.sensitivity_pairs)
    write_text(folder / "sensitivity.csv", csv_text(found))
    return report(found, left_out, tasks_left_out)


def _load(options: argparse.Namespace, benchmark: Benchmark, engine: Engine) -> TextEncoder:
    given = options.encoder
    from benchmarks import lexical
    from runners.finished import finished_model, is_finished

    if given == lexical.NAME:
        return lexical.TfidfEncoder(benchmark.texts())
    if is_finished(given):
        return finished_model(given, trust_remote_code=options.trust_remote_code).load(engine)
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
