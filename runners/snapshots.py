"""Snapshots of a stage while it trains: its trained parameters on the way, and what they had cost until then.

A snapshot holds what a checkpoint holds of the weights. Nothing is merged, moved or put into another mode for it, so
the training cannot notice. Plain weights are made of it later, as of a training that goes on from a checkpoint and ends
at once (`runners.stages.finish_snapshot`).
"""

from __future__ import annotations

import json
import math
import os
import shutil
from fractions import Fraction
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from genembench.problem import Problem
from methods.contract import Recipe
from methods.encoder import files_hash
from runners import checkpoint
from runners.meter import Costs

FOLDER = "snapshots"
WEIGHTS = "weights.safetensors"
FACTS = "snapshot.json"


def snapshot_steps(examples: int, recipe: Recipe, every: float) -> dict[int, int]:
    """Return the steps after which a stage's snapshots are taken, each with the examples that it has seen by then.

    They are the first steps at or after ``every``, 2 · ``every``, ... of the examples that the stage sees in all its
    epochs. The last step is none of them: its weights are the stage's own.
    """
    # The decimal as it was written: ten times 0.1 is 1.
    share = Fraction(str(every)) * examples * recipe.epochs
    steps_per_epoch = math.ceil(examples / recipe.batch_size)
    found, reached = {}, 0
    for step in range(1, steps_per_epoch * recipe.epochs):
        epoch, index = divmod(step, steps_per_epoch)
        seen = epoch * examples + index * recipe.batch_size
        if seen // share > reached:
            found[step], reached = seen, int(seen // share)
    return found


def write(folder: Path, step: int, module: nn.Module, costs: Costs) -> None:
    """Write the snapshot after ``step`` steps of the stage in ``folder``: whole or not there."""
    writing = folder / FOLDER / f".writing-{step}"
    writing.mkdir(parents=True)
    parameters = checkpoint.trained(module)
    save_file({name: p.detach().contiguous() for name, p in parameters.items()}, writing / WEIGHTS)
    facts = {"step": step, "weights": files_hash(writing, [WEIGHTS]), "costs": costs.to_json()}
    (writing / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    for file in writing.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    writing.replace(folder / FOLDER / f"{step:09d}")


def forget_after(folder: Path, step: int) -> None:
    """Remove what a killed training took after ``step``, from where it goes on: it is taken again, costs and all."""
    for path in (folder / FOLDER).glob("*"):
        if not path.name.isdigit() or int(path.name) > step:
            shutil.rmtree(path)


def taken(folder: Path) -> dict[int, Path]:
    """Return the snapshots of the stage in ``folder`` by step."""
    return {int(path.name): path for path in sorted((folder / FOLDER).glob("[0-9]*"))}


def costs_of(snapshot: Path) -> Costs:
    """Return what the stage had cost by then.

    Raises:
        Problem: the snapshot cannot be read, or its weights were changed.
    """
    try:
        facts = json.loads((snapshot / FACTS).read_text(encoding="utf-8"))
        costs, expected = Costs.from_json(facts["costs"]), facts["weights"]
    except (OSError, ValueError, KeyError) as error:
        raise Problem(f"the snapshot {snapshot} cannot be read: {error}", "Delete the folder.") from error
    if files_hash(snapshot, [WEIGHTS]) != expected:
        raise Problem(f"the weights in {snapshot} are not those that were written there", "Delete the folder.")
    return costs


def load(snapshot: Path, module: nn.Module) -> None:
    """Put a snapshot into a module as the stage's `Stage.build` made it.

    Raises:
        Problem: the snapshot is of other parameters.
    """
    parameters, weights = checkpoint.trained(module), load_file(snapshot / WEIGHTS)
    if weights.keys() != parameters.keys():
        raise Problem(f"{snapshot} holds other parameters than the stage trains", "Delete the folder.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
