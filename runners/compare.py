"""``genembench compare``: train each method on the same data from the same backbone, score, and rank."""

from __future__ import annotations

if __name__ == "__main__":
    # As a script, Python put this folder on the path, where a file here could shadow a library: put the checkout there.
    import os
    import sys

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genembench.problem import Problem

if TYPE_CHECKING:
    from runners.prepare import Chosen, Prepared
    from runners.spec import RunSpec
    from runners.tune_results import Outcome
    from runners.tune_runs import Tuning

SUMMARY = "train methods on equal data from one backbone, score them and rank them; without options, on the demo"


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    from runners.options import (
        add_benchmark_options,
        add_engine_options,
        add_finished_options,
        add_run_options,
        fraction,
        seed_list,
        words,
    )
    from runners.tune import add_tune_options

    result = argparse.ArgumentParser(prog="genembench compare", description=SUMMARY, allow_abbrev=False)
    result.add_argument(
        "--methods",
        type=words,
        metavar="NAME,...",
        help="methods, all, or a finished model: sentence-transformers:PATH, llm2vec:MNTP+SUPERVISED (folders or ids)",
    )
    add_finished_options(result)
    add_run_options(result)
    result.add_argument("--seeds", type=seed_list, default=[0], metavar="N[,N...]", help="default: 0")
    add_tune_options(result)
    add_benchmark_options(result)
    result.add_argument(
        "--evaluate-every",
        type=fraction,
        metavar="F",
        help="score each run on its way too, after each fraction F of every stage's examples, such as 0.25",
    )
    add_engine_options(result)
    result.add_argument("--output", type=Path, metavar="DIR", help="folder for records, tables and plots")
    result.add_argument("--config", metavar="FILE", help="TOML, YAML or JSON file of these options")
    result.add_argument("--dry-run", action="store_true", help="show the plan and its cost; write nothing")
    return result


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code: 0 all runs done, 1 some run failed, 130 interrupted.

    Raises:
        Problem: something the user has to mend; nothing was written.
    """
    from runners.demo import fill_in
    from runners.options import parse

    options = parse(parser(), arguments)
    fill_in(options)
    if options.tune_budget and not options.tune:
        raise Problem(
            f"--tune-budget {options.tune_budget} was given without --tune",
            "Say what to tune, such as --tune lr=1e-4,3e-4,1e-3, or leave it out.",
        )
    if not options.methods:
        raise Problem("no --methods were given", "List them with `genembench methods`.")
    if options.output is None and not options.dry_run:
        raise Problem("no --output was given", "Name a folder for records, tables and plots.")
    from runners.processes import among_copies

    return among_copies(lambda: compare(options))


def compare(options: argparse.Namespace) -> int:
    """Plan and execute a comparison."""
    from runners.output import Output, write_json
    from runners.processes import start_server

    output = Output(options.output or Path(), "compare")
    if not options.dry_run:
        output.check()
        start_server()
    # After the server has started: both sides import for seconds, at the same time.
    from runners.options import resolved
    from runners.prepare import choose_benchmark, make_engine, prepare
    from runners.progress import say
    from runners.tune_results import facts
    from runners.tune_runs import marked, plan_tuning
    from runners.tune_weights import drop_losing_weights

    engine = make_engine(options)
    benchmark = choose_benchmark(options)
    prepared = prepare(options, options.methods, benchmark=benchmark, engine=engine, output=output.folder)
    # Tuned or not: what this plan refuses is refused before the first trial.
    plan, chosen = prepared.plan(prepared.chosen), prepared.chosen
    tuning = plan_tuning(options, prepared) if options.tune else None
    _warn(options, prepared, tuning)
    if options.dry_run:
        _describe(plan, prepared, tuning)
        return 0
    with output.claim():
        write_json(output.folder / "config.json", resolved(options))
        tuned: dict[str, dict[str, Any]] = {}
        if tuning is not None:
            try:
                found = _trials(tuning, output.folder)
            except KeyboardInterrupt:
                return 130
            chosen, tuned = _chosen(found, chosen), {each.method: facts(each, tuning) for each in found}
            write_json(output.folder / "config.json", {**resolved(options), "tuned": tuned})
            plan = prepared.plan(chosen)
            dropped = drop_losing_weights(found, plan, output.folder)
            if dropped:
                say(f"deleted the weights of {dropped} stage{'s' * (dropped > 1)} that only losing trials stood on")
        plan = [marked(spec, tuned.get(spec.method.name) if spec.method else None) for spec in plan]
        try:
            statuses = _execute(plan)
        except KeyboardInterrupt:
            _finish(plan, output.folder)
            return 130
        _finish(plan, output.folder)
    left_out = len(chosen) < len(prepared.chosen)
    return 0 if all(status == "done" for status in statuses) and not left_out else 1


def _warn(options: argparse.Namespace, prepared: Prepared, tuning: Tuning | None) -> None:
    """Say where ``--tune`` takes away what ``--evaluate-every`` asks for."""
    from runners.progress import say

    if options.evaluate_every and tuning and any(tuning.budget.caps == budget.caps for budget in prepared.budgets):
        say(
            f"warning: trials of --tune take no snapshots, and with --tune-budget {tuning.budget.label} they train the "
            "very stages that runs of the comparison stand on: those have no course. Any other --tune-budget has them "
            "trained anew."
        )


def _describe(plan: Sequence[RunSpec], prepared: Prepared, tuning: Tuning | None) -> None:
    """Print the plan; of a comparison that is tuned first, the plan of the trials."""
    from runners import course
    from runners.plan import describe
    from runners.prepare import estimate

    runs, chosen = (plan, prepared.chosen) if tuning is None else (tuning.runs, [t.chosen for t in tuning.trials])
    print(describe(runs, estimate(runs, prepared.planner.backbone, chosen)))
    if prepared.evaluate_every is not None:
        print(course.describe(plan, [(choice, method) for choice, _, method in prepared.chosen]))
    if tuning is not None:
        print(f"These are the trials of --tune, scored on {tuning.rows} held-out triplets. The plan of the comparison,")
        print(f"{len(plan)} runs, follows from what they choose.")


def _trials(tuning: Tuning, output: Path) -> list[Outcome]:
    """Run the trials; return what came of them, method by method."""
    from runners.tune_results import outcomes, table, write_table
    from runners.tune_runs import settled

    if "interrupted" in _execute(tuning.runs, settled):
        raise KeyboardInterrupt
    found = outcomes(tuning)
    write_table(found, tuning, output / "tuning.csv")
    print("\n\n".join(table(outcome, tuning) for outcome in found), end="\n\n", flush=True)
    return found


def _chosen(found: Sequence[Outcome], chosen: Sequence[Chosen]) -> list[Chosen]:
    """Return the methods with the values that won, without those of which no trial is done."""
    best = {outcome.method: outcome.best_trial for outcome in found}
    kept = []
    for each in chosen:
        trial = best.get(each[0].name)
        if trial is not None:
            kept.append(trial.chosen)
        elif each[0].name not in best:
            kept.append(each)
    return kept


def _execute(plan: Sequence[RunSpec], settled: Callable[[RunSpec], bool] | None = None) -> list[str]:
    """Run what is not done, or not ``settled``, one process after the other; return how each ended."""
    from runners.course import score_course
    from runners.plan import is_done
    from runners.processes import run_in_process
    from runners.progress import say
    from runners.records import read_status

    statuses = []
    for number, spec in enumerate(plan, 1):
        if (settled or is_done)(spec):
            statuses.append(read_status(spec.folder) or "failed")
            say(f"[{number}/{len(plan)}] {spec.label}: {statuses[-1]} already")
        else:
            say(f"[{number}/{len(plan)}] {spec.label}")
            statuses.append(run_in_process(spec))
            if statuses[-1] != "done":
                say(f"[{number}/{len(plan)}] {spec.label}: {statuses[-1]}; see {spec.folder / 'log.txt'}")
        if statuses[-1] == "done" and not score_course(spec):
            statuses[-1] = "done, its course is not"
    return statuses


def _finish(plan: Sequence[RunSpec], output: Path) -> None:
    """Build the leaderboard of this plan's runs and say what came out."""
    from leaderboard.build import build
    from leaderboard.command import show
    from leaderboard.records import read_records
    from runners.progress import say

    records = read_records(spec.folder for spec in plan if (spec.folder / "run.json").is_file())
    if records:
        show(records, build(records, output, say=say), len(plan), output)


if __name__ == "__main__":
    from genembench.__main__ import run_command

    raise SystemExit(run_command(main, sys.argv[1:]))
