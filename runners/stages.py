"""Training a method's stages one after the other; a stage that another run has trained is taken from its folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genembench.problem import Problem
from methods.contract import Example, Stage
from methods.encoder import files_hash
from methods.parts.backbone import attention_kernel, load_model, load_tokenizer
from runners.engine import Engine
from runners.meter import Costs
from runners.output import write_json
from runners.progress import Progress
from runners.seeds import derive
from runners.trainer import Trainer


@dataclass(frozen=True)
class StageData:
    """The examples of one kind that a run may consume, in order."""

    kind: str
    ids: tuple[str, ...]
    rows: tuple[Example, ...]


@dataclass(frozen=True)
class StageOutcome:
    """A trained stage: its weights and their `files_hash`, what it cost, and whether another run paid for it."""

    name: str
    address: str
    weights: Path
    content: str
    costs: Costs
    reused: bool

    def to_json(self) -> dict[str, Any]:
        """Return the stage as the record writes it."""
        return {"name": self.name, "address": self.address, "reused": self.reused, "costs": self.costs.to_json()}


@dataclass(frozen=True)
class FromFiles:
    """A stage's start: the weights of the stage before it, or the backbone."""

    backbone: Path
    folder: Path
    engine: Engine

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer that stands with the weights."""
        return load_tokenizer(self.folder)

    def model(self, *, head: bool = False, causal: bool = True) -> PreTrainedModel:
        """Load the weights."""
        return load_model(
            self.folder,
            device=self.engine.torch_device,
            head=head,
            causal=causal,
            attention=attention_kernel(self.engine.device, self.engine.precision),
        )


def train_stage(
    stage: Stage,
    address: str,
    *,
    label: str,
    start: FromFiles,
    data: StageData,
    engine: Engine,
    seed: int,
    stages: Path,
    payer: str,
    outcomes: list[StageOutcome],
) -> None:
    """Train a stage into ``stages/address``, or take what stands there, and append the outcome to ``outcomes``.

    A killed training goes on from its last checkpoint, in ``stages/.partial-address``. A training that fails is
    appended too, with what it cost until then. ``payer`` is the run that is charged: a stage counts as reused only
    where another run has paid for it.

    Raises:
        Problem: what stands there was changed after it was written.
        Diverged: the loss stopped being finite.
    """
    final = stages / address
    if final.exists():
        outcomes.append(_reuse(stage, address, final, payer))
        return
    partial = stages / f".partial-{address}"
    partial.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(derive(seed, stage.name, "build"))
    trained = stage.build(start)
    with Progress(f"{label}: {stage.name}", 0, "step") as bar:

        def show(done: int, steps: int, loss: float) -> None:
            if bar.total == 0:
                bar.begin(steps, done - 1)
            bar.to(done, f"loss {loss:.4f}")

        trainer = Trainer(stage, trained, data.ids, data.rows, engine=engine, seed=seed, folder=partial, on_step=show)
        try:
            costs = trainer.train()
        except Exception:
            outcomes.append(StageOutcome(stage.name, address, partial, "", trainer.costs, reused=False))
            raise
    weights = partial / "weights"
    shutil.rmtree(weights, ignore_errors=True)
    stage.finish(trained, weights)
    content = files_hash(weights)
    record = {"stage": stage.name, "address": address, "weights": content, "payer": payer}
    write_json(partial / "stage.json", record | {"costs": costs.to_json()})
    # Checkpoints, and what a killed process was writing.
    for pattern in ("checkpoint-*", ".writing-*"):
        for checkpoint in partial.glob(pattern):
            shutil.rmtree(checkpoint)
    partial.replace(final)
    outcomes.append(StageOutcome(stage.name, address, final / "weights", content, costs, reused=False))


def _reuse(stage: Stage, address: str, folder: Path, payer: str) -> StageOutcome:
    try:
        record = json.loads((folder / "stage.json").read_text(encoding="utf-8"))
        costs, expected, paid_by = Costs.from_json(record["costs"]), record["weights"], record["payer"]
    except (OSError, ValueError, KeyError) as error:
        raise Problem(
            f"the trained stage {folder} cannot be read: {error}", "Delete the folder; it is trained again."
        ) from error
    if files_hash(folder / "weights") != expected:
        raise Problem(
            f"the weights in {folder} are not those that were trained there",
            "Somebody changed them. Delete the folder; it is trained again.",
        )
    return StageOutcome(stage.name, address, folder / "weights", expected, costs, reused=paid_by != payer)


def attributed(outcomes: Sequence[StageOutcome]) -> list[Costs]:
    """Costs of every stage the run stands on: what the method costs."""
    return [outcome.costs for outcome in outcomes]


def spent(outcomes: Sequence[StageOutcome]) -> list[Costs]:
    """Costs of the stages that this run trained itself: what this comparison paid."""
    return [outcome.costs for outcome in outcomes if not outcome.reused]
