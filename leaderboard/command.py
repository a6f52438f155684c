"""``genembench leaderboard``: rebuild everything people look at from records, or pack records to publish them."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genembench.problem import Problem

if TYPE_CHECKING:
    from leaderboard.build import Built
    from leaderboard.records import Record

LOG_WIDTH = 120
SUMMARY = "rebuild tables and figures from records, or pack records to publish them"


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(prog="genembench leaderboard", description=SUMMARY, allow_abbrev=False)
    actions = result.add_subparsers(dest="action", metavar="build|pack", required=True)
    runs = "an output folder, its runs folder, or one run's folder; several are merged by run id"

    build = actions.add_parser("build", allow_abbrev=False, description="Build tables, CSV files and figures.")
    build.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help=runs)
    build.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for what is built")
    build.add_argument(
        "--mixed", action="store_true", help="take records that are not comparable too: marked, in no rank and no test"
    )
    build.add_argument(
        "--published",
        choices=["matching", "all", "none"],
        default="matching",
        help="published scores below ours: of the methods compared (default), all, or none",
    )
    build.add_argument(
        "--ablation",
        action="append",
        default=[],
        metavar="FULL=VARIANT,...",
        help="an ablation table of these methods (default: by the methods' names)",
    )
    build.add_argument("--resamples", type=_resamples, default=10_000, metavar="N", help="of each task (10000)")

    pack = actions.add_parser(
        "pack", allow_abbrev=False, description="Copy records without paths, weights and the test sets' gold scores."
    )
    pack.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help=runs)
    pack.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the packed records")
    pack.add_argument(
        "--predictions",
        action="store_true",
        help="with the predictions, gold scores included: where the tasks' licences allow it",
    )
    pack.add_argument("--resamples", type=_resamples, default=10_000, metavar="N", help="kept of each task (10000)")
    return result


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code.

    Raises:
        Problem: something the user has to mend.
    """
    options = parser().parse_args(arguments)
    from leaderboard.records import merge_records

    records, notes = merge_records(options.runs)
    for note in notes:
        _say(note)
    if not records:
        raise Problem(
            f"there are no records in {', '.join(map(str, options.runs))}", "Run `genembench compare` into it first."
        )
    if options.action == "pack":
        from leaderboard.pack import pack

        written = pack(records, options.output, predictions=options.predictions, resamples=options.resamples)
        print(f"{len(written)} records packed into {options.output}")
        return 0
    from leaderboard.build import build

    built = build(
        records,
        options.output,
        mixed=options.mixed,
        published=options.published,
        ablations=_ablations(options.ablation),
        resamples=options.resamples,
        say=_say,
    )
    show(records, built, len(records), options.output)
    return 0


def show(records: Sequence[Record], built: Built, planned: int, output: Path) -> None:
    """Print the short table, how many of the planned runs are done, and where the files are."""
    from leaderboard.terminal import text_table

    on_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if on_terminal else LOG_WIDTH
    print(text_table(records, width, statistics=built.statistics, marks=built.marks, colour=on_terminal))
    print()
    print(f"{sum(record.done for record in records)} of {planned} runs done. Written to {output}:")
    print("  " + "  ".join(sorted(path.name for path in built.written)))


def _say(line: str) -> None:
    """Tell what happens; not on the standard output, which is the table's."""
    print(line, file=sys.stderr, flush=True)


def _resamples(text: str) -> int:
    """Read a number of resamples: fewer than 200 have no 2.5 % tail to speak of."""
    number = int(text)
    if not 200 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError("a number from 200 to 1000000")
    return number


def _ablations(given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read ``--ablation FULL=VARIANT,...``."""
    chosen: dict[str, tuple[str, ...]] = {}
    for text in given:
        full, _, variants = text.partition("=")
        names = tuple(name.strip() for name in variants.split(",") if name.strip())
        if not full.strip() or not names:
            raise Problem(
                f"--ablation {text} names no {'variants' if full.strip() else 'full method'}",
                "Write it as FULL=VARIANT,VARIANT: autoregembed=autoregembed-kl,autoregembed-compress-only.",
            )
        chosen[full.strip()] = names
    return chosen
