from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genembench.problem import Problem
from methods.parts.backbone import load_tokenizer
from methods.parts.tokens import TextTemplate, TokenRow, length_groups, pad, shortened

PROMPT = "\nThis sentence means in one word: “"


def test_text_and_prompt_are_tokenised_as_one_string_behind_bos(tiny_backbone: Path) -> None:
    tokenizer = load_tokenizer(tiny_backbone)
    (row,) = TextTemplate(suffix=PROMPT).rows(tokenizer, ["the red ball"], 512)
    # What the tokenizer itself makes of the whole string; it puts <s> in front.
    assert row.ids == tokenizer("the red ball" + PROMPT)["input_ids"]
    assert row.ids[0] == tokenizer.bos_token_id
    assert all(row.content)


def test_a_text_of_5000_tokens_still_ends_with_its_prompt(tiny_backbone: Path) -> None:
    tokenizer = load_tokenizer(tiny_backbone)
    text = "the cat sees a red ball in the yard and " * 1000
    assert len(tokenizer(text)["input_ids"]) > 5000
    (row,) = TextTemplate(prefix="say: ", suffix=PROMPT).rows(tokenizer, [text], 128)
    assert len(row) == 128
    decoded = str(tokenizer.decode(row.ids[1:]))
    assert decoded.startswith("say: the cat sees")
    assert decoded.endswith(PROMPT)


def test_content_can_be_the_text_alone(tiny_backbone: Path) -> None:
    tokenizer = load_tokenizer(tiny_backbone)
    (row,) = TextTemplate(prefix="say: ", suffix=PROMPT, content="text").rows(tokenizer, ["red ball"], 512)
    inside = [token for token, content in zip(row.ids, row.content, strict=True) if content]
    assert str(tokenizer.decode(inside)).strip() == "red ball"


def test_content_can_be_the_text_and_what_stands_behind_it(tiny_backbone: Path) -> None:
    tokenizer = load_tokenizer(tiny_backbone)
    for text in ("red ball", "the cat sees a red ball in the yard " * 20):
        (row,) = TextTemplate(prefix="say: ", suffix=PROMPT, content="text and suffix").rows(tokenizer, [text], 64)
        inside = [token for token, content in zip(row.ids, row.content, strict=True) if content]
        assert row.content == [False] * (len(row) - len(inside)) + [True] * len(inside)
        decoded = str(tokenizer.decode(inside)).strip()
        assert decoded.endswith(PROMPT)
        assert text.startswith(decoded.removesuffix(PROMPT).strip())
    assert decoded.startswith("the cat sees")


def test_texts_are_shortened_to_their_first_tokens(tiny_backbone: Path) -> None:
    tokenizer = load_tokenizer(tiny_backbone)
    long = "the cat sees a red ball in the yard, é 🦊 " * 30
    texts = [long, "a ball", " two  spaces ", "", "🦊🦊🦊🦊"]
    for longest in (1, 7, 100):
        for text, kept in zip(texts, shortened(tokenizer, texts, longest), strict=True):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert text.startswith(kept)
            first = str(tokenizer.decode(ids[:longest]))
            if len(ids) <= longest:
                assert kept == text
            elif "\ufffd" not in first:
                assert kept == first
            else:
                # A character of several tokens is kept whole.
                assert kept[:-1] == first.rstrip("\ufffd")
    assert texts[0] == long


def test_a_prompt_that_leaves_no_room_for_the_text_is_refused(tiny_backbone: Path) -> None:
    tokenizer = load_tokenizer(tiny_backbone)
    with pytest.raises(Problem, match="leaves no room for the text"):
        TextTemplate(suffix=PROMPT).rows(tokenizer, ["the cat sees a ball"], 8)


def test_an_empty_text_has_no_content_of_its_own(tiny_backbone: Path) -> None:
    tokenizer = load_tokenizer(tiny_backbone)
    with pytest.raises(Problem, match="leaves no token to read a vector from"):
        TextTemplate(suffix=PROMPT, content="text").rows(tokenizer, [""], 64)


def test_every_text_may_have_a_limit_of_its_own(tiny_backbone: Path) -> None:
    tokenizer = load_tokenizer(tiny_backbone)
    text = "the cat sees a red ball in the yard " * 20
    template = TextTemplate(suffix=PROMPT)
    texts, limits = [text, "a ball", text, text], [64, 64, 512, 70]
    rows = template.rows(tokenizer, texts, limits)
    whole = len(tokenizer(text + PROMPT)["input_ids"])
    assert 70 < whole < 512
    assert [len(row) for row in rows] == [64, len(tokenizer("a ball" + PROMPT)["input_ids"]), whole, 70]
    for row, one, limit in zip(rows, texts, limits, strict=True):
        assert [row] == template.rows(tokenizer, [one], limit)
        assert str(tokenizer.decode(row.ids)).endswith(PROMPT)
    with pytest.raises(ValueError, match="shorter"):
        template.rows(tokenizer, texts, limits[:3])


@pytest.mark.parametrize("bos", [[], [7], [7, 8, 9]])
def test_what_stands_in_front_can_be_chosen(tiny_backbone: Path, bos: list[int]) -> None:
    tokenizer = load_tokenizer(tiny_backbone)
    plain = tokenizer("the red ball" + PROMPT, add_special_tokens=False)["input_ids"]
    assert tokenizer.bos_token_id not in plain
    (row,) = TextTemplate(suffix=PROMPT).rows(tokenizer, ["the red ball"], 512, bos=bos)
    assert row.ids == bos + plain
    # It counts: the text gives way to it, and it is never cut itself.
    (cut,) = TextTemplate(suffix=PROMPT).rows(tokenizer, ["the red ball " * 50], len(plain) + 2, bos=bos)
    assert len(cut) == len(plain) + 2
    assert cut.ids[: len(bos) + 1] == [*bos, plain[0]]
    # It is prompt, so it is read where the prompt is.
    (inner,) = TextTemplate(content="text").rows(tokenizer, ["the red ball"], 512, bos=bos)
    assert inner.content == [False] * len(bos) + [True] * (len(inner) - len(bos))


def test_padding_marks_what_is_real_on_either_side() -> None:
    rows = [TokenRow([5, 6, 7], [True, True, False]), TokenRow([8], [True])]
    right = pad(rows, torch.device("cpu"))
    left = pad(rows, torch.device("cpu"), side="left")
    assert right.ids_BL.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert left.ids_BL.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert right.mask_BL is not None
    assert left.mask_BL is not None
    assert right.mask_BL.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert left.mask_BL.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert left.content_BL.tolist() == [[True, True, False], [False, False, True]]
    assert left.positions_BL is not None
    assert left.positions_BL.tolist() == [[0, 1, 2], [0, 0, 0]]


def test_rows_of_one_length_need_no_mask() -> None:
    batch = pad([TokenRow([5, 6], [True, True]), TokenRow([7, 8], [True, True])], torch.device("cpu"))
    assert batch.mask_BL is None
    assert batch.positions_BL is None


def test_groups_hold_every_row_once_within_the_token_budget() -> None:
    lengths = [3, 9, 1, 4, 4, 12, 2]
    groups = length_groups(lengths, 12)
    assert sorted(i for group in groups for i in group) == list(range(7))
    assert groups == [[5], [1], [3, 4, 0], [6, 2]]
    assert length_groups([50], 12) == [[0]]
