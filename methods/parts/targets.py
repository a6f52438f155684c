"""Texts as what a decoder has to predict: their own tokens and an end token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from genembench.problem import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the token that ends every target.

    Raises:
        Problem: the tokenizer has none.
    """
    if tokenizer.eos_token_id is None:
        raise Problem(
            "the backbone's tokenizer has no end token, and the decoder has to predict one",
            "Set eos_token in its tokenizer_config.json, or use another backbone.",
        )
    return int(tokenizer.eos_token_id)


def target_ids(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int, *, unknown: Sequence[str] = ()
) -> list[list[int]]:
    """Token ids to decode, at most ``max_length`` with the end token.

    ``unknown`` are tokens of the tokenizer that the decoder does not know: where a text spells one out, it is read
    letter by letter.

    Raises:
        Problem: the tokenizer has no end token.
    """
    end = end_token(tokenizer)
    found = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    for i, text in enumerate(texts):
        if any(name in text for name in unknown):
            found[i] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [[*ids[: max_length - 1], end] for ids in found]
