from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from genembench.problem import Problem
from methods.encoder import encoder_address, files_hash, load_encoder, make_encoder, write_manifest
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
