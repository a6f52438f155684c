"""Asking for help must not cost the seconds that the heavy libraries take to import."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import CHECKOUT, command_environment

HEAVY = {"torch", "mteb", "transformers", "sentence_transformers", "datasets", "scipy", "matplotlib", "accelerate"}
HEAVY |= {"pyarrow", "sklearn", "pandas"}

PROBE = """
import json, sys
sys.argv = ["genembench", *{arguments}]
try:
    {statement}
except SystemExit as leaving:
    assert not leaving.code, leaving.code
print(json.dumps(sorted(sys.modules)))
"""
COMMAND = "from genembench.__main__ import main; main()"


def modules_after(statement: str, *arguments: str) -> set[str]:
    probe = PROBE.format(arguments=list(arguments), statement=statement)
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=CHECKOUT, env=command_environment(), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["--version"],
        ["compare", "--help"],
        ["train", "--help"],
        ["evaluate", "--help"],
        ["leaderboard", "build", "--help"],
        ["verify", "--help"],
        ["probe", "--help"],
        ["export", "--help"],
        ["reconstruct", "--help"],
        ["methods", "--help"],
        ["pretrain", "--help"],
        ["demo", "--help"],
        ["doctor", "--help"],
        ["check", "--help"],
        ["new-method", "--help"],
        ["bench", "--help"],
    ],
    ids=" ".join,
)
def test_help_is_light(arguments: list[str]) -> None:
    assert modules_after(COMMAND, *arguments) & HEAVY == set()


def test_the_package_is_light() -> None:
    loaded = modules_after("import genembench")
    assert loaded & HEAVY == set()
    assert "numpy" not in loaded
    assert {name for name in loaded if name.partition(".")[0] in ("methods", "runners", "benchmarks")} == set()


def test_the_probe_sees_what_is_imported() -> None:
    assert "torch" in modules_after("import torch")
