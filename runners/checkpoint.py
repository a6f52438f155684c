"""Checkpoints of a stage: safetensors for what trains and its optimizer, JSON for the rest; whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

PREFIX = "checkpoint-"


def save(
    folder: Path, step: int, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    """Write the checkpoint of ``step`` and remove older ones once it stands.

    Only what trains is written, and all of it, whatever the processes that trained it: any number of them can go on.
    Randomness needs no state: every step seeds its own.

    Args:
        folder: The stage's.
        step: Steps done.
        weights: What trains, by name.
        moments: The optimizer's state as ``PARAMETER/KEY``.
        state: What else to write, for JSON.
    """
    writing = folder / f".writing-{step}"
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    save_file({name: p.detach().contiguous() for name, p in weights.items()}, writing / "weights.safetensors")
    save_file({name: value.contiguous() for name, value in moments.items()}, writing / "optimizer.safetensors")
    (writing / "state.json").write_text(json.dumps({"step": step, **state}), encoding="utf-8")
    for file in writing.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    target = folder / f"{PREFIX}{step:09d}"
    shutil.rmtree(target, ignore_errors=True)
    writing.replace(target)
    for other in folder.glob(f"{PREFIX}*"):
        if other != target:
            shutil.rmtree(other)


def latest(folder: Path) -> Path | None:
    """Return the newest whole checkpoint, if there is one (a half-written one has another name)."""
    return max(folder.glob(f"{PREFIX}*"), default=None)


def load(checkpoint: Path, parameters: Mapping[str, nn.Parameter]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Put a checkpoint's weights back into ``parameters``; return the optimizer's state and what was saved beside.

    Raises:
        ValueError: the checkpoint is of other parameters.
    """
    weights = load_file(checkpoint / "weights.safetensors")
    if weights.keys() != parameters.keys():
        raise ValueError(f"{checkpoint} holds other parameters than the stage trains: delete the folder")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    return load_file(checkpoint / "optimizer.safetensors"), state


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name (tied ones once)."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
