from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

from genembench.problem import Problem
from methods.parts.backbone import load_model, load_tokenizer
from methods.parts.vocabulary import add_tokens, ids_of, make_room

NAMES = ("<EMBED0>", "<EMBED1>", "<EMBED2>")
TEXT = "the cat<EMBED1>sees </s> a <EMBED> ball"


@pytest.fixture
def tokenizer(tiny_backbone: Path) -> Any:
    return load_tokenizer(tiny_backbone)


def _model(rows: int, *, tied: bool = True) -> Any:
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=1.0,
        tie_word_embeddings=tied,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def test_tokens_stand_behind_the_vocabulary_whose_ids_stay(tokenizer: Any) -> None:
    before = dict(tokenizer.get_vocab())
    add_tokens(tokenizer, NAMES)
    after = tokenizer.get_vocab()
    assert {name: after[name] for name in before} == before
    highest = max(before.values())
    assert ids_of(tokenizer, NAMES) == [highest + 1, highest + 2, highest + 3]
    assert ids_of(tokenizer, NAMES[::-1]) == [highest + 3, highest + 2, highest + 1]


def test_tokens_are_added_once(tokenizer: Any) -> None:
    add_tokens(tokenizer, NAMES[:2])
    first = ids_of(tokenizer, NAMES[:2])
    add_tokens(tokenizer, NAMES)
    add_tokens(tokenizer, NAMES)
    assert ids_of(tokenizer, NAMES)[:2] == first
    assert len(set(ids_of(tokenizer, NAMES))) == 3
    assert len(tokenizer.get_vocab()) == 400 + 3


def test_a_token_in_a_text_is_one_id_and_special(tokenizer: Any) -> None:
    add_tokens(tokenizer, NAMES)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert ids.count(ids_of(tokenizer, NAMES)[1]) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the catsees  a <EMBED> ball"
    assert all(tokenizer.added_tokens_decoder[token].special for token in ids_of(tokenizer, NAMES))


def test_texts_without_them_are_tokenised_as_before(tokenizer: Any) -> None:
    plain = copy.deepcopy(tokenizer)
    add_tokens(tokenizer, NAMES)
    for text in ("the cat sees a ball", "<EMBED", "é 🦊", " </s> x"):
        assert tokenizer(text)["input_ids"] == plain(text)["input_ids"]


def test_other_special_tokens_stay(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.add_special_tokens({"extra_special_tokens": ["<tool>", "<end_of_turn>"]})
    kept = {name: tokenizer.get_vocab()[name] for name in ("<tool>", "<end_of_turn>", "<s>", "</s>", "<pad>")}
    roles = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token)
    add_tokens(tokenizer, NAMES)
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, load_tokenizer(tmp_path)):
        assert {name: one.get_vocab()[name] for name in kept} == kept
        assert set(kept) <= set(one.all_special_tokens)
        assert all(one.added_tokens_decoder[token].special for token in [*kept.values(), *ids_of(one, NAMES)])
        assert (one.bos_token, one.eos_token, one.pad_token) == roles
        assert ids_of(one, NAMES) == [402, 403, 404]
        assert len(one("<tool><EMBED2>", add_special_tokens=False)["input_ids"]) == 2


def test_a_token_that_is_missing_is_a_problem(tokenizer: Any) -> None:
    add_tokens(tokenizer, NAMES[:1])
    with pytest.raises(Problem, match=r"the tokenizer does not know <EMBED1>, <EMBED2>\n"):
        ids_of(tokenizer, NAMES)


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_grow_to_what_is_needed_and_old_ones_stay(tokenizer: Any, tied: bool) -> None:
    model = _model(400, tied=tied)
    old, old_head = model.get_input_embeddings().weight.clone(), model.lm_head.weight.clone()
    add_tokens(tokenizer, NAMES)
    make_room(model, tokenizer)
    new = model.get_input_embeddings().weight
    assert new.shape == (403, 16)
    assert model.config.vocab_size == 403
    assert torch.equal(new[:400], old)
    assert torch.equal(model.lm_head.weight[:400], old_head)
    # Around the mean: old rows are one away from it in each number, new ones next to nothing; and no two are alike.
    distance = (new[400:] - old.mean(0)).abs()
    assert distance.max() < 0.1
    assert len(new[400:].unique(dim=0)) == 3


def test_a_tied_head_stays_tied(tokenizer: Any) -> None:
    model = _model(400)
    add_tokens(tokenizer, NAMES)
    make_room(model, tokenizer)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    logits = model(input_ids=torch.tensor([ids_of(tokenizer, NAMES)])).logits
    assert logits.shape == (1, 3, 403)


@pytest.mark.parametrize("spare", [3, 4, 100])
def test_embeddings_are_never_made_fewer(tokenizer: Any, spare: int) -> None:
    model = _model(400 + spare)
    before = model.get_input_embeddings().weight
    old = before.clone()
    add_tokens(tokenizer, NAMES)
    make_room(model, tokenizer)
    assert model.get_input_embeddings().weight is before
    assert torch.equal(before, old)
    assert model.config.vocab_size == 400 + spare


def test_some_rows_to_spare_are_not_enough(tokenizer: Any) -> None:
    model = _model(401)
    add_tokens(tokenizer, NAMES)
    make_room(model, tokenizer)
    assert len(model.get_input_embeddings().weight) == 403


def test_room_is_made_for_the_highest_id_and_not_for_the_number_of_tokens() -> None:
    class Sparse:
        def get_vocab(self) -> dict[str, int]:
            return {"a": 0, "b": 9}

    model = _model(5)
    make_room(model, Sparse())  # type: ignore[arg-type]
    assert len(model.get_input_embeddings().weight) == 10


def test_a_grown_body_is_read_back_from_its_files(tiny_backbone: Path, tokenizer: Any, tmp_path: Path) -> None:
    body = load_model(tiny_backbone, device=torch.device("cpu"))
    assert isinstance(body, LlamaModel)
    add_tokens(tokenizer, NAMES)
    make_room(body, tokenizer)
    body.save_pretrained(tmp_path)
    again = load_model(tmp_path, device=torch.device("cpu"))
    ids = torch.tensor([tokenizer("a ball<EMBED0><EMBED2>")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(again.eval()(input_ids=ids).last_hidden_state, body.eval()(input_ids=ids).last_hidden_state)
