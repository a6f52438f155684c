from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks.demo.rows import triplets
from benchmarks.demo.tasks import sts_pairs
from benchmarks.kinds import normalise
from benchmarks.order import example_id
from genembench.problem import Problem
from methods.encoder import make_encoder
from methods.registry import MethodEntry, discover
from runners.contract_checks.subject import make_backbone
from runners.engine import Engine
from runners.new_method import TEMPLATE, write
from runners.outcomes import StageData, StageOutcome
from runners.stages import FromFiles, train_stage
from tests.conftest import CHECKOUT, Command
from tests.test_import_cost import COMMAND, HEAVY, modules_after


def test_the_command_writes_a_file_and_says_what_comes_next(genembench: Command, tmp_path: Path) -> None:
    result = genembench("new-method", "soft-pull-2", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["soft_pull_2.py"]
    text = (tmp_path / "soft_pull_2.py").read_text(encoding="utf-8")
    assert '@register("soft-pull-2", ' in text
    assert "class SoftPull2(Method):" in text
    assert "method: SoftPull2\n" in text
    assert "my-method" not in text
    assert "MyMethod" not in text
    assert "mypy" not in text
    assert text.count("\n") < 60
    commands = [line.strip() for line in result.stdout.splitlines() if line.startswith("  ")]
    assert commands == [
        "genembench check soft_pull_2.py",
        "genembench compare --method-file soft_pull_2.py --methods soft-pull-2,untrained-mean,infonce-inbatch-mean",
    ]
    assert "docs/contract.md" in result.stdout


def test_it_is_written_without_waiting_for_torch(tmp_path: Path) -> None:
    assert modules_after(COMMAND, "check", "--help") & HEAVY == set()
    assert "torch" not in modules_after(COMMAND, "new-method", "mine", "--output", str(tmp_path / "mine.py")) & HEAVY


def test_the_example_pleases_the_linter(tmp_path: Path) -> None:
    file = write("my-own", tmp_path / "my_own.py")
    for command in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--config", CHECKOUT / "pyproject.toml", file],
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My Method", "Take my-method: "),
        ("MyMethod", "Take my-method: "),
        ("my_method", "Take my-method: "),
        ("-x", "Take x: "),
        ("2fast", "Lower-case letters"),
        ("", "Lower-case letters"),
        ("random", "my-random"),
        ("torch", "my-torch"),
        ("methods", "my-methods"),
        ("lambda", "my-lambda"),
    ],
)
def test_names_that_cannot_be(name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Problem) as raised:
        write(name)
    assert said in raised.value.hint
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("precious")
    with pytest.raises(Problem, match="exists already"):
        write("mine", file)
    assert file.read_text() == "precious"
    with pytest.raises(Problem, match="there is no folder"):
        write("mine", tmp_path / "no" / "mine.py")
    with pytest.raises(Problem, match="is not a Python file"):
        write("mine", tmp_path / "mine.txt")


def test_a_file_beside_it_is_no_module_that_it_hides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `python -m genembench` the working directory is on the path: what was written there yesterday is ours."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "sub").mkdir()
    assert write("mine", Path("sub/mine.py")).is_file()


def _trained(entry: MethodEntry, backbone: Path, folder: Path, count: int) -> Path:
    rows = [normalise("triplets", row, "the demo") for row in islice(triplets(), count)]
    ids = tuple(example_id("triplets", row) for row in rows)
    outcomes: list[StageOutcome] = []
    (stage,) = entry.create("small").stages()
    train_stage(
        stage,
        "address",
        label="test",
        start=FromFiles(backbone, backbone, Engine()),
        data=StageData("triplets", ids, tuple(rows)),
        engine=Engine(),
        seed=0,
        stages=folder,
        payer="test",
        outcomes=outcomes,
    )
    return outcomes[0].weights


def test_the_example_beats_the_untrained_backbone_on_the_demo(tmp_path: Path) -> None:
    """A tiny random backbone and 600 triplets: 15 points of Spearman's correlation (x 100) before, 44 after."""
    entry = discover([write("mine", tmp_path / "mine.py")]).get("mine")
    backbone = make_backbone(tmp_path / "backbone")
    pairs = sts_pairs("DemoParaphrase")

    def score(weights: Path) -> float:
        encoder = make_encoder(entry.name, entry.create("small"), entry.source, weights)
        first, second = (encoder.encode([getattr(p, side) for p in pairs]) for side in ("sentence1", "sentence2"))
        return float(spearmanr(np.sum(first * second, axis=1), [pair.score for pair in pairs])[0])

    untrained = score(backbone)
    assert score(_trained(entry, backbone, tmp_path / "stages", 600)) > untrained + 0.15


def test_the_template_is_a_method_itself() -> None:
    assert discover([TEMPLATE]).get("my-method").origin == str(TEMPLATE)
