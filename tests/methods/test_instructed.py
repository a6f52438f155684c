"""LLM2Vec's template, also Anchor-Embedding's: what is attended to, what is read, what is cut, and what ends a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, processors
from transformers import AutoModel, ByT5Tokenizer, PreTrainedTokenizerFast

from genembench.problem import Problem
from methods.anchor_embedding import AnchorEmbedding
from methods.contract import Phase, Role
from methods.encoder import Encoder
from methods.instructed import InstructedMethod
from methods.llm2vec import LLM2Vec
from methods.parts.backbone import load_model, load_tokenizer
from methods.parts.forward import run_body
from methods.parts.tokens import TokenRow
from tests.methods.test_chat import MARKS, TEMPLATES, TURNS

TEXT = "the cat sees a red ball"
TRAIN = "Given a premise, retrieve a hypothesis that is entailed by the premise; "
EVALUATE = "Retrieve semantically similar text: "
ROLES: tuple[Role, ...] = ("query", "document", "symmetric")
LONG = " ".join(["the cat sees a ball"] * 1200)
SAID: dict[Phase, str] = {"train": TRAIN, "evaluate": EVALUATE}
METHODS: list[type[InstructedMethod]] = [LLM2Vec, AnchorEmbedding]
CONTENTS = ("exact", "released")


@pytest.fixture
def tokenizer(tiny_backbone: Path) -> Any:
    return load_tokenizer(tiny_backbone)


def chatting(tokenizer: Any, family: str) -> Any:
    """Give a tokenizer what a family's instruction-tuned models have."""
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS[family]})
    tokenizer.chat_template = TEMPLATES[family]
    return tokenizer


def only(method: InstructedMethod, tokenizer: Any, text: str, role: Role, phase: Phase = "evaluate") -> TokenRow:
    (row,) = method.tokenize(tokenizer, [text], role, phase)
    return row


def read(tokenizer: Any, row: TokenRow) -> str:
    """What the read-out sees, as text."""
    return str(tokenizer.decode([token for token, inside in zip(row.ids, row.content, strict=True) if inside]))


def encoder_of(method: InstructedMethod, folder: Path) -> Encoder:
    body = load_model(folder, device=torch.device("cpu"), causal=method.causal)
    return Encoder("mine", "", method, body, load_tokenizer(folder))


# ---------------------------------------------------------------------------------------------------- instructions


@pytest.mark.parametrize("make", METHODS)
def test_who_is_told_what(make: type[InstructedMethod], tokenizer: Any) -> None:
    """Queries have an instruction, in training ending in a semicolon; documents none; symmetric texts have it."""
    method = make()
    end = "</s>" if make is AnchorEmbedding else ""
    for role in ROLES:
        for phase, said in SAID.items():
            row = only(method, tokenizer, TEXT, role, phase)
            expected = ("" if role == "document" else said) + TEXT + end
            assert row.ids == tokenizer(expected)["input_ids"], (role, phase)
            assert read(tokenizer, row).removeprefix(" ") == TEXT + end
            assert not row.content[0]  # BOS


def test_an_empty_instruction_is_none(tokenizer: Any) -> None:
    method = LLM2Vec(instruction="", train_instruction="")
    for role in ROLES:
        for phase in SAID:
            assert only(method, tokenizer, TEXT, role, phase).ids == tokenizer(TEXT)["input_ids"]


@pytest.mark.parametrize("make", METHODS)
def test_the_instruction_is_attended_to(make: type[InstructedMethod], tiny_backbone: Path) -> None:
    one, other = (encoder_of(make(instruction=said), tiny_backbone) for said in ("Say it:", "Classify:"))
    for role in ROLES:
        difference = np.abs(one.encode([TEXT], role) - other.encode([TEXT], role)).max()
        assert difference == 0 if role == "document" else difference > 1e-4


