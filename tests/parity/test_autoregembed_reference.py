"""The plain implementation computes what the authors' code computed: only then may ours be held against it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from tests.parity.recording import Recording, assert_close, assert_gradients
from tests.reference import autoregembed as plain


@pytest.fixture(scope="module")
def tokenizer(recorded: Recording) -> Any:
    return AutoTokenizer.from_pretrained(recorded.folder / "encoder")


@pytest.fixture(scope="module")
def embed_ids(recorded: Recording, tokenizer: Any) -> list[int]:
    return plain.compressed_token_ids(tokenizer, recorded.cases["num_compress_tokens"])


@pytest.fixture(scope="module")
def decoder(recorded: Recording) -> Any:
    model = AutoModelForCausalLM.from_pretrained(recorded.backbone, dtype=torch.float32)
    return model.eval().requires_grad_(False)


def encoder(recorded: Recording, name: str) -> Any:
    return AutoModel.from_pretrained(recorded.folder / name, dtype=torch.float32).eval()


def column(recorded: Recording, group: str, key: str) -> list[Any]:
    return [case[key] for case in recorded.cases[group]]


def alignment_logp(recorded: Recording, body: Any, decoder: Any, embed_ids: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    keys = ("query_ids", "positive_ids", "positive_target_ids", "negative_target_ids")
    queries, positives, positive_targets, negative_targets = (column(recorded, "alignment", key) for key in keys)
    return plain.alignment_logp(body, decoder, queries, positives, positive_targets, [negative_targets], embed_ids)


def test_token_ids_of_compression(recorded: Recording, tokenizer: Any) -> None:
    for case in recorded.cases["information_compression"]:
        assert plain.training_ids(tokenizer, case["context"], case["instruction"]) == case["input_ids"]
        assert plain.target_ids(tokenizer, case["output"]) == case["target_ids"]


def test_token_ids_of_alignment(recorded: Recording, tokenizer: Any) -> None:
    prompt = recorded.cases["prompt"]
    for case in recorded.cases["alignment"]:
        assert plain.training_ids(tokenizer, case["query"], prompt) == case["query_ids"]
        assert plain.training_ids(tokenizer, case["pos"], prompt) == case["positive_ids"]
        assert plain.target_ids(tokenizer, case["pos"]) == case["positive_target_ids"]
        assert plain.target_ids(tokenizer, case["neg"]) == case["negative_target_ids"]


def test_token_ids_of_evaluation(recorded: Recording, tokenizer: Any) -> None:
    prompt, longest = recorded.cases["prompt"], recorded.cases["max_length"]
    for case in recorded.cases["encode"]:
        assert plain.evaluation_ids(tokenizer, case["text"], prompt, longest) == case["input_ids"]


def test_compression(recorded: Recording, decoder: Any, embed_ids: list[int]) -> None:
    body = encoder(recorded, "encoder")
    rows, targets = (column(recorded, "information_compression", key) for key in ("input_ids", "target_ids"))
    loss = plain.compression_loss(body, decoder, rows, targets, embed_ids)
    loss.backward()
    assert_close("ic.loss", loss, recorded.expected["ic.loss"])
    assert_gradients(body, recorded.gradients("ic"))


def test_reference_scores(recorded: Recording, decoder: Any, embed_ids: list[int]) -> None:
    keys = ("query_ids", "positive_target_ids", "negative_target_ids")
    queries, positive_targets, negative_targets = (column(recorded, "alignment", key) for key in keys)
    body = encoder(recorded, "encoder")
    got = plain.reference_logp(body, decoder, queries, positive_targets, [negative_targets], embed_ids)
    assert_close("cda.reference_logp", got, recorded.expected["cda.reference_logp"])


def test_scores_of_alignment(recorded: Recording, decoder: Any, embed_ids: list[int]) -> None:
    body = encoder(recorded, "encoder_moved")
    next_positive_B, own_positive_B, next_negative_Bn = alignment_logp(recorded, body, decoder, embed_ids)
    for name, got in (
        ("query_to_positive", next_positive_B),
        ("positive_to_positive", own_positive_B),
        ("query_to_negative", next_negative_Bn[:, 0]),
    ):
        assert_close(name, got, recorded.expected[f"cda.logp.{name}"])


@pytest.mark.parametrize(("name", "sign"), [("paper", "paper"), ("official_code", "released")])
def test_alignment(recorded: Recording, decoder: Any, embed_ids: list[int], name: str, sign: plain.Sign) -> None:
    body = encoder(recorded, "encoder_moved")
    scores = alignment_logp(recorded, body, decoder, embed_ids)
    beta, temperature = recorded.cases["beta"], recorded.cases["temperature"]
    reference = recorded.expected["cda.reference_logp"]
    loss = plain.alignment_loss(*scores, reference, beta=beta, temperature=temperature, sign=sign)
    loss.backward()
    wanted = recorded.expected[f"cda.{name}.loss"]
    assert_close(f"cda.{name}.loss", loss, wanted)
    assert_gradients(body, recorded.gradients(f"cda.{name}"))
    next_positive, own_positive, next_negative, prior = (one.tolist() for one in (*scores, reference))
    by_hand = plain.alignment_loss_by_hand(
        next_positive, own_positive, next_negative, prior, beta=beta, temperature=temperature, sign=sign
    )
    assert by_hand == pytest.approx(wanted.item(), rel=1e-4)


def test_vectors(recorded: Recording, embed_ids: list[int]) -> None:
    body = encoder(recorded, "encoder_moved")
    got = plain.encode_for_evaluation(body, column(recorded, "encode", "input_ids"), embed_ids)
    assert_close("encode.embeddings", got, recorded.expected["encode.embeddings"])
