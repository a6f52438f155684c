"""``genembench verify``: whether a recorded run says what its files say, and scores what it says it scores."""

from __future__ import annotations

if __name__ == "__main__":
    # See compare.py: this folder must not stand first on Python's path.
    import os
    import sys

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from genembench.problem import Problem

if TYPE_CHECKING:
    from runners.checklist import Checklist
    from runners.engine import Engine
    from runners.recorded import RecordedRun
    from runners.verify_retrain import Retrained
    from runners.verify_scores import Again

SUMMARY = "check a run's record against its files, score its encoder again, and with --retrain train it again"


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    from benchmarks.kinds import KINDS
    from runners.options import add_engine_options, add_finished_options

    result = argparse.ArgumentParser(
        prog="genembench verify",
        description=f"{SUMMARY[0].upper()}{SUMMARY[1:]}. The exit code is 0 where everything that could be checked is "
        "as recorded, 1 where something differs, 2 where nothing can be said. What could not be checked is listed.",
        allow_abbrev=False,
    )
    result.add_argument("run", type=Path, metavar="RUN", help="a run's folder, runs/<id>")
    result.add_argument(
        "--tolerance", type=points, metavar="X", help="of a score x100 (0.01; 0.2 where bfloat16 takes part)"
    )
    result.add_argument("--retrain", action="store_true", help="repeat the training too, by the recorded configuration")
    result.add_argument(
        "--retrain-tolerance",
        type=points,
        metavar="X",
        help="of a retrained score x100 (four decimals on the same machine with the same packages, else 0.5)",
    )
    result.add_argument("--output", type=Path, metavar="DIR", help="keep the repetition here; a new folder")
    moved = result.add_argument_group("where things are now, if they were moved")
    moved.add_argument("--data-dir", metavar="DIR", help="the test pairs")
    moved.add_argument("--benchmark", metavar="FILE", help="the benchmark's file")
    moved.add_argument("--backbone", metavar="PATH", help="the backbone")
    moved.add_argument("--method-file", action="append", default=[], metavar="FILE.py", help="the method's file")
    for kind in KINDS.values():
        moved.add_argument(kind.flag, metavar="FILE", help=f"the training {kind.noun}")
    result.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    add_finished_options(result)
    add_engine_options(result, training=False)
    return result


def points(text: str) -> float:
    """Read a difference of scores, 0 or more."""
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code: 0 as recorded, 1 something differs.

    Raises:
        Problem: there is nothing that can be verified.
    """
    options = parser().parse_args(arguments)
    if options.output is not None and not options.retrain:
        raise Problem("--output was given without --retrain", "It is where the repetition is kept.")

    from runners.checklist import Checklist
    from runners.recorded import MOVABLE, open_runs
    from runners.verify_retrain import refuse_place

    moved, trusted = {name: getattr(options, name) for name in MOVABLE}, options.trust_remote_code
    runs = open_runs([options.run], moved, options.method_file, trust_remote_code=trusted)
    if len(runs) != 1:
        raise Problem(f"{options.run} holds {len(runs)} runs", "Give the folder of one: runs/<id>.")
    run, found = runs[0], Checklist()
    if not run.record.done:
        raise Problem(
            f"run {run.record.run} is {run.record.status} ({run.record.reason}): there are no scores to verify",
            "The command that started it, given again, goes on with it.",
        )
    if options.output is not None:
        refuse_place(run, options.output)
    scored, retrained = verify(run, options, found)
    if options.json:
        facts: dict[str, Any] = {"run": run.record.run, "verdict": found.verdict, "unchecked": found.count("unchecked")}
        facts["checks"] = found.to_json()
        facts["tasks"] = [asdict(each) | {"difference": each.difference} for each in scored]
        print(json.dumps(facts | {"retrained": [asdict(each) for each in retrained]}, indent=2, ensure_ascii=False))
    else:
        _show(run, found, scored, retrained)
    if found.verdict == "nothing checked":
        raise Problem(f"nothing of run {run.record.run} could be checked", "See the list for what is missing.")
    return 1 if found.verdict == "differs" else 0


def verify(run: RecordedRun, options: argparse.Namespace, found: Checklist) -> tuple[list[Again], list[Retrained]]:
    """Make every check, into ``found``; return the tasks scored again, and those trained again."""
    from runners.progress import say
    from runners.verify_contents import check_contents, check_environment
    from runners.verify_record import check_record
    from runners.verify_scores import score_again
    from runners.worker import silence

    silence()
    say(f"{run.record.run}: the record, and the hashes of what it names")
    check_record(run.record, found)
    engine = run.engine(options.device, options.precision)
    differences = check_environment(run.record, engine.device, found)
    check_contents(run, found)
    say(f"{run.record.run}: scoring the encoder again")
    scored = score_again(run, engine, options.tolerance, found)
    retrained = _retrain(run, engine, options, differences, found) if options.retrain else []
    return scored, retrained


def _retrain(
    run: RecordedRun, engine: Engine, options: argparse.Namespace, differences: Sequence[str], found: Checklist
) -> list[Retrained]:
    from runners.verify_retrain import PART, compare, retrain

    if run.record.finished_model:
        found.add(PART, "retrain", "unchecked", "a finished model was trained elsewhere")
        return []
    with found.trying(PART, "retrain"), _place(options.output) as output:
        again = retrain(run, engine, output)
        if again.done:
            return compare(run, again, differences, options.retrain_tolerance, found)
        ended = f"the repetition ended {again.status}: {again.reason}"
        found.add(PART, "retrain", "differs" if again.status == "diverged" else "unchecked", ended)
    return []


@contextmanager
def _place(output: Path | None) -> Iterator[Path]:
    if output is not None:
        yield output
        return
    with TemporaryDirectory(prefix="genembench-verify-") as folder:
        yield Path(folder)


def _show(run: RecordedRun, found: Checklist, scored: list[Again], retrained: list[Retrained]) -> None:
    from runners import verify_retrain, verify_scores

    print(f"{run.record.run}\n")
    print("\n".join(found.lines()))
    if scored:
        print(f"\n{verify_scores.table(scored)}")
    if retrained:
        print(f"\n{verify_retrain.table(retrained)}")
    far = " as far as it could be checked" if found.verdict == "ok" and found.count("unchecked") else ""
    print(f"\n{found.verdict}{far}: {found.summary()}")


if __name__ == "__main__":
    from genembench.__main__ import run_command

    raise SystemExit(run_command(main, sys.argv[1:]))
