"""Which tokens are masked, and how: over many tokens, whatever the batch is split into."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import pytest
import torch
from tokenizers import AddedToken

from genembench.problem import Problem
from methods.contract import Example
from methods.llm2vec import LLM2Vec
from methods.parts.backbone import load_tokenizer
from methods.stages.mntp import MaskedBatch, MaskedNextToken
from tests.conftest import sentence
from tests.methods.backbones import Kind
from tests.methods.stages.common import Backbone, build


def stage_of(probability: float = 0.2, rule: str = "80-10-10", **changes: Any) -> MaskedNextToken:
    stage = LLM2Vec(mask_probability=probability, mask_rule=rule, **changes).stages()[0]  # type: ignore[arg-type]
    assert isinstance(stage, MaskedNextToken)
    return stage


@pytest.fixture(params=["added", "none"])
def tokenizer(request: pytest.FixtureRequest, backbone: Backbone) -> Any:
    """One that puts BOS in front, and one that has none."""
    return load_tokenizer(backbone(Kind(bos=request.param)))


def many(count: int = 200, words: int = 50) -> list[Example]:
    source = random.Random(0)
    return [{"text": sentence(source, words)} for _ in range(count)]


def collate(stage: MaskedNextToken, tokenizer: Any, rows: list[Example], seed: int = 0) -> MaskedBatch:
    torch.manual_seed(seed)
    return stage.collate(rows, tokenizer)


def drawn(batch: MaskedBatch) -> list[list[int]]:
    """Positions that are scored, by row; the content marks the one before each."""
    assert not any(row.content[-1] for row in batch.rows)
    return [[i + 1 for i, before in enumerate(row.content) if before] for row in batch.rows]


def within(count: int, of: int, share: float) -> bool:
    """Whether a count is one that a coin of this share gives, four standard deviations allowed."""
    return abs(count - of * share) <= 4 * math.sqrt(of * share * (1 - share)) + 1


# ---------------------------------------------------------------------------------------------------- the draw


@pytest.mark.parametrize("probability", [0.2, 0.8])
def test_the_share_is_drawn_and_split_80_10_10(probability: float, tokenizer: Any) -> None:
    rows = many()
    batch = collate(stage_of(probability), tokenizer, rows)
    mask, vocabulary = tokenizer.get_vocab()["_"], len(tokenizer)
    fates: Counter[str] = Counter()
    exchanged: Counter[int] = Counter()
    open_positions = 0
    own = [tokenizer(row["text"])["input_ids"] for row in rows]
    for ids, row, positions, truth in zip(own, batch.rows, drawn(batch), batch.originals, strict=True):
        assert truth == [ids[i] for i in positions]
        open_positions += len(ids) - 1  # all but the first
        for i, (token, found) in enumerate(zip(ids, row.ids, strict=True)):
            if i not in positions:
                assert found == token
            else:
                fates["masked" if found == mask else "left" if found == token else "exchanged"] += 1
                if found not in (mask, token):
                    exchanged[found] += 1
    total = sum(fates.values())
    assert open_positions > 8000
    assert within(total, open_positions, probability)
    # One exchange in as many as there are tokens gives the same token again, or the mask.
    assert within(fates["masked"], total, 0.8 + 0.1 / vocabulary)
    assert within(fates["left"], total, 0.1 + 0.1 / vocabulary)
    assert within(fates["exchanged"], total, 0.1 - 0.2 / vocabulary)
    # From all of the vocabulary, none much more often than another.
    assert len(exchanged) > 0.9 * vocabulary * (1 - math.exp(-fates["exchanged"] / vocabulary))
    assert max(exchanged.values()) < 4 + 4 * fates["exchanged"] / vocabulary


def test_all_of_the_drawn_can_be_masked(tokenizer: Any) -> None:
    batch = collate(stage_of(0.8, "all"), tokenizer, many(50))
    mask = tokenizer.get_vocab()["_"]
    for row, positions in zip(batch.rows, drawn(batch), strict=True):
        assert positions == [i for i, found in enumerate(row.ids) if found == mask]
    total = sum(len(row) - 1 for row in batch.rows)
    assert within(sum(map(len, batch.originals)), total, 0.8)


def test_neither_the_first_position_nor_special_tokens_are_drawn(tokenizer: Any) -> None:
    """With probability 1 everything else is."""
    rows: list[Example] = [
        {"text": "the cat</s> sees</s></s> a ball"},
        {"text": "</s>"},
        {"text": "<pad>a<s> b </s>"},
        {"text": "red _ ball_"},
    ]
    batch = collate(stage_of(1.0), tokenizer, rows)
    special = set(tokenizer.all_special_ids)
    assert tokenizer.eos_token_id in special
    own = [tokenizer(row["text"])["input_ids"] for row in rows]
    for ids, row, positions in zip(own, batch.rows, drawn(batch), strict=True):
        assert positions == [i for i, token in enumerate(ids) if i > 0 and token not in special]
        assert all(found == token for token, found in zip(ids, row.ids, strict=True) if token in special)
        assert row.ids[0] == ids[0]


def test_a_row_without_luck_gets_one(tokenizer: Any) -> None:
    places = set()
    for seed in range(10):
        batch = collate(stage_of(1e-9, "all"), tokenizer, many(10, 0), seed)
        assert [len(one) for one in batch.originals] == [1] * 10
        places |= {(number, positions[0]) for number, positions in enumerate(drawn(batch))}
    assert len(places) > 60


def test_a_text_of_special_tokens_alone_has_nothing_to_predict(tokenizer: Any) -> None:
    batch = collate(stage_of(1.0), tokenizer, [{"text": "</s>"}, {"text": "a cat"}])
    assert batch.originals[0] == []
    assert len(batch.originals[1]) > 0
    assert stage_of().weigh(batch) == {"mntp": float(len(batch.originals[1]))}


# ---------------------------------------------------------------------------------------------------- seeds and splits


def test_the_seed_decides(tokenizer: Any) -> None:
    stage, rows = stage_of(), many(20)
    first = collate(stage, tokenizer, rows, seed=5)
    assert collate(stage, tokenizer, rows, seed=5) == first
    other = collate(stage, tokenizer, rows, seed=6)
    for one, two in zip(drawn(first), drawn(other), strict=True):
        assert one != two
    # Equal rows of one length do not all get the same: each is drawn by what it holds.
    assert len({tuple(positions) for positions in drawn(first)}) == 20


def test_how_a_batch_is_split_changes_no_mask(tokenizer: Any) -> None:
    stage, rows = stage_of(max_length=32), many(12)
    whole = collate(stage, tokenizer, rows, seed=3)
    torch.manual_seed(3)
    parts = [stage.collate(rows[at : at + size], tokenizer) for at, size in ((0, 5), (5, 1), (6, 6))]
    assert [row for part in parts for row in part.rows] == whole.rows
    assert [one for part in parts for one in part.originals] == whole.originals
    torch.manual_seed(3)
    torch.rand(7)
    assert stage.collate(rows, tokenizer) == whole


# ---------------------------------------------------------------------------------------------------- long texts


@pytest.mark.parametrize("length", [2, 7, 16, 100])
def test_a_long_text_is_split_and_loses_nothing(length: int, tokenizer: Any) -> None:
    rows = [*many(3, 80), {"text": "a"}]
    batch = collate(stage_of(0.5, max_length=length), tokenizer, rows)
    bos = tokenizer("a")["input_ids"][:-1]
    assert bos == ([tokenizer.bos_token_id] if tokenizer.bos_token is not None else [])
    pieces = []
    for row, positions, truth in zip(batch.rows, drawn(batch), batch.originals, strict=True):
        ids = list(row.ids)
        for i, token in zip(positions, truth, strict=True):
            ids[i] = token
        assert len(ids) <= length
        assert ids[: len(bos)] == bos
        pieces.append(ids[len(bos) :])
    own = [tokenizer(row["text"], add_special_tokens=False)["input_ids"] for row in rows]
    assert [token for piece in pieces for token in piece] == [token for ids in own for token in ids]
    room = length - len(bos)
    assert list(map(len, pieces)) == [
        size for ids in own for size in [room] * (len(ids) // room) + [len(ids) % room] * (len(ids) % room > 0)
    ]


# ---------------------------------------------------------------------------------------------------- the mask token


def test_a_vocabulary_without_the_mask_token_is_refused(backbone: Backbone) -> None:
    stage = stage_of(mask_token="a token that nobody has")
    with pytest.raises(Problem, match="no token 'a token that nobody has'"):
        build(stage, backbone(Kind()))
    with pytest.raises(Problem, match="no mask token"):
        stage.collate(many(1), load_tokenizer(backbone(Kind())))


def test_a_mask_token_of_the_tokenizers_own_comes_first(tokenizer: Any) -> None:
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    batch = collate(stage_of(0.5, "all"), tokenizer, many(5))
    found = {row.ids[i] for row, positions in zip(batch.rows, drawn(batch), strict=True) for i in positions}
    assert found == {tokenizer.mask_token_id}
    assert tokenizer.mask_token_id != tokenizer.get_vocab()["_"]


def test_no_token_is_drawn_that_the_model_has_no_embedding_for(backbone: Backbone) -> None:
    """Some published tokenizers know tokens that the model does not (Gemma 3's has one of images)."""
    kind = Kind("gemma3", bos="added")
    stage = stage_of(1.0)
    trained = build(stage, backbone(kind))
    body: Any = trained.module.body
    rows = body.get_input_embeddings().num_embeddings
    tokenizer: Any = trained.tokenizer
    # Many, so that one of them is sure to be drawn.
    tokenizer.add_tokens([AddedToken(f"<image{i}>", special=True) for i in range(rows)])
    batch = collate(stage, tokenizer, many(50))
    assert max(token for row in batch.rows for token in row.ids) < rows


def test_the_vocabulary_is_not_listed_for_every_row(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real ones have some 100,000 tokens, and a step has dozens of rows."""
    rows, listed = many(20, 0), 0
    whole = type(tokenizer).get_vocab

    def counted(self: Any) -> dict[str, int]:
        nonlocal listed
        listed += 1
        vocabulary: dict[str, int] = whole(self)
        return vocabulary

    monkeypatch.setattr(type(tokenizer), "get_vocab", counted)
    stage_of().collate(rows, tokenizer)
    assert listed <= 1
