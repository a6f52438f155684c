from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from genembench.problem import Problem
from methods import encoder as module
from methods.encoder import Encoder, encoder_address, files_hash, load_encoder, make_encoder, write_manifest
from methods.parts.forward import run_body
from methods.registry import discover
from tests.conftest import sentence

METHODS = ["untrained-last", "untrained-mean"]


def _texts(count: int = 40) -> Sequence[str]:
    source = random.Random(7)
    return [sentence(source, words=source.choice([0, 0, 30, 60])) for _ in range(count)]


@pytest.mark.parametrize("name", METHODS)
def test_a_vector_does_not_depend_on_neighbours_order_or_batch_size(tiny_backbone: Path, name: str) -> None:
    entry = discover().get(name)
    encoder = make_encoder(name, entry.create("paper"), entry.source, tiny_backbone)
    texts = _texts()
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    backwards = encoder.encode(texts[::-1])[::-1]
    crowded = encoder.encode(texts, max_tokens=100_000)
    for other in (alone, backwards, crowded):
        np.testing.assert_allclose(together, other, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_vector_does_not_depend_on_the_padding_side(tiny_backbone: Path, name: str, attention: str) -> None:
    entry = discover().get(name)
    method = entry.create("paper")
    encoder = make_encoder(name, method, entry.source, tiny_backbone)
    encoder.body.set_attn_implementation(attention)
    rows = method.tokenize(encoder.tokenizer, _texts(), "symmetric", "evaluate")
    with torch.no_grad():
        right = run_body(encoder.body, rows, method.readout, max_tokens=4000)
        left = run_body(encoder.body, rows, method.readout, max_tokens=4000, padding_side="left")
    torch.testing.assert_close(left, right, atol=5e-6, rtol=1e-5)


def test_texts_are_told_apart(tiny_backbone: Path) -> None:
    entry = discover().get("untrained-mean")
    encoder = make_encoder("untrained-mean", entry.create("paper"), entry.source, tiny_backbone)
    vectors = encoder.encode(["the cat sees a ball", "a pilot mends the engine", "the cat sees a ball"])
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-2
    assert encoder.encode([]).shape == (0, 32)


def test_an_encoder_goes_through_files_unchanged(tiny_backbone: Path, tmp_path: Path) -> None:
    entry = discover().get("untrained-last")
    method = entry.create("paper", {"max_length": 40})
    before = make_encoder("untrained-last", method, entry.source, tiny_backbone)
    folder = tmp_path / "encoder"
    folder.mkdir()
    shutil.copytree(tiny_backbone, tmp_path / "weights")
    write_manifest(folder, name="untrained-last", method=method, method_file=None, weights="../weights")
    after = load_encoder(folder)
    assert after.method == method
    assert after.address == before.address
    np.testing.assert_array_equal(after.encode(_texts()), before.encode(_texts()))


def test_a_folder_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="is not a genembench encoder"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text("{")
    with pytest.raises(Problem, match="cannot be read"):
        load_encoder(tmp_path)


def test_the_address_follows_weights_template_and_source_and_nothing_else(tiny_backbone: Path, tmp_path: Path) -> None:
    entry = discover().get("infonce-mean")
    weights = files_hash(tiny_backbone)
    base = encoder_address(weights, entry.create("paper"), "source")
    assert encoder_address(weights, entry.create("paper", {"learning_rate": "5"}), "source") == base
    assert encoder_address(weights, entry.create("paper", {"max_length": "64"}), "source") != base
    assert encoder_address(weights, entry.create("paper", {"prompt": " means"}), "source") != base
    assert encoder_address(weights, entry.create("paper"), "other") != base
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_backbone, copy)
    assert files_hash(copy) == weights
    with (copy / "config.json").open("a") as file:
        file.write(" ")
    assert files_hash(copy) != weights


class TestTokenisingAhead:
    """Several lots of five texts; what tokenises them is watched."""

    @pytest.fixture
    def encoder(self, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Encoder:
        monkeypatch.setattr(module, "TEXTS_AT_ONCE", 5)
        entry = discover().get("untrained-mean")
        made = make_encoder("untrained-mean", entry.create("paper"), entry.source, tiny_backbone)
        assert not made.tokenizes_ahead
        made.tokenizes_ahead = True
        return made

    @staticmethod
    def watch(encoder: Encoder, monkeypatch: pytest.MonkeyPatch, look: Callable[[Sequence[str]], None]) -> None:
        kind = type(encoder.method)
        own = kind.tokenize

        def tokenize(self: object, tokenizer: object, texts: Sequence[str], *others: object) -> object:
            look(texts)
            return own(self, tokenizer, texts, *others)  # type: ignore[arg-type]

        monkeypatch.setattr(kind, "tokenize", tokenize)

    @pytest.mark.parametrize("ahead", [True, False])
    def test_the_vectors_are_those_of_one_lot_after_the_other(self, encoder: Encoder, ahead: bool) -> None:
        encoder.tokenizes_ahead = ahead
        texts = sorted(_texts(23), key=len, reverse=True)
        method = encoder.method
        expected = []
        with torch.inference_mode():
            for start in range(0, 23, 5):
                rows = method.tokenize(encoder.tokenizer, texts[start : start + 5], "symmetric", "evaluate")
                expected.append(method.pool(run_body(encoder.body, rows, method.readout)).numpy())
        shuffled = random.Random(1).sample(range(23), 23)
        seen: list[tuple[int, int]] = []
        encoder.on_progress = lambda done, texts: seen.append((done, texts))
        found = encoder.encode([texts[i] for i in shuffled])
        np.testing.assert_array_equal(found, np.concatenate(expected)[shuffled])
        assert seen == [(5, 23), (10, 23), (15, 23), (20, 23), (23, 23)]

    def test_the_next_lot_is_made_meanwhile_and_no_more(
        self, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        second, begun, passes, ahead = threading.Event(), [0], [0], [0]

        def look(texts: Sequence[str]) -> None:
            begun[0] += 1
            ahead.append(begun[0] - passes[0])
            if begun[0] == 2:
                second.set()

        def passing(*arguments: object, **named: object) -> object:
            # Without a thread of its own, the second lot would begin after the first pass.
            assert second.wait(20)
            passes[0] += 1
            return run_body(*arguments, **named)  # type: ignore[arg-type]

        self.watch(encoder, monkeypatch, look)
        monkeypatch.setattr(module, "run_body", passing)
        encoder.encode(_texts(30))
        assert (begun[0], passes[0]) == (6, 6)
        assert max(ahead) == 2

    @pytest.mark.parametrize("error", [Problem("a text", "mend it"), KeyboardInterrupt()], ids=["problem", "ctrl-c"])
    def test_what_goes_wrong_comes_through_and_leaves_no_thread(
        self, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        lots: list[Sequence[str]] = []

        def look(texts: Sequence[str]) -> None:
            lots.append(texts)
            if len(lots) == 3 and isinstance(error, Problem):
                raise error

        def progress(done: int, texts: int) -> None:
            steps.append(done)
            if done == 10 and not isinstance(error, Problem):
                raise error

        steps: list[int] = []
        before = threading.active_count()
        self.watch(encoder, monkeypatch, look)
        encoder.on_progress = progress
        with pytest.raises(type(error)) as raised:
            encoder.encode(_texts(30))
        assert raised.value is error
        assert steps == [5, 10]
        assert threading.active_count() == before
