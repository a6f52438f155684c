"""What authors' code computed, as files: texts with their token ids, weights, losses, gradients and vectors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

RELATIVE = 1e-4
"""Between two float32 programs that add in different orders; a wrong formula misses by far more."""


@dataclass(frozen=True)
class Recording:
    """One folder of recordings: ``cases.json`` and ``expected.safetensors``, and the backbone of all folders."""

    folder: Path
    backbone: Path
    cases: dict[str, Any]
    expected: dict[str, Tensor]

    @classmethod
    def load(cls, folder: Path, backbone: Path) -> Recording:
        """Read both files."""
        cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
        return cls(folder, backbone, cases, load_file(folder / "expected.safetensors"))

    def gradients(self, prefix: str) -> dict[str, Tensor]:
        """Return the recorded gradients ``{prefix}.grad.NAME`` by name of the parameter; there is at least one."""
        start = f"{prefix}.grad."
        found = {name.removeprefix(start): t for name, t in self.expected.items() if name.startswith(start)}
        assert found, f"{self.folder.name} has no {start}*"
        return found


def assert_close(name: str, got: Tensor, wanted: Tensor) -> None:
    """Hold ``max |got - wanted|`` against the largest recorded number; a shape that differs is an error."""
    assert got.shape == wanted.shape, f"{name}: {tuple(got.shape)}, recorded {tuple(wanted.shape)}"
    assert got.dtype == torch.float32, f"{name}: computed in {got.dtype}"
    off = (got.detach() - wanted).abs().max().item()
    largest = wanted.abs().max().item()
    # Written so that a NaN fails too.
    assert off <= RELATIVE * largest, f"{name}: off by {off:.2e}, the largest recorded number is {largest:.2e}"


def assert_gradients(body: nn.Module, wanted: dict[str, Tensor]) -> None:
    """Hold the gradients of a body's parameters against recorded ones."""
    parameters = dict(body.named_parameters())
    for name, gradient in wanted.items():
        got = parameters[name].grad
        assert got is not None, f"{name} has no gradient"
        assert_close(name, got, gradient)
