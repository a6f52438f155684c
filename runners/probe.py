"""``genembench probe``: measure what using the encoders of recorded runs costs, all with the same texts."""

from __future__ import annotations

if __name__ == "__main__":
    # See compare.py: this folder must not stand first on Python's path.
    import os
    import sys

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genembench.problem import Problem

if TYPE_CHECKING:
    from leaderboard.inference import Inference
    from runners.recorded import RecordedRun

SUMMARY = "time the encoders of recorded runs, and write inference.json beside each record"


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    from runners.options import add_engine_options, add_finished_options

    result = argparse.ArgumentParser(
        prog="genembench probe",
        description=f"{SUMMARY[0].upper()}{SUMMARY[1:]}. Each encoder is timed alone, with the same texts of its "
        "benchmark. Other work on the machine shows as passes that differ.",
        allow_abbrev=False,
    )
    result.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, or an output folder")
    result.add_argument("--data-dir", metavar="DIR", help="where the test pairs are now, if they were moved")
    result.add_argument("--backbone", metavar="PATH", help="where the backbone is now, if it was moved")
    add_finished_options(result)
    add_engine_options(result, training=False)
    return result


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code: 0 all measured, 1 some could not be.

    Raises:
        Problem: there are no records, or none of their encoders could be measured.
    """
    options = parser().parse_args(arguments)

    from runners.probing import write
    from runners.progress import say
    from runners.recorded import open_runs
    from runners.worker import silence

    silence()
    moved = {"data_dir": options.data_dir, "backbone": options.backbone}
    runs = open_runs(options.runs, moved, [], trust_remote_code=options.trust_remote_code)
    refused: list[Problem] = []
    for number, run in enumerate(runs, 1):
        try:
            found = measure_again(run, options.device, options.precision)
        except Problem as problem:
            refused.append(problem)
            say(f"[{number}/{len(runs)}] {run.record.run}: not measured: {problem}")
            continue
        write(found, run.folder)
        print(f"[{number}/{len(runs)}] {run.record.run}: {describe(found)}", flush=True)
    if runs and len(refused) == len(runs):
        raise refused[0]
    return 1 if refused else 0


def measure_again(run: RecordedRun, device: str, precision: str) -> Inference:
    """Load a run's encoder and probe it.

    Raises:
        Problem: it is not to be had, or is not what was scored; so is its benchmark.
    """
    from runners.addresses import evaluation_address
    from runners.probing import measure

    record = run.record
    if not record.done:
        raise Problem(f"run {record.run} is {record.status}", "Only a run that is done has an encoder to measure.")
    engine = run.engine(device, precision)
    recorded = record.engine.get("precision")
    if not record.finished_model and engine.precision != recorded:
        raise Problem(
            f"run {record.run} was scored in {recorded}, and would be measured in {engine.precision}",
            f"Say --precision {recorded}, on a machine that is fast in it.",
        )
    benchmark = run.benchmark
    if benchmark.address != record.benchmark.address:
        raise Problem(
            f"the data of benchmark {benchmark.name} are not those that run {record.run} was scored on",
            "Say where those are with --data-dir.",
        )
    if not record.finished_model and run.entry.source != record.method.source:
        raise Problem(
            f"run {record.run}: the method's file ({run.entry.origin}) was changed since it was scored",
            "What it encodes now may cost something else: compare again, or probe with the version that scored it.",
        )
    encoder = run.encoder(engine)
    address = evaluation_address(encoder.address, benchmark.address, encoder.precision)
    if address != record.evaluation_address:
        raise Problem(
            f"the encoder at hand is not the one that run {record.run} was scored with",
            "`genembench verify` says what was changed.",
        )
    return measure(encoder, benchmark, address, engine)


def describe(found: Inference) -> str:
    """Return a measurement in one line, every pass in it."""
    passes = ", ".join(f"{each:.2f}" for each in found.passes)
    tokens = "" if found.tokens_per_text is None else f", {found.tokens_per_text:.1f} tokens a text"
    alone = " (one pass, and what warming up takes is in it)" if len(found.passes) == 1 else ""
    return (
        f"{found.sentences_per_second:,.1f} texts a second, {found.dimensions} dimensions{tokens}; "
        f"passes of {found.texts} texts: {passes} s{alone}"
    )


if __name__ == "__main__":
    from genembench.__main__ import run_command

    raise SystemExit(run_command(main, sys.argv[1:]))
