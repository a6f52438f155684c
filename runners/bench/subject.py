"""What is measured: a stage of a method on a backbone, with its rows, and steps too small to change the work."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.kinds import texts_of
from benchmarks.training_data import TrainingData, load_training_data
from genembench.problem import Problem, unknown
from methods.contract import Example, Method, Recipe, Stage
from methods.parts.modes import evaluating
from methods.registry import discover
from runners.backbones import Backbone, resolve_backbone
from runners.bench import random_llama
from runners.engine import Engine
from runners.progress import say
from runners.stages import FromFiles

LEARNING_RATE = 1e-6
"""Small, so that many steps on the same examples leave the work of a step as it is."""
SEED = 0
_PREPARED_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a measurement is of; plain enough to travel to another process.

    Attributes:
        method: The method's name.
        stage: The stage's name; "" for the last.
        method_files: Where methods of one's own are.
        backbone: Folder of the backbone.
        ids: Names of the rows.
        rows: The training rows, in order.
        batch: Examples in an optimizer step.
        engine: How it is executed.
    """

    method: str
    stage: str
    method_files: tuple[Path, ...]
    backbone: Path
    ids: tuple[str, ...]
    rows: tuple[Example, ...]
    batch: int
    engine: Engine


@dataclass(frozen=True)
class Subject:
    """A `Spec` made real.

    Attributes:
        spec: What it was made from.
        method: The method, preset ``small`` where it has one.
        stage: Its stage, with the spec's batch, one epoch and a constant learning rate.
        start: What every training starts from: the backbone, with new tokens where the stage needs some.
        rows: The rows with what the stage prepares.
    """

    spec: Spec
    method: Method
    stage: Stage
    start: FromFiles
    rows: tuple[Example, ...]

    @property
    def steps(self) -> int:
        """Optimizer steps that the rows are enough for."""
        return len(self.rows) // self.spec.batch


def split_name(given: str) -> tuple[str, str]:
    """Split ``NAME:STAGE``; the stage is "" where none is named."""
    name, _, stage = given.partition(":")
    return name, stage


def find_stage(method_name: str, stage_name: str, method_files: Sequence[Path] = ()) -> tuple[Method, Stage]:
    """Return a method, and the stage of this name or its last.

    Raises:
        Problem: there is no such method or stage, or it trains nothing.
    """
    entry = discover(method_files).get(method_name)
    method = entry.create("small" if "small" in entry.cls.presets else "default")
    stages = {stage.name: stage for stage in method.stages()}
    if not stages:
        raise Problem(
            f"method {method_name} trains nothing", "Choose one with stages; `genembench methods` lists them."
        )
    name = stage_name or list(stages)[-1]
    if name not in stages:
        raise unknown(f"stage of {method_name}", name, stages)
    return method, stages[name]


def with_recipe(stage: Stage, recipe: Recipe) -> Stage:
    """Return the stage optimised as ``recipe`` says; how a stage comes to its own recipe is its own affair."""
    changed: Any = copy.copy(stage)
    kind = type(stage)
    object.__setattr__(changed, "__class__", type(kind.__name__, (kind,), {"recipe": recipe}))
    found: Stage = changed
    return found


@contextmanager
def opened(spec: Spec) -> Iterator[Subject]:
    """Make a spec real; its files go when it is left.

    Raises:
        Problem: there is no such method or stage.
    """
    method, stage = find_stage(spec.method, spec.stage, spec.method_files)
    recipe = replace(
        stage.recipe,
        learning_rate=LEARNING_RATE,
        batch_size=spec.batch,
        epochs=1,
        schedule="constant",
        warmup=0.0,
    )
    stage = with_recipe(stage, recipe)
    start, rows = FromFiles(spec.backbone, spec.backbone, spec.engine), spec.rows
    with TemporaryDirectory() as folder:
        if method.new_tokens or stage.preparation() is not None:
            torch.manual_seed(SEED)
            trained = stage.build(start)
            if method.new_tokens:
                # New rows of the embedding are drawn at random, so they are drawn once and all sides read them.
                stage.finish(trained, Path(folder) / "start")
                start = FromFiles(spec.backbone, Path(folder) / "start", spec.engine)
                trained = stage.build(start)
            if stage.preparation() is not None:
                rows = _prepared(stage, trained, spec)
            del trained
        yield Subject(spec, method, stage, start, rows)


def _prepared(stage: Stage, trained: Any, spec: Spec) -> tuple[Example, ...]:
    rows: list[Example] = []
    precision = torch.autocast(spec.engine.device, torch.bfloat16, enabled=spec.engine.precision == "bfloat16")
    with evaluating(trained.module), precision:
        for at in range(0, len(spec.rows), _PREPARED_AT_ONCE):
            chunk = spec.rows[at : at + _PREPARED_AT_ONCE]
            found = {name: values.float().cpu() for name, values in stage.prepare(trained, chunk).items()}
            rows += [{**row, **{name: each[i] for name, each in found.items()}} for i, row in enumerate(chunk)]
    return tuple(rows)


def load_rows(kind: str, source: str, count: int) -> TrainingData:
    """Read the first ``count`` rows of training data; nothing is kept out, as nothing is scored.

    Raises:
        Problem: the data cannot be used, or there are too few rows.
    """
    data = load_training_data(kind, source, mapping={}, seed=SEED, held_out=None)
    if len(data) < count:
        raise Problem(
            f"{count:,} {kind} are needed (a batch to warm up and the timed ones), and {data.path} has {len(data):,}",
            "Ask for fewer with --examples or --batch, or give a larger file.",
        )
    return data.take(count)


@contextmanager
def backbone_of(given: str, texts: Iterable[str], engine: Engine) -> Iterator[Backbone]:
    """Find the backbone, or make the random one in a folder that goes afterwards.

    Raises:
        Problem: there is none.
    """
    if not given.startswith(random_llama.PREFIX):
        yield resolve_backbone(given, engine)
        return
    random_llama.shape_of(given)
    with TemporaryDirectory() as folder:
        say(f"making {given}")
        random_llama.make(given, texts, Path(folder))
        yield replace(resolve_backbone(folder, engine), name=given, given=given)


def backbone_facts(backbone: Backbone) -> dict[str, Any]:
    """Return what a report says of a backbone."""
    return {"backbone": backbone.name, "backbone_address": backbone.address, "parameters": backbone.parameters}


def texts_in(data: TrainingData) -> Iterator[str]:
    """Yield every text of training data."""
    for row in data.rows:
        yield from texts_of(data.kind, row)


def facts(spec: Spec, subject: Subject, backbone: Backbone) -> dict[str, Any]:
    """Say what was measured, for the report."""
    import json

    config = json.loads((backbone.folder / "config.json").read_text(encoding="utf-8"))
    shape = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    return {
        "method": spec.method,
        "stage": subject.stage.name,
        **backbone_facts(backbone),
        "shape": {name: config.get(name) for name in shape},
        "batch": spec.batch,
        "micro_batch": spec.engine.micro_batch,
        "gradient_checkpointing": spec.engine.gradient_checkpointing,
        "gradient_cache": spec.engine.gradient_cache,
        "trains": subject.stage.trains,
        "learning_rate": LEARNING_RATE,
    }
