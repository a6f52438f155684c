"""Ours computes what the package llm2vec computed, through the stages and the template as a run uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from methods.contract import Example, Trainable
from methods.encoder import make_encoder
from methods.llm2vec import LLM2Vec
from methods.parts.backbone import load_model, load_tokenizer
from methods.parts.forward import run_body
from methods.parts.losses import LossTerm
from methods.parts.tokens import TokenRow
from methods.stages.contrast import Contrast
from methods.stages.mntp import MaskedBatch, MaskedNextToken
from runners.engine import Engine
from runners.stages import FromFiles
from tests.parity.recording import Recording, assert_close, assert_gradients

CPU = torch.device("cpu")
KERNELS = ("eager", "sdpa")


@pytest.fixture(scope="module")
def recorded(recordings: Path) -> Recording:
    """What the package llm2vec computes."""
    folder = recordings / "llm2vec"
    if not folder.is_dir():
        pytest.skip(f"no recordings of llm2vec: {folder} is no folder")
    return Recording.load(folder, recordings / "backbone")


def method(recorded: Recording, **changes: Any) -> LLM2Vec:
    """The package strips the instruction, puts a space behind it, and counts the text's tokens."""
    instruction = recorded.cases["instruction"].strip()
    settings = {"instruction": instruction, "train_instruction": instruction, "tuning": "full", "content": "released"}
    return LLM2Vec(**settings | changes)


def build(recorded: Recording, stage: MaskedNextToken | Contrast) -> Trainable:
    """Start from the recorded backbone; dropout was off when the recording was made."""
    start = FromFiles(backbone=recorded.backbone, folder=recorded.backbone, engine=Engine())
    trained = stage.build(start)
    trained.module.eval()
    return trained


def loss_of(terms: dict[str, LossTerm]) -> Tensor:
    (term,) = terms.values()
    return term.coefficient * term.sum / term.weight


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("name", "role", "readout", "causal"),
    [
        ("bidirectional_mean.plain", "document", "mean", False),
        ("bidirectional_mean.instructed", "symmetric", "mean", False),
        ("causal_weighted_mean.plain", "document", "weighted_mean", True),
    ],
)
@pytest.mark.parametrize("max_tokens", [None, 40])
def test_embeddings(
    recorded: Recording, name: str, role: Any, readout: str, causal: bool, kernel: str, max_tokens: int | None
) -> None:
    encoder = method(recorded, readout_kind=readout)
    body = load_model(recorded.backbone, device=CPU, causal=causal, attention=kernel).eval()
    rows = encoder.tokenize(load_tokenizer(recorded.backbone), recorded.cases["encode"], role, "evaluate")
    with torch.inference_mode():
        vectors = run_body(body, rows, encoder.readout, max_tokens=max_tokens)[:, 0]
    assert_close(name, vectors, recorded.expected[f"encode.{name}"])


def test_the_encoder_gives_them_normalised(recorded: Recording) -> None:
    encoder = make_encoder("llm2vec", method(recorded), "", recorded.backbone)
    for role, name in (("document", "plain"), ("symmetric", "instructed")):
        wanted = torch.nn.functional.normalize(recorded.expected[f"encode.bidirectional_mean.{name}"], dim=-1)
        found = encoder.encode(recorded.cases["encode"], role)  # type: ignore[arg-type]  # both are roles
        assert_close(name, torch.from_numpy(found), wanted)


def test_masked_next_token_prediction(recorded: Recording) -> None:
    """The recorded labels stand at the masked positions; our batch marks the positions before them."""
    stage = method(recorded, mask_token=recorded.cases["mask_token"]).stages()[0]
    assert isinstance(stage, MaskedNextToken)
    trained = build(recorded, stage)
    rows, originals = [], []
    names = ("mntp.input_ids", "mntp.labels", "mntp.attention_mask")
    for ids, labels, mask in zip(*(recorded.expected[name].tolist() for name in names), strict=True):
        length = sum(mask)
        assert mask == [1] * length + [0] * (len(mask) - length)
        # Nothing stands before the first token, so a label there is scored by neither side.
        before = [label != -100 for label in labels[1:length]]
        rows.append(TokenRow(ids[:length], [*before, False]))
        originals.append([label for label in labels[1:] if label != -100])
    batch = MaskedBatch(rows, originals)
    loss = loss_of(trained.module(batch))
    assert stage.weigh(batch) == {"mntp": float((recorded.expected["mntp.labels"][:, 1:] != -100).sum())}
    loss.backward()
    assert_close("mntp.loss", loss, recorded.expected["mntp.loss"])
    assert_gradients(trained.module.body, recorded.gradients("mntp"))  # type: ignore[arg-type]  # a module


@pytest.mark.parametrize("scale", [20, 50])
def test_supervised_contrast(recorded: Recording, scale: int) -> None:
    stage = method(recorded, temperature=1 / scale).stages()[-1]
    assert isinstance(stage, Contrast)
    trained = build(recorded, stage)
    rows: list[Example] = [
        {"query": case["query"], "positive": case["positive"], "negative": [case["negative"]]}
        for case in recorded.cases["supervised"]
    ]
    loss = loss_of(stage.joint_loss(trained.module(stage.collate(rows, trained.tokenizer))))
    loss.backward()
    assert_close(f"scale{scale}", loss, recorded.expected[f"supervised.loss.scale{scale}"])
    if scale == recorded.cases["supervised_scale"]:
        assert_gradients(trained.module.body, recorded.gradients("supervised"))  # type: ignore[arg-type]  # a module


@pytest.mark.parametrize("kernel", KERNELS)
def test_bidirectional_families(recorded: Recording, kernel: str) -> None:
    """Where the package's class sees ahead, ours computes the same; where it does not, ours sees ahead nevertheless."""
    families = recorded.cases.get("families")
    if families is None:
        pytest.skip("the recording holds no other families (make parity-llm2vec makes one that does)")
    ids, mask = (recorded.expected[f"bidirectional.{name}"] for name in ("input_ids", "attention_mask"))
    seen = []
    for family, facts in families.items():
        body = load_model(recorded.folder / "families" / family, device=CPU, causal=False, attention=kernel).eval()
        wanted = recorded.expected[f"bidirectional.{family}.hidden.{kernel}"]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        with torch.inference_mode():
            found = body(input_ids=ids, attention_mask=mask, position_ids=positions).last_hidden_state
        real = mask.bool()
        if facts["sees_ahead"][kernel]:
            assert_close(f"{family} under {kernel}", found[real], wanted[real])
            seen.append(family)
        else:
            assert not torch.allclose(found[real], wanted[real], atol=1e-3)
    assert "llama" in seen
