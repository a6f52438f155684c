"""Tokens of a method's own: added to the tokenizer, and rows for them to the embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokenizers import AddedToken
from torch import Tensor

from genembench.problem import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def add_tokens(tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> None:
    """Add ``names`` as special tokens, behind the vocabulary; those that are there already stay."""
    known = tokenizer.added_tokens_encoder
    missing = [AddedToken(name, special=True, normalized=False) for name in names if name not in known]
    if missing:
        tokenizer.add_tokens(missing, special_tokens=True)


def make_room(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give every token of ``tokenizer`` an embedding: new rows are drawn around the mean of the old ones.

    Embeddings are never made fewer. Some backbones have more rows than tokens; new tokens then take the spare rows as
    they are, the backbone's own initialisation.
    """
    needed = max(tokenizer.get_vocab().values()) + 1
    rows = model.get_input_embeddings().weight
    assert isinstance(rows, Tensor)
    if needed > len(rows):
        model.resize_token_embeddings(needed)


def ids_of(tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> list[int]:
    """Ids of tokens that were added.

    Raises:
        Problem: the tokenizer has none of that name.
    """
    # Asked of each batch, and get_vocab() copies the whole vocabulary.
    known = tokenizer.added_tokens_encoder
    missing = [name for name in names if name not in known]
    if missing:
        raise Problem(
            f"the tokenizer does not know {', '.join(missing)}",
            "They are added when the method's first stage is built: encode with the tokenizer that it left.",
        )
    return [known[name] for name in names]
