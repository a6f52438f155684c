"""Runs on two processes from the plan to the record: the same scores, and what happens when one of the two fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runners.processes import run_in_process, start_server
from tests.conftest import CHECKOUT, Command, command_environment
from tests.runners import in_process

FAILS = """
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist

from methods.infonce import InfoNCE
from methods.registry import register
from methods.stages.contrast import Contrast


class Failing(Contrast):
    # A stage of another name has an address of its own.
    name = "failing"

    def collate(self, examples, tokenizer):
        if dist.is_initialized() and dist.get_rank() == RANK:
            HERE
        return super().collate(examples, tokenizer)


@register("failing", readout_kind="mean", in_batch=True)
@dataclass(frozen=True, kw_only=True)
class FailingMethod(InfoNCE):
    def stages(self):
        (stage,) = super().stages()
        return (Failing(**vars(stage)),)
"""


@pytest.fixture(scope="module", autouse=True)
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The fork server, with one thread a process and the hub out of reach, as the command's."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in command_environment().items():
            patch.setenv(name, value)
        start_server()
        yield


@pytest.fixture
def options(
    tiny_backbone: Path, tiny_triplets: Path, tiny_instruct: Path, tiny_sts: Path, tmp_path: Path
) -> dict[str, str]:
    return {
        "methods": "infonce-inbatch-mean",
        "backbone": str(tiny_backbone),
        "triplets": str(tiny_triplets),
        "instruct": str(tiny_instruct),
        "budget": "triplets=40,instruct=20",
        "preset": "small",
        "set": "*.batch_size=16",
        "benchmark": "sts",
        "tasks": "STS16,BIOSSES",
        "data-dir": str(tiny_sts),
        "output": str(tmp_path / "results"),
    }


def _run(options: dict[str, str], **more: str) -> dict[str, Any]:
    (spec,) = in_process.plan([f"--{name}={value}" for name, value in (options | more).items()])
    run_in_process(spec)
    record: dict[str, Any] = json.loads((spec.folder / "run.json").read_text(encoding="utf-8"))
    assert not spec.partial.exists()
    return record


@pytest.mark.parametrize("more", [{"processes": "2"}, {"processes": "2", "deepspeed": "zero2"}], ids=["ddp", "zero2"])
def test_two_processes_make_the_run_of_one(options: dict[str, str], more: dict[str, str], tmp_path: Path) -> None:
    # Two stages, and a preparation between them.
    method = {"methods": "autoregembed", "set": "autoregembed.align_batch_size=16", "micro-batch": "4"}
    alone = _run(options | method)
    together = _run(options | method | more | {"output": str(tmp_path / "together")})
    assert together["status"] == alone["status"] == "done", together["reason"]
    assert together["engine"]["processes"] == 2
    for one, other in zip(alone["scores"], together["scores"], strict=True):
        assert other["task"] == one["task"]
        assert other["score"] == pytest.approx(one["score"], abs=0.01)
    for one, other in zip(alone["costs"]["stages"], together["costs"]["stages"], strict=True):
        assert other["name"] == one["name"]
        for what in ("examples_seen", "unique_examples", "optimizer_steps", "real_tokens"):
            assert other["costs"][what] == one["costs"][what], what
        assert other["costs"]["model_flops"] == pytest.approx(one["costs"]["model_flops"])
    # What was encoded for the scores was counted on both.
    for what in ("texts", "tokens", "model_flops"):
        assert together["costs"]["evaluation"][what] == pytest.approx(alone["costs"]["evaluation"][what])


@pytest.mark.parametrize(
    ("rank", "what", "reason"),
    [
        (1, "raise ValueError('no more ink')", "process 1: ValueError: no more ink"),
        (1, "os.kill(os.getpid(), 9)", r"process 1: was killed \(signal 9\)"),
        (0, "os.kill(os.getpid(), 9)", r"process 0: was killed \(signal 9\)"),
    ],
    ids=["raises", "killed", "the first is killed"],
)
def test_a_process_that_fails_takes_the_other_with_it(
    options: dict[str, str], tmp_path: Path, rank: int, what: str, reason: str
) -> None:
    file = tmp_path / "failing.py"
    file.write_text(FAILS.replace("HERE", what).replace("RANK", str(rank)), encoding="utf-8")
    record = _run(options, **{"methods": "failing", "method-file": str(file), "processes": "2"})
    assert record["status"] == "failed"
    assert re.search(reason, record["reason"]), record["reason"]


def test_processes_that_run_out_of_memory_start_again_with_less(
    options: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "failing.py"
    here = "if len(examples) > 2: raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')"
    file.write_text(FAILS.replace("HERE", here).replace("RANK", "1"), encoding="utf-8")
    record = _run(options, **{"methods": "failing", "method-file": str(file), "processes": "2"})
    assert record["status"] == "done", record["reason"]
    assert [f"--micro-batch {n}" in capsys.readouterr().err for n in (4,)] == [True]
    assert record["engine"]["micro_batch"] == 2


def test_torchrun_starts_the_processes(options: dict[str, str], genembench: Command, tmp_path: Path) -> None:
    arguments = [f"--{name}={value}" for name, value in options.items() if name not in ("methods", "tasks", "data-dir")]
    arguments = [one for one in arguments if not one.startswith("--benchmark")]
    program = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "genembench")
    finished = genembench("train", "--method", "infonce-inbatch-mean", *arguments, program=program, cwd=CHECKOUT)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("encoder: ") == 1
    (record,) = Path(options["output"]).glob("runs/*/run.json")
    written = json.loads(record.read_text(encoding="utf-8"))
    assert (written["status"], written["engine"]["processes"]) == ("done", 2)
