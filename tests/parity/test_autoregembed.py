"""Ours computes what the authors' code computed, through the stages and the encoder as a run uses them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.autoregembed import AutoRegEmbed
from methods.contract import Example, Stage, Trainable
from methods.encoder import Encoder, make_encoder
from methods.parts.losses import LossTerm
from runners.engine import Engine
from runners.stages import FromFiles
from tests.parity.recording import Recording, assert_close, assert_gradients


def method(recorded: Recording, **changes: Any) -> AutoRegEmbed:
    cases = recorded.cases
    settings = {
        "compressed_tokens": cases["num_compress_tokens"],
        "prompt": cases["prompt"],
        "beta": cases["beta"],
        "temperature": cases["temperature"],
        "max_length": cases["max_length"] + cases["num_compress_tokens"],
    }
    return AutoRegEmbed(**settings | {"hard_negatives": 1, "tuning": "full"} | changes)


def stages(recorded: Recording, **changes: Any) -> tuple[Stage, Stage]:
    compress, align = method(recorded, **changes).stages()
    return compress, align


def build(recorded: Recording, stage: Stage, encoder: str) -> Trainable:
    """Start from a recorded encoder; dropout was off when the recording was made."""
    start = FromFiles(backbone=recorded.backbone, folder=recorded.folder / encoder, engine=Engine())
    trained = stage.build(start)
    trained.module.eval()
    return trained


def step(trained: Trainable, batch: Any) -> Tensor:
    """Return the loss that the trainer would divide out, its gradients left at the weights."""
    terms: dict[str, LossTerm] = trained.module(batch)
    (term,) = terms.values()
    loss = term.coefficient * term.sum / term.weight
    loss.backward()
    return loss


def body_of(trained: Trainable) -> torch.nn.Module:
    body = trained.module.body
    assert isinstance(body, torch.nn.Module)
    return body


def instruct_rows(recorded: Recording) -> list[Example]:
    cases = recorded.cases["information_compression"]
    return [{"context": c["context"], "instruction": c["instruction"], "target": c["output"]} for c in cases]


def triplet_rows(recorded: Recording) -> list[Example]:
    return [
        {"query": case["query"], "positive": case["pos"], "negative": [case["neg"]]}
        for case in recorded.cases["alignment"]
    ]


def with_reference(rows: list[Example], scores: Tensor) -> list[Example]:
    return [{**row, "reference_logp": score} for row, score in zip(rows, scores, strict=True)]


def test_compression(recorded: Recording) -> None:
    compress, _ = stages(recorded)
    trained = build(recorded, compress, "encoder")
    batch = compress.collate(instruct_rows(recorded), trained.tokenizer)
    loss = step(trained, batch)
    assert_close("ic.loss", loss, recorded.expected["ic.loss"])
    assert_gradients(body_of(trained), recorded.gradients("ic"))
    tokens = sum(len(case["target_ids"]) for case in recorded.cases["information_compression"])
    assert list(compress.weigh(batch).values()) == [tokens]


def test_reference_scores(recorded: Recording) -> None:
    _, align = stages(recorded)
    trained = build(recorded, align, "encoder")
    with torch.no_grad():
        prepared = align.prepare(trained, triplet_rows(recorded))
    assert list(prepared) == ["reference_logp"]
    assert_close("cda.reference_logp", prepared["reference_logp"], recorded.expected["cda.reference_logp"])


def test_scores_of_alignment(recorded: Recording) -> None:
    """What the moved encoder thinks of a text is what `prepare` would say of it as a reference."""
    _, align = stages(recorded)
    trained = build(recorded, align, "encoder_moved")
    rows = triplet_rows(recorded)
    expected = {name: recorded.expected[f"cda.logp.{name}"] for name in ("query_to_positive", "query_to_negative")}
    with torch.no_grad():
        given_query = align.prepare(trained, rows)["reference_logp"]
        own = [{**row, "query": row["positive"]} for row in rows]
        given_itself = align.prepare(trained, own)["reference_logp"]
    assert_close("query_to_positive", given_query[:, 0], expected["query_to_positive"])
    assert_close("query_to_negative", given_query[:, 1], expected["query_to_negative"])
    assert_close("positive_to_positive", given_itself[:, 0], recorded.expected["cda.logp.positive_to_positive"])


@pytest.mark.parametrize(("name", "sign"), [("paper", "paper"), ("official_code", "released")])
def test_alignment(recorded: Recording, name: str, sign: str) -> None:
    _, align = stages(recorded, reference_sign=sign)
    before = build(recorded, align, "encoder")
    rows = triplet_rows(recorded)
    with torch.no_grad():
        prepared = align.prepare(before, rows)["reference_logp"]
    trained = build(recorded, align, "encoder_moved")
    loss = step(trained, align.collate(with_reference(rows, prepared), trained.tokenizer))
    assert_close(f"cda.{name}.loss", loss, recorded.expected[f"cda.{name}.loss"])
    assert_gradients(body_of(trained), recorded.gradients(f"cda.{name}"))


def test_token_ids(recorded: Recording) -> None:
    compress, align = stages(recorded)
    tokenizer = build(recorded, compress, "encoder").tokenizer
    k = recorded.cases["num_compress_tokens"]
    marks: Any = tokenizer.convert_tokens_to_ids([f"<EMBED{i}>" for i in range(k)])

    def check(rows: Any, cases: list[Any], key: str) -> None:
        assert [row.ids for row in rows] == [[*case[key], *marks] for case in cases]
        assert [row.content for row in rows] == [[False] * len(case[key]) + [True] * k for case in cases]

    cases = recorded.cases["information_compression"]
    compressing = compress.collate(instruct_rows(recorded), tokenizer)
    check(compressing.sources, cases, "input_ids")
    assert compressing.targets == [case["target_ids"] for case in cases]
    cases = recorded.cases["alignment"]
    aligning = align.collate(triplet_rows(recorded), tokenizer)
    check(aligning.queries, cases, "query_ids")
    check(aligning.documents, cases, "positive_ids")
    pairs = [(case["positive_target_ids"], case["negative_target_ids"]) for case in cases]
    assert aligning.targets == [target for pair in pairs for target in pair]
    cases = recorded.cases["encode"]
    texts = [case["text"] for case in cases]
    check(method(recorded).tokenize(tokenizer, texts, "symmetric", "evaluate"), cases, "input_ids")


def encoder(recorded: Recording) -> Encoder:
    return make_encoder("autoregembed", method(recorded), "", recorded.folder / "encoder_moved")


def test_vectors(recorded: Recording) -> None:
    got = encoder(recorded).encode([case["text"] for case in recorded.cases["encode"]])
    assert_close("encode.embeddings", torch.from_numpy(np.array(got)), recorded.expected["encode.embeddings"])
