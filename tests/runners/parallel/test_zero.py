from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from genembench.problem import Problem
from runners.engine import check_processes
from runners.parallel.group import Group
from runners.parallel.zero import OURS, Zero, read_config
from tests.runners.parallel.processes import on


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_presets(stage: int) -> None:
    assert read_config(f"zero{stage}")["zero_optimization"]["stage"] == stage


def test_a_configuration_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"zero_optimization": {"stage": 2, "overlap_comm": false}, "wall_clock_breakdown": true}')
    assert read_config(str(file))["wall_clock_breakdown"] is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("", "cannot be read"),
        ("[1]", "has no zero_optimization"),
        ("{}", "has no zero_optimization"),
        ('{"zero_optimization": {"stage": 4}}', "stage 4"),
        ('{"zero_optimization": {}}', "stage None"),
        *((json.dumps({"zero_optimization": {"stage": 2}, name: {}}), f"sets {name}") for name in OURS),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "mine.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(Problem, match=said):
        read_config(str(file))


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    check_processes(2, "cuda", None)
    check_processes(3, "cpu", "zero2")
    with pytest.raises(Problem, match="has 2 GPUs"):
        check_processes(3, "cuda", None)
    with pytest.raises(Problem, match="zero9"):
        check_processes(1, "cpu", "zero9")


def test_deepspeed_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.engine.find_spec", lambda name: None)
    with pytest.raises(Problem, match="not installed"):
        check_processes(1, "cpu", "zero2")


def _half(group: Group) -> tuple[list[str], str, bool]:
    """Train a step of a linear layer in bfloat16 under ZeRO-2; say in which precision it computed."""
    seen: list[str] = []

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            found = self.linear(batch)
            seen.append(str(found.dtype))
            return {"found": found}

    module = Module()
    parameters = dict(module.named_parameters())
    strategy = Zero(
        module,
        parameters,
        torch.optim.AdamW(parameters.values(), lr=1e-3, fused=True),
        group,
        config=read_config("zero2"),
        clip_norm=1.0,
        precision="bfloat16",
        device=torch.device("cpu"),
    )
    with strategy.passing(last=True):
        outside = strategy.forward(torch.ones(2, 4))["found"]
        strategy.backward(outside.sum())
    finite = math.isfinite(strategy.step(1e-3, 1.0))
    strategy.release()
    assert module(torch.ones(1, 4))["found"].dtype == torch.float32
    return seen[:1], str(outside.dtype), finite


def test_half_precision_reaches_the_module() -> None:
    pytest.importorskip("deepspeed", reason="the extra deepspeed is not installed")
    # One process is a group too.
    assert on(1, _half) == [(["torch.bfloat16"], "torch.float32", True)]
