"""From options to a plan: everything that can be refused is refused here, before anything is written or trained."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from benchmarks.budget import Budget, parse_budgets
from benchmarks.kinds import KINDS
from benchmarks.overlap import HeldOutSentences
from benchmarks.suite import Benchmark, resolve_benchmark
from benchmarks.training_data import TrainingData, load_training_data
from genembench.problem import Problem
from methods.contract import Method
from methods.registry import MethodEntry, discover, parse_overrides
from runners.backbones import Backbone, resolve_backbone
from runners.engine import Engine, check_cross_entropy, check_processes, choose_device, choose_precision
from runners.finished import FinishedModel, split_methods
from runners.options import FROM_PRESET, mappings, resolved
from runners.plan import Estimate, Planner
from runners.presets import load_preset
from runners.processes import launched
from runners.progress import say
from runners.spec import MethodChoice, RunSpec
from runners.tune import Axis, Trial, make_trials, read_axes

Chosen = tuple[MethodChoice, MethodEntry, Method]


def make_engine(options: argparse.Namespace) -> Engine:
    """Resolve device and precision.

    Raises:
        Problem: a GPU was asked for and there is none, or processes or a kernel that cannot be started.
    """
    device = choose_device(options.device)
    # Options are called as the engine's fields; `evaluate` has only some of them.
    given = {field.name: getattr(options, field.name) for field in fields(Engine) if hasattr(options, field.name)}
    launch = launched()
    if launch is not None and not hasattr(options, "deepspeed"):
        raise Problem(
            f"a launcher started this command {launch.world} times (WORLD_SIZE); only compare and train expect that",
            "Start it once; `genembench evaluate --processes N` uses several GPUs of one machine.",
        )
    if launch is not None:
        # Each copy of this command brings one process, on its own machine.
        given["processes"] = launch.world
    check_processes(1 if launch else given.get("processes", 1), device, given.get("deepspeed"))
    check_cross_entropy(given.get("cross_entropy", "torch"), device)
    return Engine(**given | {"device": device, "precision": choose_precision(options.precision, device)})


ALL = "all"
"""Stands for every registered method."""


def choose_methods(names: Sequence[str], options: argparse.Namespace) -> list[Chosen]:
    """Find and create the methods of a command; a preset file is resolved into ``preset`` and ``set`` of the options.

    Raises:
        Problem: unknown method, preset or hyper-parameter.
    """
    files = tuple(Path(file) for file in options.method_file)
    registry = discover(files)
    for origin, reason in registry.broken:
        say(f"warning: a plug-in could not be loaded: {origin} ({reason})")
    if ALL in names:
        names = [*(name for name in names if name != ALL), *registry.entries]
    entries = [registry.get(name) for name in dict.fromkeys(names)]
    preset = load_preset(options.preset, registry)
    # From here on the options say it in full: what is recorded can be run again without the file.
    made, own = [*preset.settings(entries), *getattr(options, FROM_PRESET, ())], parse_overrides(options.set, entries)
    options.preset, options.set = preset.base, [*made, *options.set]
    overrides = parse_overrides(options.set, entries)
    # So that another preset can take their place where the record is given as --config; what is set stays.
    targets = {f"{name}.{key}" for name, keys in own.items() for key in keys}
    options.from_preset = [setting for setting in made if setting.partition("=")[0] not in targets]
    chosen = []
    for entry in entries:
        name = entry.name
        method = entry.create(options.preset, overrides[name])
        for stage in method.stages():
            _ = stage.recipe  # refuses numbers that cannot be trained with
        choice = MethodChoice(
            name=name, preset=options.preset, overrides=overrides[name], method_files=files, source=entry.source
        )
        chosen.append((choice, entry, method))
    return chosen


def choose_benchmark(options: argparse.Namespace) -> Benchmark:
    """Resolve and check the benchmark.

    Raises:
        Problem: unknown benchmark or task, or data that cannot be had.
    """
    options.benchmark = options.benchmark or "sts"
    benchmark = resolve_benchmark(
        options.benchmark, tasks=options.tasks, skip_tasks=options.skip_tasks, data_dir=options.data_dir
    )
    benchmark.check()
    return benchmark


def load_data(
    options: argparse.Namespace, needed: Iterable[str], benchmark: Benchmark | None
) -> dict[str, TrainingData]:
    """Load the data kinds that some method needs, without what stands in the test sets.

    Raises:
        Problem: a file cannot be used.
    """
    given = {kind: getattr(options, kind) for kind in KINDS if getattr(options, kind)}
    maps = mappings(options.map, list(given))
    wanted = [kind for kind in given if kind in set(needed)]
    check = bool(wanted) and benchmark is not None and not options.keep_overlap
    held_out = HeldOutSentences(benchmark.neighbourhood().texts()) if check and benchmark is not None else None
    loaded = {}
    for kind in wanted:
        data = load_training_data(
            kind,
            given[kind],
            mapping=maps[kind],
            seed=0,
            held_out=held_out,
            one_per_context=not options.keep_contexts,
        )
        dropped = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in data.dropped.items() if count)
        say(f"{kind}: {data.usable:,} of {data.read:,} rows of {data.path} usable; dropped: {dropped or 'none'}")
        loaded[kind] = data
    if wanted and benchmark is None:
        say("warning: no benchmark was given, so training sentences were not checked against test sentences")
    return loaded


@dataclass(frozen=True)
class Prepared:
    """What a command names, found and loaded.

    Attributes:
        chosen: The methods.
        finished: The finished models.
        trials: The settings that ``--tune`` asks for; none without it.
        axes: What the trials were made of, by method.
        planner: Plans runs of it, and the trials, which have no course.
        evaluate_every: Fraction of each stage after which a run of the comparison is scored; None scores its end only.
    """

    chosen: list[Chosen]
    finished: list[FinishedModel]
    budgets: list[Budget]
    seeds: list[int]
    trials: list[Trial]
    axes: dict[str, list[Axis]]
    planner: Planner
    evaluate_every: float | None = None

    def plan(self, chosen: Sequence[Chosen]) -> list[RunSpec]:
        """Plan the runs of these methods, and of the finished models."""
        plan = self.planner.runs(chosen, self.finished, self.budgets, self.seeds)
        every = self.evaluate_every
        if every is None:
            return plan
        return [
            replace(spec, evaluate_every=every, configuration={**spec.configuration, "evaluate_every": every})
            for spec in plan
        ]


def prepare(
    options: argparse.Namespace, names: Sequence[str], *, benchmark: Benchmark | None, engine: Engine, output: Path
) -> Prepared:
    """Resolve everything that a command names, and load its data.

    Raises:
        Problem: whatever the user has to mend.
    """
    methods, finished = split_methods(names, trust_remote_code=getattr(options, "trust_remote_code", False))
    asked, tune = list(options.set), getattr(options, "tune", [])
    chosen = choose_methods(methods, options)
    budgets = parse_budgets([options.budget]) if options.budget else []
    needed = list(dict.fromkeys(kind for _, _, method in chosen for kind in method.needs))
    if needed and not budgets:
        raise Problem("no --budget was given", "Say how much each method may train on, such as --budget 10000.")
    axes: dict[str, list[Axis]] = {}
    if tune:
        axes = read_axes(options, chosen, parse_overrides(asked, [entry for _, entry, _ in chosen]))
        needed.append("triplets")
    trials = make_trials(axes, chosen)
    if chosen and options.backbone is None:
        raise Problem("no --backbone was given", "Name the language model that every method starts from.")
    backbone = resolve_backbone(options.backbone, engine) if chosen else None
    data = load_data(options, needed, benchmark)
    seeds = getattr(options, "seeds", None) or [getattr(options, "seed", 0)]
    every = getattr(options, "evaluate_every", None)
    configuration = {key: value for key, value in resolved(options).items() if key != "evaluate_every"}
    planner = Planner(backbone, data, benchmark, engine, output, configuration)
    return Prepared(chosen, finished, budgets, seeds, trials, axes, planner, every)


def make_plan(
    options: argparse.Namespace, names: Sequence[str], *, benchmark: Benchmark | None, engine: Engine, output: Path
) -> tuple[list[RunSpec], Backbone | None, list[Chosen]]:
    """Resolve everything that a command names and plan its runs.

    Raises:
        Problem: whatever the user has to mend.
    """
    prepared = prepare(options, names, benchmark=benchmark, engine=engine, output=output)
    return prepared.plan(prepared.chosen), prepared.planner.backbone, prepared.chosen


def estimate(plan: Sequence[RunSpec], backbone: Backbone | None, chosen: Sequence[Chosen]) -> dict[str, Estimate]:
    """Estimate the training cost of every stage of the plan, by its training address."""
    if backbone is None:
        return {}
    # Only a plan that is shown needs it, and it imports model classes.
    from runners.estimate import Estimator

    estimator = Estimator(backbone)
    # By setting and not by name alone: the trials of a method differ in nothing else.
    methods = [(choice, method) for choice, _, method in chosen]
    found: dict[str, Estimate] = {}
    for spec in plan:
        if spec.method is not None:
            found |= estimator.of(spec, next(method for choice, method in methods if choice == spec.method))
    return found
