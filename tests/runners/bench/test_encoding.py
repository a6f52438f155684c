"""`genembench bench encoding`: the scores of both sides are the same, and no difference passes in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.suite import Benchmark
from genembench.problem import Problem
from runners.bench import encoding, library
from runners.bench.command import main


def run(backbone: Path, sts: Path, output: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    given = [f"--backbone={backbone}", "--tasks=STS17,BIOSSES", f"--data-dir={sts}", "--device=cpu"]
    code = main(["encoding", *given, "--repetitions=1", f"--output={output}", *arguments])
    found: dict[str, Any] = json.loads((output / "encoding.json").read_text())
    return code, found


def test_both_sides_score_the_same(tiny_backbone: Path, tiny_sts: Path, tmp_path: Path) -> None:
    code, found = run(tiny_backbone, tiny_sts, tmp_path, "--method=untrained-last")
    assert code == 0
    mine, theirs = (side["scores"] for side in found["sides"].values())
    assert set(mine) == {"STS17", "BIOSSES"}
    assert mine == pytest.approx(theirs, abs=0.01)
    assert abs(mine["STS17"]) > 1
    assert found["subject"]["texts"] == 120
    for side in found["sides"].values():
        # The turn that warms up is told apart.
        assert len(side["turns"]) == 1
        fastest = min(turn["seconds"] for turn in side["turns"])
        assert side["summary"]["texts_per_second"]["highest"] == pytest.approx(120 / fastest)
    assert (tmp_path / "encoding.png").stat().st_size > 5_000


def test_other_vectors_are_refused(
    tiny_backbone: Path, tiny_sts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "POOLINGS", {"mean": "lasttoken", "last": "mean"})
    with pytest.raises(Problem, match="vectors of the two sides differ"):
        run(tiny_backbone, tiny_sts, tmp_path)
    found = json.loads((tmp_path / "encoding.json").read_text())
    assert (found["status"], found["agreement"]["agree"]) == ("failed", False)


def test_other_scores_are_flagged(
    tiny_backbone: Path,
    tiny_sts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def other(model: Any, benchmark: Benchmark, engine: Any) -> dict[str, float]:
        return dict.fromkeys(benchmark.tasks, 100.0)

    monkeypatch.setattr(encoding, "with_mteb", other)
    code, found = run(tiny_backbone, tiny_sts, tmp_path)
    assert code == 1
    assert not found["agreement"]["agree"]
    assert "not of the same work" in capsys.readouterr().err


def test_what_the_library_cannot_encode(tiny_backbone: Path, tiny_sts: Path, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="cannot encode as autoregembed"):
        run(tiny_backbone, tiny_sts, tmp_path, "--method=autoregembed")


def test_the_prompt_stands_behind_every_text(tiny_backbone: Path) -> None:
    from methods.registry import discover
    from runners.engine import Engine

    method = discover().get("untrained-mean").create()
    model = library.model_of(method, tiny_backbone, Engine())
    ids = model.tokenize(["a red ball", "a"])["input_ids"]
    tail = torch.tensor(model.tokenizer("“", add_special_tokens=False)["input_ids"])
    assert torch.equal(ids[0][-len(tail) :], tail)
