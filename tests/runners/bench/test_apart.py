"""`genembench bench memory` and `scaling`: peaks, failures, exponents."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.training_data import load_training_data
from genembench.problem import Problem
from runners.bench import child, scaling
from runners.bench.child import Measured
from runners.bench.command import main, parser
from runners.bench.sides import LIBRARY, OURS, PLAIN
from runners.bench.subject import Spec
from runners.engine import Engine
from tests.test_import_cost import COMMAND, HEAVY, modules_after


@pytest.fixture
def spec(tiny_backbone: Path, tiny_triplets: Path) -> Spec:
    data = load_training_data("triplets", tiny_triplets, mapping={}, seed=0, held_out=None)
    return Spec(
        method="infonce-inbatch-mean",
        stage="contrast",
        method_files=(),
        backbone=tiny_backbone,
        ids=data.ids,
        rows=data.rows,
        batch=2,
        engine=Engine(),
    )


def test_a_larger_batch_has_a_higher_peak(spec: Spec) -> None:
    small, large = (child.measure(replace(spec, batch=batch), OURS, 1) for batch in (2, 40))
    assert [len(one.step_seconds) for one in (small, large)] == [1, 1]
    assert len(small.losses) == 3
    # Of 120 texts and 32 dimensions in two layers; the smaller one is hardly to be seen.
    assert large.peak > small.peak + 4_000_000
    assert large.rest > 50_000_000


@pytest.mark.parametrize("side", [OURS, LIBRARY])
def test_a_child_writes_what_it_measured(spec: Spec, side: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, answer: None)
    child._child(spec, side, 0, tmp_path / "found.json")
    found = Measured(**json.loads((tmp_path / "found.json").read_text()))
    assert len(found.losses) == 2
    assert (found.flops > 0) == (side == OURS and len(found.step_seconds) > 0)


def test_a_failure_is_a_result(spec: Spec, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, answer: None)
    child._child(spec, PLAIN, 0, tmp_path / "found.json")
    failed = json.loads((tmp_path / "found.json").read_text())["failed"]
    assert "plain does not train infonce-inbatch-mean" in failed


def test_memory_compares_losses_and_peaks(
    tiny_backbone: Path, tiny_triplets: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    peaks = {(OURS, 4): 100, (OURS, 8): 120, (LIBRARY, 4): 200, (LIBRARY, 8): 240, (PLAIN, 4): 300}

    def measured(spec: Spec, side: str, timed: int) -> Measured | str:
        if side == PLAIN:
            return "out_of_memory: nothing left"
        return Measured([], peaks[side, spec.batch] * 2**20, 2**30, [0.5 if spec.batch == 4 else 0.6], 0.0)

    monkeypatch.setattr(child, "measure_apart", measured)
    monkeypatch.setattr(child, "start", lambda: None)
    given = [f"--backbone={tiny_backbone}", f"--triplets={tiny_triplets}", "--batch=4", "--large-batch=8"]
    assert main(["memory", *given, "--device=cpu", f"--output={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "| genembench: in-batch 8, cached | 120 (120 to 120) | 1,024 | 1.20 |" in printed
    assert "| plain: align 4 | out_of_memory: nothing left | | |" in printed
    found = json.loads((tmp_path / "memory.json").read_text())
    assert found["agreement"]["relative"].keys() == {f"{LIBRARY}: in-batch 4", f"{LIBRARY}: in-batch 8, cached"}
    assert found["agreement"]["agree"]
    with pytest.raises(Problem, match="has no in-batch loss"):
        main(["memory", *given, "--method=infonce-last", f"--output={tmp_path}"])


def test_scaling_fits_what_was_measured(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    widths: list[int] = []

    def measured(spec: Spec, side: str, timed: int) -> Measured:
        width = json.loads((spec.backbone / "config.json").read_text())["hidden_size"]
        widths.append(width)
        return Measured([0.1 * spec.batch * width**2] * timed, spec.batch**2, 0, [1.0], 3.0 * timed * spec.batch)

    monkeypatch.setattr(child, "measure_apart", measured)
    monkeypatch.setattr(child, "start", lambda: None)
    axes = {"batch": ("Examples in a step", (2, 4)), "width": ("Width", (32, 64)), "examples": ("Examples", (4, 16))}
    options = parser().parse_args(["scaling", "--device=cpu", f"--output={tmp_path}", "--repetitions=1"])
    assert scaling.run(options, scaling.Point(batch=2, length=40, width=32, examples=4), axes) == 0
    found = json.loads((tmp_path / "scaling.json").read_text())["axes"]
    fits = {axis: {cost: fit["exponent"] for cost, fit in one["exponents"].items()} for axis, one in found.items()}
    assert fits["batch"] == pytest.approx({"seconds": 1, "memory": 2, "model_flops": 1})
    assert fits["width"] == pytest.approx({"seconds": 2, "memory": 0, "model_flops": 0})
    assert fits["examples"] == pytest.approx({"seconds": 1, "memory": 0, "model_flops": 1})
    assert sorted(set(widths)) == [32, 64]
    assert "| Width | 32 | 64 | 2.00 | 0.00 |" in capsys.readouterr().out
    assert (tmp_path / "scaling.png").stat().st_size > 5_000


def test_help_is_light() -> None:
    assert modules_after(COMMAND, "bench", "memory", "--help") & HEAVY == set()
