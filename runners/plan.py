"""The plan of a comparison: which runs, which stages they share, what is done already and what the rest will cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.budget import Budget
from benchmarks.held_out import held_out_triplets
from benchmarks.suite import Benchmark
from benchmarks.training_data import TrainingData, with_seed
from genembench.problem import Problem
from methods.contract import Example, Method
from methods.registry import MethodEntry, stage_source
from runners.addresses import evaluation_address, preparation_address, run_address, training_address
from runners.backbones import Backbone
from runners.engine import Engine
from runners.finished import FinishedModel
from runners.options import FROM_PRESET
from runners.outcomes import StageData
from runners.records import read_status
from runners.spec import MethodChoice, RunSpec

WATCHED = 128
"""Triplets beyond the largest budget on which training is watched, where there are as many."""


@dataclass(frozen=True)
class Planner:
    """What all runs of a comparison have in common."""

    backbone: Backbone | None
    data: Mapping[str, TrainingData]
    benchmark: Benchmark | None
    engine: Engine
    output: Path
    configuration: Mapping[str, Any] = field(repr=False)

    def runs(
        self,
        methods: Sequence[tuple[MethodChoice, MethodEntry, Method]],
        finished: Sequence[FinishedModel],
        budgets: Sequence[Budget],
        seeds: Sequence[int],
    ) -> list[RunSpec]:
        """Plan every (method, budget, seed); what trains nothing is planned once, with budget 0.

        Raises:
            Problem: a method needs a data kind that was not given, or more of it than there is.
        """
        names = [model.name for model in finished]
        for name in names:
            if names.count(name) > 1:
                raise Problem(f"two finished models are called '{name}'", "Rename one folder, or compare them apart.")
        ordered = {(kind, seed): with_seed(data, seed) for kind, data in self.data.items() for seed in seeds}
        watched: dict[int, tuple[Example, ...]] = {}
        if "triplets" in self.data and budgets:
            largest = max(budget.cap("triplets") for budget in budgets)
            watched = {seed: held_out_triplets(ordered["triplets", seed], largest, WATCHED) for seed in seeds}
        plan = [self._finished(model) for model in finished]
        plan += [self._untrained(choice, entry, method) for choice, entry, method in methods if not method.needs]
        for budget in budgets:
            for seed in seeds:
                for choice, entry, method in methods:
                    if method.needs:
                        prefixes = {kind: _prefix(choice.name, kind, budget, ordered, seed) for kind in method.needs}
                        run = self._trained(choice, entry, method, budget, seed, prefixes)
                        plan.append(replace(run, held_out=watched.get(seed, ())))
        return plan

    def _finished(self, model: FinishedModel) -> RunSpec:
        where = evaluation_address(model.address, self._benchmark_address, model.precision(self.engine))
        trusted = bool(self.configuration.get("trust_remote_code"))
        return self._spec(
            f"{model.name.replace('/', '--')}-{where[:10]}", model.name, finished=model.given, trust_remote_code=trusted
        )

    def _untrained(self, choice: MethodChoice, entry: MethodEntry, method: Method) -> RunSpec:
        assert self.backbone is not None
        where = self._run_address(self.backbone.address, method, entry)
        return self._spec(f"{choice.name}-{where[:10]}", choice.name, method=choice, backbone=self.backbone)

    def _trained(
        self,
        choice: MethodChoice,
        entry: MethodEntry,
        method: Method,
        budget: Budget,
        seed: int,
        prefixes: Mapping[str, TrainingData],
    ) -> RunSpec:
        assert self.backbone is not None
        at, addresses, preparations = self.backbone.address, [], []
        for stage in method.stages():
            facts: dict[str, Any] = {
                "start": at,
                "data": prefixes[stage.data].address,
                "seed": seed,
                "precision": self.engine.precision,
                "source": stage_source(stage),
            }
            preparations.append(preparation_address(stage, **facts))
            at = training_address(stage, **facts)
            addresses.append(at)
        where = self._run_address(at, method, entry)
        short = budget.label.replace("=", "").replace(",", "-")
        return self._spec(
            f"{choice.name}-{short}-s{seed}-{where[:10]}",
            f"{choice.name} {budget.label} seed {seed}",
            method=choice,
            backbone=self.backbone,
            budget_label=budget.label,
            asked=dict(budget.caps),
            seed=seed,
            data={kind: StageData(kind, data.ids, data.rows) for kind, data in prefixes.items()},
            data_facts={kind: _facts(data) for kind, data in prefixes.items()},
            stage_addresses=tuple(addresses),
            preparations=tuple(preparations),
        )

    def _spec(self, run: str, label: str, **given: Any) -> RunSpec:
        nothing: dict[str, Any] = {
            "method": None,
            "finished": None,
            "backbone": None,
            "budget_label": "0",
            "asked": {},
            "seed": 0,
            "data": {},
            "data_facts": {},
            "stage_addresses": (),
            "preparations": (),
        }
        values = nothing | given
        name = values["method"].name if values["method"] else values["finished"]
        # The options that repeat this run and no other (`compare` has methods and seeds, `train` one of each). Of what
        # was set only this method's values: a value for a method that takes no part is refused.
        chosen = values["method"].overrides if values["method"] else {}
        own = {"methods": [name], "method": name, "set": [f"{name}.{key}={value}" for key, value in chosen.items()]}
        made = self.configuration.get(FROM_PRESET, ())
        own[FROM_PRESET] = [setting for setting in made if setting.startswith(f"{name}.")]
        if values["asked"]:
            own |= {"budget": values["budget_label"], "seeds": [values["seed"]], "seed": values["seed"]}
        return RunSpec(
            run=run,
            label=label,
            **values,
            benchmark=self.benchmark,
            engine=self.engine,
            output=self.output,
            configuration={key: own.get(key, value) for key, value in self.configuration.items()},
        )

    @property
    def _benchmark_address(self) -> str:
        return self.benchmark.address if self.benchmark is not None else ""

    def _run_address(self, weights: str, method: Method, entry: MethodEntry) -> str:
        return run_address(weights, method, entry.source, self._benchmark_address, self.engine.precision)


def _prefix(
    method: str, kind: str, budget: Budget, ordered: Mapping[tuple[str, int], TrainingData], seed: int
) -> TrainingData:
    if (kind, seed) not in ordered:
        raise Problem(f"{method} trains on {kind}, and no {kind} were given", f"Add --{kind} FILE.")
    cap = budget.cap(kind)
    if cap == 0:
        raise Problem(
            f"budget {budget.label} has no cap for {kind}, which {method} trains on",
            f"Add it: --budget {budget.label},{kind}=N.",
        )
    return ordered[kind, seed].take(cap)


def _facts(data: TrainingData) -> dict[str, Any]:
    return {
        "path": data.path,
        "address": data.address,
        "unique": len(data),
        "read": data.read,
        "dropped": dict(data.dropped),
    }


def is_done(spec: RunSpec) -> bool:
    """Whether a record says that this run is done; a failed one is run again."""
    return read_status(spec.folder) == "done"


@dataclass(frozen=True)
class Estimate:
    """What training a stage will cost, from a sample of its data: tokens and model FLOPs."""

    tokens: float
    flops: float


def describe(plan: Sequence[RunSpec], estimates: Mapping[str, Estimate]) -> str:
    """Lay the plan out for ``--dry-run``: one line a run with what is still to be spent on it, then the totals.

    Args:
        plan: The runs, in the order of execution.
        estimates: Cost of each stage by its training address; a stage that stands, or that an earlier run of the plan
            trains, costs nothing again.
    """
    lines = [f"{'run':<46} {'budget':>8} {'stages':>6} {'tokens':>10} {'TFLOPs':>9}  state"]
    paid: set[str] = set()
    total = 0.0
    for spec in plan:
        new = [a for a in spec.stage_addresses if a not in paid and not (spec.output / "stages" / a).exists()]
        paid.update(spec.stage_addresses)
        shared = len(spec.stage_addresses) - len(new)
        state = "done" if is_done(spec) else "to run" + (f", {shared} trained stage(s) reused" if shared else "")
        costs = [] if is_done(spec) else [estimates[address] for address in new]
        flops = sum(cost.flops for cost in costs)
        total += flops
        lines.append(
            f"{spec.label:<46} {spec.budget_label:>8} {len(spec.stage_addresses):>6} "
            f"{sum(cost.tokens for cost in costs):>10,.0f} {flops / 1e12:>9,.2f}  {state}"
        )
    waiting = sum(not is_done(spec) for spec in plan)
    lines.append(
        f"{len(plan)} runs, {waiting} to do; training estimated at {total / 1e12:,.2f} TFLOPs "
        "(passes of the encoder; frozen decoders and what stages prepare come on top)"
    )
    return "\n".join(lines)
