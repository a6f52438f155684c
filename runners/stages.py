"""Training a method's stages one after the other; a stage that another run has trained is taken from its folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genembench.problem import Problem
from methods.contract import Example, Stage, Trainable
from methods.encoder import files_hash
from methods.parts.backbone import attention_kernel, load_model, load_tokenizer
from methods.parts.cross_entropy import computing_by
from runners import snapshots
from runners.engine import Engine
from runners.meter import Costs
from runners.outcomes import StageData, StageOutcome
from runners.output import write_json
from runners.parallel.group import current
from runners.preparation import prepare
from runners.progress import Progress
from runners.seeds import derive
from runners.trainer import Trainer


@dataclass(frozen=True)
class FromFiles:
    """A stage's start: the weights of the stage before it, or the backbone."""

    backbone: Path
    folder: Path
    engine: Engine

    def untouched(self) -> PreTrainedModel:
        """Load the backbone with its head, for computing with and not for training."""
        model = self._load(self.backbone, head=True, causal=True)
        if self.engine.precision == "bfloat16":
            # Weights that never change need no float32 copy: autocast would round them anew at every use.
            model.bfloat16()
        return model

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer that stands with the weights."""
        return load_tokenizer(self.folder)

    def model(self, *, head: bool = False, causal: bool = True) -> PreTrainedModel:
        """Load the weights."""
        return self._load(self.folder, head=head, causal=causal)

    def _load(self, folder: Path, *, head: bool, causal: bool) -> PreTrainedModel:
        return load_model(
            folder,
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
    preparation: str | None = None,
    held_out: Sequence[Example] = (),
    evaluate_every: float | None = None,
) -> None:
    """Train a stage into ``stages/address``, or take what stands there, and append the outcome to ``outcomes``.

    A killed training goes on from its last checkpoint, in ``stages/.partial-address``. A training that fails is
    appended too, with what it cost until then. ``payer`` is the run that is charged: a stage counts as reused only
    where another run has paid for it. Where the stage declares a preparation, ``preparation`` is its address: it is
    computed or taken from ``stages/prepared-ADDRESS``, and its cost is an outcome of its own. On ``held_out``
    triplets the trainer watches alignment and uniformity. With ``evaluate_every`` it takes snapshots, which stay in
    ``stages/address/snapshots``; a stage that stands is taken as it is, with snapshots or without.

    Raises:
        Problem: what stands there was changed after it was written.
        Diverged: the loss stopped being finite.
    """
    group, final = current(), stages / address
    if group.tell(final.exists()):
        outcomes += read_stage(stage, address, final, payer)
        return
    partial = stages / f".partial-{address}"
    partial.mkdir(parents=True, exist_ok=True)
    trained = _build(stage, start, seed)
    prepared: list[dict[str, Any]] = []
    if preparation is not None:
        rows = prepare(
            stage,
            trained,
            preparation,
            label=label,
            data=data,
            engine=engine,
            stages=stages,
            payer=payer,
            outcomes=outcomes,
        )
        data = replace(data, rows=rows)
        own = payer if not outcomes[-1].reused else None
        prepared = [outcomes[-1].to_json() | {"content": outcomes[-1].content, "payer": own}]
    with Progress(f"{label}: {stage.name}", 0, "step", quiet=not group.leads) as bar:

        def show(done: int, steps: int, loss: float) -> None:
            if bar.total == 0:
                bar.begin(steps, done - 1)
            bar.to(done, f"loss {loss:.4f}")

        trainer = Trainer(
            stage,
            trained,
            data.ids,
            data.rows,
            engine=engine,
            seed=seed,
            folder=partial,
            on_step=show,
            held_out=held_out,
            evaluate_every=evaluate_every,
        )
        try:
            costs = trainer.train()
        except Exception:
            outcomes.append(StageOutcome(stage.name, address, partial, "", trainer.costs, reused=False))
            raise
    trainer.strategy.release()
    content = ""
    if group.leads:
        weights = partial / "weights"
        shutil.rmtree(weights, ignore_errors=True)
        stage.finish(trained, weights)
        content = files_hash(weights)
        record = {"stage": stage.name, "address": address, "weights": content, "payer": payer}
        # The preparation's cost stands here too: who takes this stage needs nothing else of it.
        write_json(partial / "stage.json", record | {"costs": costs.to_json(), "prepared": prepared})
        # Checkpoints, and what a killed process was writing.
        for pattern in ("checkpoint-*", ".writing-*"):
            for checkpoint in partial.glob(pattern):
                shutil.rmtree(checkpoint)
        partial.replace(final)
    # The others go on when it stands.
    content = group.tell(content)
    outcomes.append(StageOutcome(stage.name, address, final / "weights", content, costs, reused=False))


def _build(stage: Stage, start: FromFiles, seed: int) -> Trainable:
    torch.manual_seed(derive(seed, stage.name, "build"))
    with computing_by(start.engine.cross_entropy):
        return stage.build(start)


def finish_snapshot(stage: Stage, snapshot: Path, folder: Path, *, start: FromFiles, seed: int) -> None:
    """Write the plain weights that the stage would have left in ``folder``, had it ended at this snapshot."""
    trained = _build(stage, start, seed)
    snapshots.load(snapshot, trained.module)
    stage.finish(trained, folder)


def read_stage(stage: Stage, address: str, folder: Path, payer: str) -> list[StageOutcome]:
    """Read the stage that stands in ``folder``: the outcome of its preparation, if it had one, and its own.

    Raises:
        Problem: it cannot be read, or was changed after it was written.
    """
    try:
        record = json.loads((folder / "stage.json").read_text(encoding="utf-8"))
        costs, expected, paid_by = Costs.from_json(record["costs"]), record["weights"], record["payer"]
        outcomes = [
            StageOutcome(
                one["name"],
                one["address"],
                folder.parent / f"prepared-{one['address']}",
                one["content"],
                Costs.from_json(one["costs"]),
                reused=one["payer"] != payer,
            )
            for one in record["prepared"]
        ]
    except (OSError, ValueError, KeyError) as error:
        raise Problem(
            f"the trained stage {folder} cannot be read: {error}", "Delete the folder; it is trained again."
        ) from error
    if files_hash(folder / "weights") != expected:
        raise Problem(
            f"the weights in {folder} are not those that were trained there",
            "Somebody changed them. Delete the folder; it is trained again.",
        )
    return [*outcomes, StageOutcome(stage.name, address, folder / "weights", expected, costs, reused=paid_by != payer)]
