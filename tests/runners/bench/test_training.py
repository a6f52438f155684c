"""`genembench bench training`: both sides do the same work, and what does not is not timed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from benchmarks.training_data import load_training_data
from genembench.problem import Problem
from methods.untrained import ONE_WORD
from runners.bench import figures, library, ours, plain, products
from runners.bench.command import main
from runners.bench.sides import OnStep, Trained
from runners.bench.subject import Subject

Bench = Callable[..., Any]


@pytest.fixture
def bench(
    tiny_backbone: Path, tiny_triplets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Run the command on tiny things; two turns of a step of four triplets."""
    monkeypatch.setattr(products, "SQUARE", {"cpu": 64})
    monkeypatch.setattr(products, "SECONDS", {"cpu": 0.01})

    draw = figures.training

    def run(*arguments: str, code: int = 0, drawn: bool = False) -> dict[str, Any]:
        # A second of every test otherwise.
        monkeypatch.setattr(figures, "training", draw if drawn else lambda content: {})
        given = [f"--backbone={tiny_backbone}", f"--triplets={tiny_triplets}", "--batch=4", "--examples=4"]
        given += ["--repetitions=2", "--device=cpu", f"--output={tmp_path / 'out'}"]
        assert main(["training", *given, *arguments]) == code
        return read(tmp_path)

    return run


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "training.json").read_text())
    return found


def test_in_batch_beside_sentence_transformers(
    bench: Bench, tmp_path: Path, tiny_backbone: Path, tiny_triplets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = bench("--examples=8", drawn=True)
    assert (found["status"], found["agreement"]["agree"]) == ("done", True)
    assert set(found["sides"]) == {"genembench", "sentence-transformers"}
    for side in found["sides"].values():
        assert [len(turn["losses"]) for turn in side["turns"]] == [3, 3]
        assert [len(turn["step_seconds"]) for turn in side["turns"]] == [2, 2]
        # The same start each time, and the same batches: the losses come again.
        assert side["turns"][0]["losses"] == pytest.approx(side["turns"][1]["losses"], rel=1e-6)
    mine, theirs = (side["turns"][0]["losses"] for side in found["sides"].values())
    assert mine == pytest.approx(theirs, rel=1e-4)
    assert mine[0] != pytest.approx(mine[1], rel=1e-4)
    # Tokens are those of the timed rows alone: the second and the third batch.
    rows = load_training_data("triplets", tiny_triplets, mapping={}, seed=0, held_out=None).rows[4:12]
    texts = [text for row in rows for text in (row["query"], row["positive"], row["negative"][0])]
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
    tokens = sum(len(tokenizer(text + ONE_WORD)["input_ids"]) for text in texts)
    assert found["sides"]["genembench"]["turns"][0]["tokens"] == tokens
    seconds = [turn["seconds"] for turn in found["sides"]["genembench"]["turns"]]
    speed = found["sides"]["genembench"]["summary"]["tokens_per_second"]
    assert speed["highest"] == pytest.approx(tokens / min(seconds))
    shapes = found["products"]["the encoder's own products"]["shapes"]
    assert sorted({(inputs, outputs) for _, inputs, outputs, _ in shapes}) == [(32, 16), (32, 32), (32, 64), (64, 32)]
    assert {"threads", "processor", "load_before", "packages"} <= set(found["environment"])
    assert (tmp_path / "out" / "training.png").stat().st_size > 5_000
    assert (tmp_path / "out" / "training.pdf").read_bytes().startswith(b"%PDF")
    printed = capsys.readouterr().out
    assert "| sentence-transformers |" in printed
    assert "2 repetitions" in printed


@pytest.mark.parametrize("stage", ["align", "compress"])
def test_stages_beside_the_plain_implementation(bench: Bench, tiny_instruct: Path, stage: str) -> None:
    found = bench(
        f"--method=autoregembed:{stage}",
        f"--instruct={tiny_instruct}",
        "--gradient-checkpointing",
        "--micro-batch=3",
        "--repetitions=1",
    )
    mine, theirs = (found["sides"][name]["turns"][0]["losses"] for name in ("genembench", "plain"))
    assert mine == pytest.approx(theirs, rel=1e-4)
    assert found["subject"]["stage"] == stage
    assert found["subject"]["gradient_checkpointing"]


def test_cached_gradients_beside_the_cached_loss(bench: Bench) -> None:
    found = bench("--micro-batch=2", "--repetitions=1")
    mine, theirs = (side["turns"][0]["losses"] for side in found["sides"].values())
    assert found["subject"]["gradient_cache"]
    assert mine == pytest.approx(theirs, rel=1e-4)


def test_ours_alone_says_why(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    found = bench("--method=infonce-last", "--repetitions=1")
    assert list(found["sides"]) == ["genembench"]
    assert "in-batch" in found["absent"]["sentence-transformers"]
    assert "sentence-transformers takes no part" in capsys.readouterr().err


def test_other_losses_are_not_timed(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = library.train

    def other(subject: Subject, steps: int, on_step: OnStep) -> Trained:
        found = train(subject, steps, on_step)
        return Trained([loss + 0.01 for loss in found.losses])

    monkeypatch.setattr(library, "train", other)
    with pytest.raises(Problem, match="do not compute the same loss"):
        bench()
    found = read(tmp_path)
    assert (found["status"], found["agreement"]["agree"]) == ("failed", False)
    assert found["sides"]["genembench"]["turns"] == []


def test_losses_that_part_on_the_way_are_flagged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = library.train

    def parting(subject: Subject, steps: int, on_step: OnStep) -> Trained:
        found = train(subject, steps, on_step)
        return Trained([*found.losses[:1], *(loss + 0.01 for loss in found.losses[1:])])

    monkeypatch.setattr(library, "train", parting)
    found = bench("--repetitions=1", code=1)
    assert not found["agreement"]["agree"]
    assert "NOT of the same work" in capsys.readouterr().out


def test_an_interruption_leaves_what_was_measured(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, calls = ours.train, []

    def stopped(subject: Subject, steps: int, on_step: OnStep, shapes: Any = None) -> Trained:
        calls.append(steps)
        if len(calls) == 3:  # the check, the first turn, the second
            raise KeyboardInterrupt
        return train(subject, steps, on_step, shapes)

    monkeypatch.setattr(ours, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        bench()
    found = read(tmp_path)
    assert found["status"] == "interrupted"
    assert len(found["sides"]["genembench"]["turns"]) == 1
    assert found["sides"]["sentence-transformers"]["summary"]["seconds_over_ours"]["median"] > 0


def test_what_cannot_be_measured(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="trains nothing"):
        bench("--method=untrained-mean")
    with pytest.raises(Problem, match="unknown stage of autoregembed 'algin'"):
        bench("--method=autoregembed:algin")
    with pytest.raises(Problem, match="1,008 triplets are needed"):
        bench("--examples=1000")
    monkeypatch.setattr(plain, "REFERENCE", tmp_path / "none.py")
    with pytest.raises(Problem, match="plain implementation is not there"):
        bench("--method=autoregembed")
