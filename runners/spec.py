"""One run, specified: everything its process needs, and nothing that cannot travel to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.suite import Benchmark
from genembench.problem import Problem
from methods.contract import Example, Method
from methods.registry import MethodEntry, discover
from runners.backbones import Backbone
from runners.engine import Engine
from runners.outcomes import StageData


@dataclass(frozen=True, kw_only=True)
class MethodChoice:
    """A method by name, with how its hyper-parameters were chosen.

    The name travels, not the object: a class from ``--method-file`` exists only where that file was loaded.
    """

    name: str
    preset: str
    overrides: Mapping[str, Any]
    method_files: tuple[Path, ...] = ()
    source: str = ""

    def resolve(self) -> tuple[MethodEntry, Method]:
        """Find and create the method in this process.

        Raises:
            Problem: its source is no longer what the plan, and so every address, was made for.
        """
        entry = discover(self.method_files).get(self.name)
        if entry.source != self.source:
            raise Problem(
                f"the source of {self.name} ({entry.origin}) was changed while the comparison ran",
                "Run the same command again: the method is planned anew.",
            )
        return entry, entry.create(self.preset, self.overrides)


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One (method, backbone, budget, seed), or one finished outside model.

    Attributes:
        run: The run's id: readable, and ending in its address.
        label: Short name for progress lines.
        method: The method; None for a finished model.
        finished: A finished model with its prefix (`runners.finished`); None for a method.
        trust_remote_code: Whether code that a finished model brings is run.
        backbone: What the method starts from.
        budget_label: The budget as given; "0" where nothing is trained.
        asked: Cap per data kind.
        seed: Decides the order of data, initialisation and dropout.
        data: Examples per data kind.
        data_facts: What the record says of them.
        stage_addresses: Training address of each stage.
        preparations: Address of what each stage prepares of its examples, or None.
        held_out: Triplets beyond every budget, on which the trainer watches alignment and uniformity.
        benchmark: What to measure on; None trains only.
        evaluate_every: Fraction of each stage after which a snapshot is taken, to be scored when the run is done
            (`runners.course`); None scores the end only.
        engine: How to execute.
        output: The output folder.
        configuration: The resolved command, for the record.
    """

    run: str
    label: str
    method: MethodChoice | None
    finished: str | None
    trust_remote_code: bool = False
    backbone: Backbone | None
    budget_label: str
    asked: Mapping[str, int]
    seed: int
    data: Mapping[str, StageData] = field(repr=False)
    data_facts: Mapping[str, Any] = field(repr=False)
    stage_addresses: tuple[str, ...]
    preparations: tuple[str | None, ...]
    held_out: tuple[Example, ...] = field(default=(), repr=False)
    benchmark: Benchmark | None
    evaluate_every: float | None = None
    engine: Engine
    output: Path
    configuration: Mapping[str, Any] = field(repr=False)

    @property
    def folder(self) -> Path:
        """Where the finished run stands."""
        return self.output / "runs" / self.run

    @property
    def partial(self) -> Path:
        """Where it stands while it runs."""
        return self.output / "runs" / f".partial-{self.run}"
