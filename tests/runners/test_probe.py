"""The inference probe: what a run leaves of it, and `genembench probe`."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from transformers import AutoTokenizer

from benchmarks.protocol import Role
from benchmarks.suite import Benchmark
from genembench.problem import Problem
from leaderboard.inference import read_inference
from leaderboard.records import read_records
from methods.untrained import ONE_WORD
from runners import probing
from runners.engine import Engine
from runners.probe import main
from tests.runners import in_process


@pytest.fixture(scope="module")
def finished(
    tiny_backbone: Path, tiny_triplets: Path, tiny_sts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output of one finished comparison; tests only read it, or copy it."""
    folder = tmp_path_factory.mktemp("probe") / "out"
    given = {
        "methods": "untrained-mean,infonce-mean",
        "backbone": tiny_backbone,
        "triplets": tiny_triplets,
        "data-dir": tiny_sts,
        "budget": 32,
        "preset": "small",
        "tasks": "STS17,BIOSSES",
        "set": "infonce-mean.batch_size=16",
        "device": "cpu",
        "output": folder,
    }
    for spec in in_process.plan([f"--{name}={value}" for name, value in given.items()]):
        in_process.run(spec)
    return folder


@pytest.fixture
def output(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def distinct(folder: Path) -> list[str]:
    lines = [line for task in ("STS17", "BIOSSES") for line in (folder / f"{task}.test.jsonl").read_text().splitlines()]
    return sorted({json.loads(line)[side] for line in lines for side in ("sentence1", "sentence2")})


def test_every_run_leaves_a_measurement_of_its_own_encoder(finished: Path, tiny_sts: Path, tiny_backbone: Path) -> None:
    texts = distinct(tiny_sts)
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
    tokens = [len(tokenizer(text + ONE_WORD)["input_ids"]) for text in texts]
    records = read_records([finished])
    assert len(records) == 2
    for record in records:
        found = read_inference(record)
        assert found is not None
        assert (found.schema, found.texts, found.dimensions) == (1, len(texts), 32)
        assert found.evaluation_address == record.evaluation_address
        assert found.tokens_per_text == pytest.approx(np.mean(tokens))
        assert found.padded_tokens_per_text is not None
        assert found.padded_tokens_per_text >= np.mean(tokens)
        assert 3 <= len(found.passes) <= 5
        assert found.sentences_per_second == pytest.approx(len(texts) / median(found.passes))
        assert (found.device, found.threads) == (record.environment["device"], record.environment["threads"])
        assert found.precision == "float32"
        # The evaluation is charged for each text once, and not for the probe.
        assert record.costs.evaluation is not None
        assert record.costs.evaluation.texts == len(texts)
        assert record.costs.evaluation.tokens == sum(tokens)
        assert record.costs.evaluation.model_flops == pytest.approx((found.model_flops_per_text or 0) * len(texts))
        assert "inference probe" in (record.source.parent / "log.txt").read_text()


def test_the_command_measures_again(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {record.run: read_inference(record) for record in read_records([output])}
    for file in output.glob("runs/*/inference.json"):
        file.unlink()
    assert main([str(output), "--device=cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for number, record in enumerate(read_records([output]), 1):
        found, then = read_inference(record), before[record.run]
        assert found is not None
        assert then is not None
        assert (found.tokens_per_text, found.model_flops_per_text) == (then.tokens_per_text, then.model_flops_per_text)
        assert lines[number - 1].startswith(f"[{number}/2] {record.run}: ")
        assert f"{found.passes[0]:.2f}, {found.passes[1]:.2f}" in lines[number - 1]
    assert not list(output.glob("runs/*/.*"))


def test_what_was_not_scored_is_not_measured(output: Path, tiny_sts: Path, tmp_path: Path) -> None:
    (run,) = output.glob("runs/infonce-mean-*")
    stage = json.loads((run / "run.json").read_text())["training_address"]
    for file in output.glob("runs/*/inference.json"):
        file.unlink()
    # Another benchmark than the record's.
    other = tmp_path / "sts"
    shutil.copytree(tiny_sts, other)
    lines = (other / "STS17.test.jsonl").read_text().splitlines()
    (other / "STS17.test.jsonl").write_text("\n".join(lines[1:]))
    with pytest.raises(Problem, match="are not those that run infonce-mean"):
        main([str(run), "--device=cpu", f"--data-dir={other}"])
    # Another encoder.
    weights = output / "stages" / stage / "weights" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(Problem, match="not the one that run infonce-mean"):
        main([str(run), "--device=cpu"])
    assert not (run / "inference.json").exists()
    # One of several: the others are measured.
    assert main([str(output), "--device=cpu"]) == 1
    (good,) = output.glob("runs/untrained-mean-*")
    assert (good / "inference.json").is_file()
    assert not (run / "inference.json").exists()


class Plain:
    """An encoder that is not ours: what goes through it, nobody counts."""

    name, address, precision = "plain", "0", "its own"

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        if self.fails:
            raise RuntimeError("no vectors today")
        return np.ones((len(texts), 3), dtype=np.float32)


def test_of_a_model_that_is_not_ours_nothing_is_counted(tiny_sts: Path) -> None:
    benchmark = Benchmark("sts", ("STS17",), tiny_sts)
    found = probing.measure(Plain(), benchmark, "address", Engine())
    assert (found.tokens_per_text, found.padded_tokens_per_text, found.model_flops_per_text) == (None, None, None)
    assert (found.dimensions, found.precision, found.evaluation_address) == (3, "its own", "address")


def test_a_probe_that_fails_is_logged_and_leaves_no_file(
    tiny_sts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = Benchmark("sts", ("STS17",), tiny_sts)
    probing.probe_run(Plain(), benchmark, "address", Engine(), tmp_path)
    stored: dict[str, Any] = json.loads((tmp_path / "inference.json").read_text())
    assert stored["texts"] == len(set(benchmark.texts()))
    monkeypatch.setattr(logging.getLogger("genembench"), "propagate", True)
    with caplog.at_level(logging.INFO, "genembench"):
        probing.probe_run(Plain(fails=True), benchmark, "address", Engine(), tmp_path)
    assert "no vectors today" in caplog.text
    # Not even that of an earlier process: it would be taken for this one's.
    assert list(tmp_path.iterdir()) == []
