"""The trials of ``--tune`` as runs: planned like every other, measured on triplets that no training sees."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.budget import Budget
from benchmarks.held_out import held_out_benchmark, held_out_triplets
from benchmarks.kinds import KINDS, texts_of
from benchmarks.training_data import with_seed
from genembench.problem import Problem
from runners.prepare import Prepared
from runners.records import read_status
from runners.spec import RunSpec
from runners.tune import Axis, Trial, tune_budget

FEWEST = 50
"""Held-out rows below which a difference between trials is mostly chance."""


@dataclass(frozen=True)
class Tuning:
    """Trials and the runs that they are, in one order."""

    trials: tuple[Trial, ...]
    runs: tuple[RunSpec, ...]
    axes: Mapping[str, Sequence[Axis]]
    budget: Budget
    seed: int
    rows: int


def plan_tuning(options: argparse.Namespace, prepared: Prepared) -> Tuning:
    """Plan the trials: the comparison's planner, on triplets that no training of the comparison sees.

    Raises:
        Problem: too few triplets are left, or several budgets for the trials.
    """
    trials, planner, seed = prepared.trials, prepared.planner, prepared.seeds[0]
    needed = {kind for trial in trials for kind in trial.chosen[2].needs}
    budget = tune_budget(options.tune_budget, prepared.budgets, needed)
    largest = {kind: max(each.cap(kind) for each in (budget, *prepared.budgets)) for kind in KINDS}
    data = {kind: with_seed(each, seed) for kind, each in planner.data.items()}
    needed -= {"triplets"}
    also = (text for kind in needed for row in data[kind].rows[: largest[kind]] for text in texts_of(kind, row))
    triplets, most = data["triplets"], largest["triplets"]
    rows = held_out_triplets(triplets, most, also=also)
    if len(rows) < FEWEST:
        raise Problem(
            f"--tune chooses on at least {FEWEST} held-out triplets, and {len(rows)} are left: the largest budget "
            f"takes {most:,} of the {len(triplets):,} usable rows of {triplets.path} and leaves "
            f"{max(0, len(triplets) - most):,}; rows whose query or positive is trained on do not count",
            "Give a larger file with --triplets, or smaller budgets.",
        )
    planner = replace(planner, benchmark=held_out_benchmark(rows))
    runs = planner.runs([trial.chosen for trial in trials], [], [budget], [seed])
    runs = [
        replace(marked(run, None), label=f"{run.label} trial {trial.number} {trial.label}")
        for run, trial in zip(runs, trials, strict=True)
    ]
    return Tuning(tuple(trials), tuple(runs), prepared.axes, budget, seed, len(rows))


def settled(spec: RunSpec) -> bool:
    """Whether a trial need not be run again: also where it diverged, which it would do again."""
    return read_status(spec.folder) in ("done", "diverged")


def marked(spec: RunSpec, tuned: Mapping[str, Any] | None) -> RunSpec:
    """Return the run with what its record says of tuning, as the configuration of this run alone: tuned already."""
    own: dict[str, Any] = {"tune": [], "tune_budget": None, "tuned": None if tuned is None else dict(tuned)}
    return replace(spec, configuration={**spec.configuration, **own})
