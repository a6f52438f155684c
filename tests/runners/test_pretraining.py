from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.training_data import TrainingData, load_training_data
from genembench.problem import Problem
from methods.parts.backbone import load_model, load_tokenizer
from methods.parts.cross_entropy import KERNELS, by_torch
from methods.parts.tokens import TokenRow
from runners import interrupt, pretraining
from runners.backbones import resolve_backbone
from runners.engine import Engine
from runners.interrupt import Interrupted
from runners.new_backbone import Shape, learn_tokenizer
from runners.pretraining import RECORD, NextToken, Pretraining, pretrain, read_pretraining
from runners.progress import Progress
from tests.conftest import sentence, write_lines

TINY = Shape(hidden=16, layers=1, heads=2, key_value_heads=1, intermediate=24, vocabulary=320, context=24)
SETTINGS = Pretraining(shape=TINY, learning_rate=1e-2, batch_size=8, epochs=2)
ENGINE = Engine(checkpoint_seconds=1000)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    source = random.Random(3)
    # Some are longer than the context.
    rows = [{"text": sentence(source, words=30 if number % 4 == 0 else 0)} for number in range(60)]
    file = write_lines(tmp_path_factory.mktemp("text") / "text.jsonl", rows)
    return load_training_data("text", file, mapping={}, seed=0, held_out=None)


