"""``genembench bench``: how fast training and encoding are, beside a plain implementation and sentence-transformers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.kinds import KINDS
from runners.options import add_benchmark_options, add_engine_options, positive

SUMMARY = "measure speed and memory beside sentence-transformers and a plain implementation"
WHAT = {
    "training": "optimizer steps a second; model FLOP/s beside matrix products of the same minute",
    "encoding": "a whole evaluation: ours, and mteb with sentence-transformers",
    "memory": "peak memory of one optimizer step, with and without gradient cache",
    "scaling": "how seconds, memory and FLOPs grow with batch, length, width and examples",
}
DEMO = "demo"


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(
        prog="genembench bench",
        description=f"{SUMMARY[0].upper()}{SUMMARY[1:]}. Sides take turns, in another order each time, in one "
        "process (memory and scaling: a process for each measurement). Sides whose numbers differ are not timed.",
        allow_abbrev=False,
    )
    commands = result.add_subparsers(dest="what", required=True, metavar="training|encoding|memory|scaling")
    for name, help_ in WHAT.items():
        one = commands.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.", allow_abbrev=False)
        _add_options(one, name)
    return result


def _add_options(one: argparse.ArgumentParser, name: str) -> None:
    if name != "scaling":
        one.add_argument(
            "--backbone",
            metavar="PATH|ID|random:SIZE",
            default=DEMO,
            help="a local folder, a hub id, demo, or a Llama with random weights: random:5m, 25m, 100m, 1b, or "
            "random:WIDTHxLAYERS (default: demo)",
        )
    if name == "encoding":
        one.add_argument("--method", metavar="NAME", default="untrained-mean", help="default: %(default)s")
        add_benchmark_options(one)
    elif name == "memory":
        one.add_argument("--method", metavar="NAME", default="infonce-inbatch-mean", help="default: %(default)s")
        one.add_argument("--large-batch", type=positive, default=1024, metavar="N", help="with the cache (1024)")
    else:
        one.add_argument(
            "--method", metavar="NAME[:STAGE]", default="infonce-inbatch-mean", help="stage: the last (%(default)s)"
        )
    if name in ("training", "memory"):
        for kind in KINDS.values():
            one.add_argument(kind.flag, metavar="FILE", default=DEMO, help="training data (the demo's)")
        one.add_argument("--batch", type=positive, default=32, metavar="N", help="examples in a step (32)")
        one.add_argument(
            "--micro-batch",
            type=positive,
            default=32 if name == "memory" else None,
            metavar="N",
            help="examples in one pass; in-batch losses cache gradients (%(default)s)",
        )
    if name == "training":
        one.add_argument("--examples", type=positive, default=256, metavar="N", help="timed, each turn (256)")
        one.add_argument("--gradient-checkpointing", action="store_true", help="recompute activations, on every side")
    one.add_argument(
        "--repetitions",
        type=positive,
        default={"training": 5, "encoding": 3, "memory": 2, "scaling": 2}[name],
        metavar="R",
        help="turns of each side (%(default)s)",
    )
    if name != "scaling":
        one.add_argument("--method-file", action="append", default=[], metavar="FILE.py", help="load methods from it")
    add_engine_options(one, training=False)
    one.add_argument(
        "--output", type=Path, default=Path(f"results/bench-{name}"), metavar="DIR", help="default: %(default)s"
    )


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code: 0, or 1 where sides did not agree.

    Raises:
        Problem: something the user has to mend.
    """
    options = parser().parse_args(arguments)
    found: int = import_module(f"runners.bench.{options.what}").run(options)
    return found


if __name__ == "__main__":
    from genembench.__main__ import run_command

    raise SystemExit(run_command(main, sys.argv[1:]))
