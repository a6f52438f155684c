from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from genembench.problem import Problem
from methods.encoder import write_manifest
from methods.registry import discover
from runners.evaluate import main
from tests.runners.exporting import export_to, plain


@pytest.fixture
def encoder(tiny_backbone: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "encoder"
    folder.mkdir(parents=True)
    shutil.copytree(tiny_backbone, tmp_path / "run" / "weights")
    method = discover().get("untrained-mean").create("small")
    write_manifest(folder, name="untrained-mean", method=method, method_file=None, weights="../weights")
    return tmp_path / "run"


def _arguments(encoder: Path, data: Path, output: Path) -> list[str]:
    options = {"encoder": encoder, "tasks": "STS16,STS17", "data-dir": data, "output": output, "device": "cpu"}
    return [f"--{name}={value}" for name, value in options.items()]


def test_scores_of_an_encoder_are_written_with_their_mean(encoder: Path, tiny_sts: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores"
    assert main(_arguments(encoder, tiny_sts, output)) == 0
    lines = [line.split(",") for line in (output / "scores.csv").read_text().splitlines()]
    assert lines[0] == ["task", "score", "pairs"]
    assert [line[0] for line in lines[1:3]] == ["STS16", "STS17"]
    assert [line[2] for line in lines[1:3]] == ["30", "30"]
    assert "Avg(" not in (output / "scores.csv").read_text()
    assert len((output / "predictions" / "STS16.csv").read_text().splitlines()) == 31


def test_an_encoder_whose_weights_are_not_numbers_is_a_problem(encoder: Path, tiny_sts: Path, tmp_path: Path) -> None:
    file = encoder / "weights" / "model.safetensors"
    weights = load_file(file)
    save_file({name: value * float("nan") for name, value in weights.items()}, file, metadata={"format": "pt"})
    with pytest.raises(Problem, match="not finite"):
        main(_arguments(encoder, tiny_sts, tmp_path / "scores"))


def test_an_export_that_brings_code_scores_as_the_encoder_did(
    tiny_backbone: Path, tiny_sts: Path, tmp_path: Path
) -> None:
    """Bidirectional attention and an instruction: the library's own modules have neither."""
    encoder = plain(tmp_path / "run", "llm2vec", tiny_backbone)
    assert export_to(encoder, tmp_path / "exported").kind == "templated"
    given = Path(f"sentence-transformers:{tmp_path / 'exported'}")
    with pytest.raises(Problem, match="brings Python code of its own") as caught:
        main(_arguments(given, tiny_sts, tmp_path / "refused"))
    assert "--trust-remote-code" in caught.value.hint
    assert main(_arguments(encoder, tiny_sts, tmp_path / "ours")) == 0
    assert main([*_arguments(given, tiny_sts, tmp_path / "theirs"), "--trust-remote-code"]) == 0
    ours, theirs = (
        {row["task"]: float(row["score"]) for row in csv.DictReader((tmp_path / name / "scores.csv").open())}
        for name in ("ours", "theirs")
    )
    assert len(set(theirs.values())) == 3  # two tasks and their mean
    assert theirs == pytest.approx(ours, abs=0.01)
    assert json.loads((tmp_path / "theirs" / "evaluation.json").read_text())["trust_remote_code"] is True
