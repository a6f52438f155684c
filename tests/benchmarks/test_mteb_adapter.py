from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.mteb_adapter import MtebEncoder, quiet_mteb, role_of
from benchmarks.protocol import Role, UnusableVectorsError


class Recorder:
    """Gives each text the vector (its length, 1) and remembers what it was asked."""

    name = "a method / 7B (seed 1)"
    address = "abc123"
    precision = "float32"

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], str]] = []

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        self.asked.append((list(texts), role))
        return np.array([[len(text), 1] for text in texts], dtype=np.float32)


class Broken(Recorder):
    def __init__(self, vectors: Any) -> None:
        super().__init__()
        self.vectors = vectors

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        return np.array(self.vectors, dtype=np.float32)


def test_each_text_is_encoded_once_per_role_and_comes_back_in_order() -> None:
    recorder = Recorder()
    adapter = MtebEncoder(recorder)
    adapter.prime(["ccc", "a", "ccc"], "symmetric")
    batches = [{"text": ["a", "bb"]}, {"text": ["ccc", "a", "bb"]}]
    vectors = adapter.encode(batches, task_metadata=None, hf_split="test", hf_subset="default", batch_size=2)
    assert vectors[:, 0].tolist() == [1, 2, 3, 1, 2]
    query: Any = SimpleNamespace(value="query")
    adapter.encode(batches[:1], prompt_type=query)
    assert recorder.asked == [(["ccc", "a"], "symmetric"), (["bb"], "symmetric"), (["a", "bb"], "query")]
    adapter.forget()
    adapter.prime(["a"], "query")
    assert recorder.asked[-1] == (["a"], "query")


def test_vectors_are_held_within_bounds_and_are_never_another_encoders() -> None:
    recorder = Recorder()
    adapter = MtebEncoder(recorder)
    adapter.prime(["a", "bb"], "symmetric")
    adapter.forget_beyond(2 * 2 * 4)  # Two vectors of two float32 are not beyond it.
    adapter.prime(["a"], "symmetric")
    assert len(recorder.asked) == 1
    adapter.prime(["ccc"], "symmetric")
    adapter.forget_beyond(2 * 2 * 4)
    adapter.prime(["a"], "symmetric")
    assert [texts for texts, _ in recorder.asked] == [["a", "bb"], ["ccc"], ["a"]]
    for change in ({"address": "other weights"}, {"precision": "bfloat16"}):
        vars(recorder).update(change)
        adapter.prime(["a"], "symmetric")
        adapter.prime(["a"], "symmetric")
    assert [texts for texts, _ in recorder.asked[3:]] == [["a"], ["a"]]


def test_mtebs_prompt_types_are_our_roles() -> None:
    from mteb.types import PromptType

    assert [role_of(kind) for kind in (PromptType.query, PromptType.document, None)] == [
        "query",
        "document",
        "symmetric",
    ]


def test_mteb_takes_it_for_an_encoder_with_a_name_and_revision_of_its_own() -> None:
    from mteb.models import EncoderProtocol

    adapter = MtebEncoder(Recorder())
    assert isinstance(adapter, EncoderProtocol)
    meta = adapter.mteb_model_meta
    assert (meta.name, meta.revision) == ("genembench/a-method-7B-seed-1", "abc123")


def test_similarities_are_cosines() -> None:
    adapter = MtebEncoder(Recorder())
    one = np.array([[3.0, 4.0], [1.0, 0.0]], dtype=np.float32)
    two = np.array([[0.0, 2.0], [5.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(adapter.similarity(one, two), [[0.8, 0.6], [0.0, 1.0]], atol=1e-6)
    np.testing.assert_allclose(adapter.similarity_pairwise(one, two), [0.8, 1.0], atol=1e-6)


@pytest.mark.parametrize(
    ("vectors", "complaint"),
    [
        ([[1, 2]], r"2 texts became an array of shape \[1, 2\]"),
        ([1, 2], r"2 texts became an array of shape \[2\]"),
        ([[1, 2], [np.nan, 0]], "1 of 2 vectors are not finite, the first for 'second'"),
    ],
)
def test_unusable_vectors_are_refused(vectors: Any, complaint: str) -> None:
    with pytest.raises(UnusableVectorsError, match=complaint):
        MtebEncoder(Broken(vectors)).prime(["first", "second"], "symmetric")


def test_mteb_is_quiet_and_everything_is_as_before_afterwards() -> None:
    import datasets
    import torch

    def states() -> list[str]:
        return [
            str(random.getstate()),
            str(np.random.get_state()),
            str(torch.get_rng_state().tolist()),
            str(logging.getLogger("mteb").level),
            str(datasets.are_progress_bars_disabled()),
        ]

    before = states()
    with quiet_mteb():
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        assert datasets.are_progress_bars_disabled()
        assert not logging.getLogger("mteb").isEnabledFor(logging.WARNING)
    assert states() == before
