"""``genembench train``: train one method, without scoring it, and leave its encoder."""

from __future__ import annotations

if __name__ == "__main__":
    # See compare.py: this folder must not stand first on Python's path.
    import os
    import sys

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

import argparse
from collections.abc import Sequence
from pathlib import Path

from genembench.problem import Problem

SUMMARY = "train one method and leave its encoder"


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    from runners.options import add_benchmark_options, add_engine_options, add_run_options

    result = argparse.ArgumentParser(prog="genembench train", description=SUMMARY, allow_abbrev=False)
    result.add_argument("--method", metavar="NAME", help="the method to train")
    add_run_options(result)
    result.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    add_benchmark_options(result)
    add_engine_options(result)
    result.add_argument("--output", type=Path, metavar="DIR", help="folder for the encoder and its record")
    result.add_argument("--config", metavar="FILE", help="TOML, YAML or JSON file of these options")
    return result


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code: 0 trained, 1 failed, 130 interrupted.

    Raises:
        Problem: something the user has to mend; nothing was written.
    """
    from runners.demo import fill_in
    from runners.options import parse

    options = parse(parser(), arguments)
    if not options.method:
        raise Problem("no --method was given", "List them with `genembench methods`.")
    fill_in(options, budget="4000", output=None)
    if options.output is None:
        raise Problem("no --output was given", "Name a folder for the encoder.")

    from runners.processes import among_copies

    return among_copies(lambda: train(options))


def train(options: argparse.Namespace) -> int:
    """Plan and execute a training."""
    from runners.output import Output, write_json
    from runners.processes import run_in_process, start_server

    output = Output(options.output, "train")
    output.check()
    start_server()
    # After the server has started, see compare.py.
    from dataclasses import replace

    from runners.options import resolved
    from runners.prepare import choose_benchmark, make_engine, make_plan

    engine = make_engine(options)
    # Here the benchmark serves only to keep its sentences out of the training data.
    benchmark = choose_benchmark(options) if options.benchmark or options.data_dir else None
    plan, _, _ = make_plan(options, [options.method], benchmark=benchmark, engine=engine, output=output.folder)
    if len(plan) != 1:
        raise Problem(f"--budget {options.budget} asks for {len(plan)} trainings", "Give one budget.")
    spec = replace(plan[0], benchmark=None)
    with output.claim():
        write_json(output.folder / "config.json", resolved(options))
        try:
            status = run_in_process(spec)
        except KeyboardInterrupt:
            return 130
    if status != "done":
        print(f"{status}; see {spec.folder / 'log.txt'}")
        return 1
    print(f"encoder: {spec.folder / 'encoder'}")
    return 0


if __name__ == "__main__":
    from genembench.__main__ import run_command

    raise SystemExit(run_command(main, sys.argv[1:]))
