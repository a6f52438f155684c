"""Checkpoints of a stage: safetensors for what trains and its optimizer, JSON for the rest; whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

PREFIX = "checkpoint-"


def save(folder: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write the checkpoint of ``step`` and remove older ones once it stands.

    Only what trains is written. Randomness needs no state: every step seeds its own.
    """
    writing = folder / f".writing-{step}"
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    parameters = trained(module)
    save_file({name: p.detach().contiguous() for name, p in parameters.items()}, writing / "weights.safetensors")
    moments: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            moments[f"{name}/{key}"] = torch.as_tensor(value).detach().contiguous()
    save_file(moments, writing / "optimizer.safetensors")
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


def load(checkpoint: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a checkpoint back into ``module`` and ``optimizer``; return the state saved beside it.

    Raises:
        ValueError: the checkpoint is of other parameters.
    """
    parameters = trained(module)
    weights = load_file(checkpoint / "weights.safetensors")
    if weights.keys() != parameters.keys():
        raise ValueError(f"{checkpoint} holds other parameters than the stage trains: delete the folder")
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(checkpoint / "optimizer.safetensors").items():
        name, _, part = key.rpartition("/")
        moments.setdefault(name, {})[part] = value
    fused = bool(optimizer.param_groups[0].get("fused"))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
            # Only the fused kernel keeps its step count on the device.
            optimizer.state[parameter] = {
                part: value if part == "step" and not fused else value.to(parameter.device)
                for part, value in moments.get(name, {}).items()
            }
    state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    return state


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name (tied ones once)."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
