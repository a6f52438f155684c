from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.training_data import TrainingData
from genembench.__main__ import run_command
from runners import interrupt, pretraining
from runners.interrupt import Interrupted
from runners.pretrain import SIZES, main, parser
from runners.pretraining import Pretraining, read_pretraining
from runners.trainer import Diverged
from tests.conftest import Command, write_lines

SMALL = ["--hidden=16", "--layers=1", "--heads=2", "--key-value-heads=1", "--intermediate=24", "--vocabulary=300"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    rows = [{"text": f"number {number} is {number % 7} more than a multiple of seven"} for number in range(40)]
    return write_lines(tmp_path / "text.jsonl", rows)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Pretraining, TrainingData, Path]]:
    """What the command would have trained; nothing is."""
    calls: list[tuple[Pretraining, TrainingData, Path]] = []
    monkeypatch.setattr(interrupt, "listen", lambda: None)
    monkeypatch.setattr(
        pretraining, "pretrain", lambda settings, data, folder, engine, label: calls.append((settings, data, folder))
    )
    return calls


def test_the_command_makes_a_backbone(genembench: Command, text: Path, tmp_path: Path) -> None:
    arguments = ["pretrain", f"--text={text}", "--output", "models/mine", *SMALL, "--epochs=2", "--batch-size=8"]
    done = genembench(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "backbone: models/mine\n"
    assert "text: 40 of 40 rows of" in done.stderr
    assert "nats a token on held-out text" in done.stderr
    record = read_pretraining(tmp_path / "models" / "mine")
    assert record is not None
    assert (record["texts"]["trained_on"], record["settings"]["shape"]["hidden"]) == (39, 16)
    assert (tmp_path / "models" / "mine" / "config.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output=new"], "no --text was given"),
        (["--text=text.jsonl"], "no --output was given"),
        (["--text=text.jsonl", "--output=text.jsonl"], "--output text.jsonl exists already"),
        (["--text=text.jsonl", "--output=."], "--output . exists already"),
        (["--text=txet.jsonl", "--output=new"], "txet.jsonl: no such file"),
        (["--text=text.jsonl", "--output=new", "--map=text=body"], "no field 'body'"),
        (["--text=text.jsonl", "--output=new", "--hidden=30"], "hidden=30 cannot be shared by 4 heads"),
        (["--text=text.jsonl", "--output=new", "--key-value-heads=3"], "4 heads cannot share 3 key-value heads"),
        (["--text=text.jsonl", "--output=new", "--vocabulary=258"], "a vocabulary of 258 has no room"),
        (["--text=text.jsonl", "--output=new", "--context=1"], "a context of 1 has no room"),
        (
            ["--text=text.jsonl", "--output=new", "--examples=41"],
            "--examples 41 is above the 40 usable rows of text.jsonl",
        ),
        (["--text=text.jsonl", "--output=new", "--learning-rate=0"], "learning_rate=0.0 cannot be trained with"),
        (["--text=text.jsonl", "--output=new", "--learning-rate=-1"], "learning_rate=-1.0 cannot be trained with"),
        (["--config=none.toml"], "--config none.toml: "),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    text: Path,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(text.parent)
    before = {path: path.stat().st_mtime_ns for path in text.parent.rglob("*")}
    monkeypatch.setattr(interrupt, "listen", lambda: pytest.fail("went on"))
    assert run_command(main, arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("genembench: ") or "\ngenembench: " in error
    assert said in error
    assert {path: path.stat().st_mtime_ns for path in text.parent.rglob("*")} == before


@pytest.mark.parametrize(
    "arguments",
    [["--context=0"], ["--hidden=-8"], ["--size=huge"], ["--examples=many"], ["--epochs=0"], ["--contxt=2"]],
)
def test_what_is_no_number_or_no_option_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--text=x", "--output=y", *arguments])
    assert caught.value.code == 2
    assert arguments[0].partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_its_numbers_and_its_learning_rate(
    text: Path, asked: list[tuple[Pretraining, TrainingData, Path]], size: str
) -> None:
    assert main([f"--text={text}", f"--output={text.parent / 'new'}", f"--size={size}"]) == 0
    ((settings, data, folder),) = asked
    assert {key: getattr(settings.shape, key) for key in SIZES[size]} == SIZES[size]
    assert settings.shape.context == 512
    assert settings.learning_rate == pytest.approx(0.384 / SIZES[size]["hidden"])
    assert (settings.batch_size, settings.epochs, settings.seed, len(data)) == (64, 1, 0, 40)
    assert folder == text.parent / "new"


def parameters(size: str) -> int:
    """Weights of a Llama with tied embeddings, counted by hand."""
    it = SIZES[size]
    narrow = it["hidden"] * it["key_value_heads"] // it["heads"]
    layer = 2 * it["hidden"] * (it["hidden"] + narrow) + 3 * it["hidden"] * it["intermediate"] + 2 * it["hidden"]
    return it["vocabulary"] * it["hidden"] + it["layers"] * layer + it["hidden"]


@pytest.mark.parametrize(("size", "millions"), [("tiny", 1), ("small", 7), ("medium", 30), ("large", 100)])
def test_the_sizes_are_about_as_large_as_is_said(size: str, millions: int) -> None:
    assert parameters(size) == pytest.approx(millions * 1e6, rel=0.15)


def test_every_number_can_be_given_by_itself_in_a_file_or_on_the_command_line(
    text: Path, asked: list[tuple[Pretraining, TrainingData, Path]], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"text: {text}\nsize: small\nhidden: 64\nlearning-rate: 2e-3\nexamples: 30\nkey_value_heads: 2\n")
    assert main([f"--config={file}", f"--output={tmp_path / 'new'}", "--learning-rate=5e-3", "--seed=7"]) == 0
    ((settings, data, _),) = asked
    assert settings.shape.hidden == 64
    assert settings.shape.key_value_heads == 2
    assert settings.shape.layers == SIZES["small"]["layers"]
    assert (settings.learning_rate, settings.seed, len(data)) == (5e-3, 7, 30)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Interrupted("stopped on request after step 3"), 130, "stopped on request after step 3"),
        (Diverged("stage pretrain, step 3: loss nan"), 1, "a smaller --learning-rate may help"),
    ],
)
def test_what_did_not_finish_says_so(
    text: Path,
    asked: list[Any],
    error: Exception,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(pretraining, "pretrain", fail)
    assert run_command(main, [f"--text={text}", f"--output={text.parent / 'new'}"]) == code
    out, err = capsys.readouterr()
    assert (out, said in err) == ("", True)


def test_the_defaults_in_the_help_are_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    default: Callable[[str], Any] = parser().get_default
    assert (default("context"), default("batch_size"), default("epochs"), default("seed")) == (512, 64, 1, 0)
    assert default("size") == "tiny"
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "longest input in tokens (512)",
        "texts in a step (64)",
        "passes over the texts (1)",
        "default: tiny",
    ):
        assert words in shown