def test_the_instruction_is_not_read(tiny_backbone: Path) -> None:
    """The vector is the mean over the text's tokens of an all-seeing model that saw the instruction as well."""
    (vector,) = encoder_of(LLM2Vec(), tiny_backbone).encode([TEXT], "query")
    tokenizer: Any = load_tokenizer(tiny_backbone)
    model: Any = AutoModel.from_pretrained(tiny_backbone, attn_implementation="eager").eval()
    ids = tokenizer(EVALUATE + TEXT)["input_ids"]
    with torch.no_grad():
        seen = torch.zeros(1, 1, len(ids), len(ids))
        states = model(input_ids=torch.tensor([ids]), attention_mask=seen).last_hidden_state[0]
    own = len(tokenizer(" " + TEXT, add_special_tokens=False)["input_ids"])
    assert tokenizer.decode(ids[-own:]) == " " + TEXT
    wanted = states[-own:].mean(dim=0)
    torch.testing.assert_close(torch.from_numpy(vector), wanted / wanted.norm(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("content", CONTENTS)
def test_the_released_count_is_that_of_the_text_alone(content: Any, tokenizer: Any) -> None:
    """Behind a space a word may be fewer tokens than alone: then the instruction's last are read too."""
    chatting(tokenizer, "qwen")
    method = LLM2Vec(content=content)
    texts = ["cat", "a", TEXT, "yard", "xyz", "é 🦊"]
    differ = 0
    for text, row in zip(texts, method.tokenize(tokenizer, texts, "query", "evaluate"), strict=True):
        alone = len(tokenizer(text + "<|im_end|>", add_special_tokens=False)["input_ids"])
        if content == "released":
            assert row.content == [False] * (len(row) - alone) + [True] * alone
        else:
            assert read(tokenizer, row).removeprefix(" ") == text + "<|im_end|>"
        differ += sum(row.content) != alone
    assert (differ > 0) is (content == "exact")


# ---------------------------------------------------------------------------------------------------- lengths


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize("make", METHODS)
def test_a_text_of_5000_tokens_keeps_instruction_closing_and_end(
    make: type[InstructedMethod], family: str, tokenizer: Any
) -> None:
    assert len(tokenizer(LONG)["input_ids"]) > 5000
    chatting(tokenizer, family)
    opening, closing = TURNS[family].split("HELLO")
    end = [tokenizer.eos_token_id] if make is AnchorEmbedding else []
    for phase, said in SAID.items():
        row = only(make(max_length=100), tokenizer, LONG, "query", phase)
        assert len(row) == 100
        front = tokenizer(opening + said.strip())["input_ids"]
        back = tokenizer(closing, add_special_tokens=False)["input_ids"] + end
        assert row.ids[: len(front)] == front
        assert row.ids[-len(back) :] == back
        assert row.content == [False] * len(front) + [True] * (100 - len(front))
        assert read(tokenizer, row).startswith(" the cat sees a ball the cat")


def test_texts_are_cut_at_their_own_length_at_evaluation_only(tokenizer: Any) -> None:
    chatting(tokenizer, "llama-3")
    method = LLM2Vec(max_text_length=7)
    whole = tokenizer(LONG, add_special_tokens=False)["input_ids"]
    cut = tokenizer.decode(whole[:7])
    for role in ROLES:
        row = only(method, tokenizer, LONG, role)
        said = "" if role == "document" else EVALUATE
        assert row.ids == tokenizer(TURNS["llama-3"].replace("HELLO", said + cut))["input_ids"]
        assert only(method, tokenizer, cut, role) == row
        assert len(only(method, tokenizer, LONG, role, "train")) == method.max_length
    # What is not too long is left alone, white space included.
    assert (
        only(method, tokenizer, " the  cat ", "document").ids
        == tokenizer(TURNS["llama-3"].replace("HELLO", " the  cat "))["input_ids"]
    )


def test_an_instruction_that_leaves_no_room_is_refused(tokenizer: Any) -> None:
    with pytest.raises(Problem, match="leaves no room for the text"):
        only(LLM2Vec(max_length=8), tokenizer, TEXT, "query")


# ---------------------------------------------------------------------------------------------------- strange texts


def trimming(folder: Path) -> Any:
    """A tokenizer whose offsets leave white space out, which the byte-level post-processor does by default."""
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("make", METHODS)
def test_empty_and_blank_texts_have_a_vector(
    make: type[InstructedMethod], content: Any, trimmed: bool, tiny_backbone: Path
) -> None:
    encoder = encoder_of(make(content=content), tiny_backbone)
    if trimmed:
        encoder.tokenizer = trimming(tiny_backbone)
    texts = ["", " ", "\n\t ", "a", TEXT]
    for role in ROLES:
        vectors = encoder.encode(texts, role)
        assert np.isfinite(vectors).all()
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(vectors[:3], vectors[:1].repeat(3, axis=0), atol=1e-6)
        assert np.abs(vectors[0] - vectors[4]).max() > 1e-3
        for phase in SAID:
            rows = encoder.method.tokenize(encoder.tokenizer, texts, role, phase)
            body, method = encoder.body, encoder.method
            with torch.no_grad():
                assert run_body(body, rows, method.readout).isfinite().all()


def test_a_slow_tokenizer_is_refused() -> None:
    """Only fast ones say which characters a token stands for."""
    tokenizer = ByT5Tokenizer()
    assert not tokenizer.is_fast
    for text in (TEXT, "a " * 500):
        with pytest.raises(Problem, match="no character offsets"):
            LLM2Vec().tokenize(tokenizer, [text], "query", "evaluate")


# ---------------------------------------------------------------------------------------------------- the end token


def test_the_end_token_stands_once(tokenizer: Any) -> None:
    """It is what is read. Some wrappers close with it themselves (Llama 3's and Qwen's instruction-tuned models)."""
    closing = {"llama-3": "<|eot_id|>", "qwen": "<|im_end|>"}
    for family in ("llama-3", "qwen", "mistral"):
        own = chatting(tokenizer, family)
        for end in {"</s>", closing.get(family, "</s>")}:
            own.eos_token = end
            row = only(AnchorEmbedding(), own, TEXT, "document")
            wrapped = own(TURNS[family].replace("HELLO", TEXT))["input_ids"]
            assert row.ids == (wrapped if wrapped[-1] == own.eos_token_id else [*wrapped, own.eos_token_id])
            assert row.ids.count(own.eos_token_id) == 1
            assert row.content[-1]
            # LLM2Vec reads the mean, and has none but the wrapper's.
            assert only(LLM2Vec(), own, TEXT, "document").ids == wrapped


def test_what_is_read_is_the_end_token(tiny_backbone: Path) -> None:
    (vector,) = encoder_of(AnchorEmbedding(), tiny_backbone).encode([TEXT], "query")
    tokenizer: Any = load_tokenizer(tiny_backbone)
    model: Any = AutoModel.from_pretrained(tiny_backbone).eval()
    with torch.no_grad():
        ids = [*tokenizer(EVALUATE + TEXT)["input_ids"], tokenizer.eos_token_id]
        state = model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    torch.testing.assert_close(torch.from_numpy(vector), state / state.norm(), atol=1e-5, rtol=0)


def test_without_an_end_token_there_is_nothing_to_read(tokenizer: Any) -> None:
    tokenizer.eos_token = None
    with pytest.raises(Problem, match="has no end token"):
        AnchorEmbedding().tokenize(tokenizer, [TEXT], "query", "evaluate")
    assert len(only(LLM2Vec(), tokenizer, TEXT, "query")) > 0