@pytest.fixture(scope="module")
def finished(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pre-training that was never interrupted; tests only read it."""
    folder = tmp_path_factory.mktemp("pretraining") / "backbone"
    pretrain(SETTINGS, data, folder, ENGINE, "whole")
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


def losses(folder: Path) -> list[float]:
    lines = (folder / RECORD).with_name("metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def equal(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return all(torch.equal(value, second[name]) for name, value in first.items())


def stage(data: TrainingData, **changes: Any) -> NextToken:
    return NextToken(replace(SETTINGS, **changes), tuple(row["text"] for row in data.rows), torch.device("cpu"))


def test_the_folder_is_a_backbone(finished: Path) -> None:
    backbone = resolve_backbone(str(finished), Engine())
    # Embeddings (320 or fewer tokens), one layer, the last norm.
    vocabulary = len(load_tokenizer(finished))
    assert backbone.parameters == vocabulary * 16 + (2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 24 + 2 * 16) + 16
    tokenizer = load_tokenizer(finished)
    for text in ("the cat sees a ball", "caf\u00e9 \U0001f98a \u4f60"):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert load_model(finished, device=torch.device("cpu"), head=True).config.max_position_embeddings == 24
    # Nothing else is left: neither checkpoints nor the folder of the unfinished.
    left = {path.name for path in finished.parent.iterdir() if path.suffix != ".lock"}
    assert left == {"backbone"}
    assert not list(finished.glob("checkpoint-*"))


def test_the_loss_falls(finished: Path) -> None:
    found = losses(finished)
    # 59 texts in steps of 8, twice.
    assert len(found) == 16
    assert sum(found[-4:]) < 0.85 * sum(found[:4])


def test_the_record_says_what_was_done(finished: Path, data: TrainingData) -> None:
    record = read_pretraining(finished)
    assert record is not None
    assert record["settings"]["shape"]["hidden"] == 16
    assert record["settings"]["epochs"] == 2
    # One in a hundred of sixty, at least one.
    assert record["texts"] == {"source": data.path, "address": data.address, "trained_on": 59, "held_out": 1}
    assert record["costs"]["unique_examples"] == {"text": 59}
    assert record["costs"]["examples_seen"] == {"text": 118}
    assert record["costs"]["optimizer_steps"] == 16
    assert record["precision"] == "float32"
    assert record["address"] == SETTINGS.address(data, "float32")
    assert read_pretraining(finished.parent) is None


def test_the_loss_of_held_out_texts_is_the_one_of_transformers(finished: Path, data: TrainingData) -> None:
    model: Any = load_model(finished, device=torch.device("cpu"), head=True)
    total, count = 0.0, 0
    for row in stage(data).collate(data.rows[59:], load_tokenizer(finished)):
        ids = torch.tensor([row.ids])
        with torch.no_grad():
            total += model(input_ids=ids, labels=ids).loss.item() * (len(row) - 1)
        count += len(row) - 1
    record = read_pretraining(finished)
    assert record is not None
    assert record["held_out_loss"] == pytest.approx(total / count, rel=1e-5)


def test_held_out_texts_are_trained_on_by_nothing(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    learnt: list[str] = []
    collate = NextToken.collate

    def watched(self: NextToken, examples: Any, tokenizer: Any) -> list[TokenRow]:
        if torch.is_grad_enabled():
            seen.update(example["text"] for example in examples)
        return collate(self, examples, tokenizer)

    def learn(texts: Any, shape: Shape) -> Any:
        learnt.extend(texts)
        return learn_tokenizer(texts, shape)

    monkeypatch.setattr(NextToken, "collate", watched)
    monkeypatch.setattr(pretraining, "learn_tokenizer", learn)
    monkeypatch.setattr(pretraining, "HELD_OUT", 0.2)
    pretrain(replace(SETTINGS, epochs=1), data, tmp_path / "backbone", ENGINE, "watched")
    record = read_pretraining(tmp_path / "backbone")
    assert record is not None
    assert (record["texts"]["trained_on"], record["texts"]["held_out"]) == (48, 12)
    assert seen == set(learnt) == {row["text"] for row in data.rows[:48]}
    assert seen & {row["text"] for row in data.rows[48:]} == set()


def test_a_single_text_is_trained_on_and_nothing_is_held_out(data: TrainingData, tmp_path: Path) -> None:
    pretrain(replace(SETTINGS, epochs=1), data.take(1), tmp_path / "backbone", ENGINE, "one")
    record = read_pretraining(tmp_path / "backbone")
    assert record is not None
    assert (record["texts"]["trained_on"], record["held_out_loss"]) == (1, None)


@pytest.mark.parametrize("context", [2, 3, 7, 24, 1000])
def test_long_texts_become_rows_that_lose_and_repeat_no_token(data: TrainingData, context: int) -> None:
    made = stage(data, shape=replace(TINY, context=context))
    tokenizer = learn_tokenizer(made.texts, TINY)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    for row in data.rows[:8]:
        pieces = made.collate([row], tokenizer)
        assert all(2 <= len(piece) <= context and piece.ids[0] == start for piece in pieces)
        assert all(piece.content == [True] * len(piece) for piece in pieces)
        # Full but for the last.
        assert {len(piece) for piece in pieces[:-1]} <= {context}
        ids = [token for piece in pieces for token in piece.ids[1:]]
        assert ids == [*tokenizer(row["text"], add_special_tokens=False)["input_ids"], end]
        assert made.weigh(pieces) == {"next_token": len(ids)}
    together = made.collate(data.rows[:8], tokenizer)
    assert together == [piece for row in data.rows[:8] for piece in made.collate([row], tokenizer)]


class Killed(Exception):
    pass


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the training die right after a step; the function returned lets it live again."""

    class Deadly(Progress):
        def to(self, done: int, note: str = "") -> None:
            if done == step:
                raise Killed

    monkeypatch.setattr(pretraining, "Progress", Deadly)
    return lambda: monkeypatch.setattr(pretraining, "Progress", Progress)


@pytest.mark.parametrize("step", [1, 5, 16])
def test_a_killed_training_goes_on_bit_for_bit(
    data: TrainingData, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    folder = tmp_path / "backbone"
    revive = kill_at(step, monkeypatch)
    with pytest.raises(Killed):
        pretrain(SETTINGS, data, folder, replace(ENGINE, checkpoint_seconds=0), "killed")
    assert not folder.exists()
    assert [path.name for path in (tmp_path / ".partial-backbone").glob("checkpoint-*")] == [f"checkpoint-{step:09d}"]
    revive()
    pretrain(SETTINGS, data, folder, ENGINE, "resumed")
    assert equal(folder, finished)
    assert losses(folder) == losses(finished)
    one, other = (read_pretraining(each) for each in (folder, finished))
    assert one is not None
    assert other is not None
    assert one["held_out_loss"] == other["held_out_loss"]
    for key in ("real_tokens", "padded_tokens", "optimizer_steps", "model_flops", "examples_seen"):
        assert one["costs"][key] == other["costs"][key]


def test_a_training_that_is_asked_to_stop_leaves_a_checkpoint(
    data: TrainingData, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backbone"
    monkeypatch.setattr(interrupt, "asked", lambda: True)
    with pytest.raises(Interrupted, match="after step 1"):
        pretrain(SETTINGS, data, folder, ENGINE, "stopped")
    assert (tmp_path / ".partial-backbone" / "checkpoint-000000001").is_dir()
    monkeypatch.undo()
    pretrain(SETTINGS, data, folder, ENGINE, "resumed")
    assert equal(folder, finished)


def test_equal_trainings_are_one_backbone_wherever_they_stand(
    data: TrainingData, finished: Path, tmp_path: Path
) -> None:
    pretrain(SETTINGS, data, tmp_path / "elsewhere", ENGINE, "again")
    # Seconds and paths, which differ, are no part of the address that a backbone has in every record.
    one, other = (resolve_backbone(str(folder), Engine()).address for folder in (finished, tmp_path / "elsewhere"))
    assert one == other
    pretrain(replace(SETTINGS, seed=1), data, tmp_path / "other", ENGINE, "other")
    assert resolve_backbone(str(tmp_path / "other"), Engine()).address != one


def test_micro_batches_and_recomputed_activations_train_the_same(
    data: TrainingData, finished: Path, tmp_path: Path
) -> None:
    engine = replace(ENGINE, micro_batch=3, gradient_checkpointing=True)
    pretrain(SETTINGS, data, tmp_path / "backbone", engine, "parts")
    assert losses(tmp_path / "backbone") == pytest.approx(losses(finished), rel=1e-3)


def test_the_engines_cross_entropy_reaches_the_head(
    data: TrainingData, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []

    def stand_in(logits_NV: torch.Tensor, ids_N: torch.Tensor, softcap: float | None) -> torch.Tensor:
        asked.append(softcap)
        return by_torch(logits_NV, ids_N, softcap)

    monkeypatch.setitem(KERNELS, "liger", stand_in)
    pretrain(SETTINGS, data, tmp_path / "backbone", replace(ENGINE, cross_entropy="liger"), "another kernel")
    assert set(asked) == {None}
    assert equal(tmp_path / "backbone", finished)


def test_the_address_follows_what_determines_the_weights(data: TrainingData) -> None:
    base = SETTINGS.address(data, "float32")
    others = [
        SETTINGS.address(data, "bfloat16"),
        SETTINGS.address(data.take(59), "float32"),
        replace(SETTINGS, seed=1).address(data, "float32"),
        replace(SETTINGS, learning_rate=2e-2).address(data, "float32"),
        replace(SETTINGS, shape=replace(TINY, context=25)).address(data, "float32"),
    ]
    assert len({base, *others}) == 6
    assert replace(SETTINGS).address(data, "float32") == base


def test_an_unfinished_training_of_other_settings_is_left_alone(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backbone"
    revive = kill_at(3, monkeypatch)
    with pytest.raises(Killed):
        pretrain(SETTINGS, data, folder, replace(ENGINE, checkpoint_seconds=0), "killed")
    revive()
    before = {path: path.read_bytes() for path in (tmp_path / ".partial-backbone").rglob("*") if path.is_file()}
    for settings, texts in ((replace(SETTINGS, seed=1), data), (SETTINGS, data.take(40))):
        with pytest.raises(Problem, match="unfinished pre-training with other settings or texts"):
            pretrain(settings, texts, folder, ENGINE, "other")
    assert before == {path: path.read_bytes() for path in before}
    assert not folder.exists()


def test_what_stands_is_not_trained_again_and_other_settings_are_refused(
    data: TrainingData, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "_pretrain", lambda *_: pytest.fail("trained again"))
    pretrain(SETTINGS, data, finished, ENGINE, "again")
    with pytest.raises(Problem, match="was pre-trained with other settings or texts"):
        pretrain(replace(SETTINGS, seed=1), data, finished, ENGINE, "other")


HOLDER = """
import shutil, sys, time
from pathlib import Path
from filelock import FileLock

finished, folder = Path(sys.argv[1]), Path(sys.argv[2])
with FileLock(folder.parent / f".{folder.name}.lock"):
    print("held", flush=True)
    while not (folder.parent / "go").exists():
        time.sleep(0.01)
    shutil.copytree(finished, folder)
"""


def test_a_second_process_waits_for_the_first_instead_of_training_too(
    data: TrainingData, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backbone"
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        assert not folder.exists()
        (tmp_path / "go").touch()

    monkeypatch.setattr(pretraining, "say", hear)
    monkeypatch.setattr(pretraining, "_pretrain", lambda *_: pytest.fail("trained twice"))
    command = [sys.executable, "-c", HOLDER, str(finished), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        pretrain(SETTINGS, data, folder, ENGINE, "second")
        assert first.wait(timeout=10) == 0
    assert said == ["second: another process is at it; waiting for it"]
    assert read_pretraining(folder) == read_pretraining(finished)
    # The lock is free again, at once.
    pretrain(SETTINGS, data, folder, ENGINE, "third")
    assert len(said) == 1


def test_tensorboard_events_are_kept(data: TrainingData, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    engine = replace(ENGINE, tensorboard=True)
    pretrain(replace(SETTINGS, epochs=1), data.take(9), tmp_path / "backbone", engine, "events")
    assert list((tmp_path / "backbone" / RECORD).parent.glob("tensorboard/events.*"))
