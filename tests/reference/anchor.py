"""Anchor-Embedding's first stage as plain as it goes: one text at a time, no padding, whole logits.

A text's vector is the last hidden state at the end token; it stands before the embeddings of the pair's other text, and
a causal language model, the same one, predicts that text and an end token (arXiv 2509.03020). Nothing of ``methods/``
is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Reduction = Literal["token-mean", "sequence-sum"]


def source_ids(tokenizer: Any, text: str, instruction: str = "") -> list[int]:
    """Token ids to encode: what the tokenizer makes of instruction, space and text, BOS included, and an end token."""
    ids: list[int] = tokenizer(f"{instruction} {text}" if instruction else text)["input_ids"]
    return [*ids, tokenizer.eos_token_id]


def target_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids to predict: the text's own and an end token."""
    return [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def anchor(model: Any, ids: Sequence[int]) -> Tensor:
    """Vector of a text ``[D]``: the hidden state after the final norm, at the last token."""
    output = model.base_model(input_ids=torch.tensor([ids]), use_cache=False)
    vector_D: Tensor = output.last_hidden_state[0, -1]
    return vector_D


def token_logp(model: Any, anchor_D: Tensor, target: Sequence[int]) -> Tensor:
    """Log-probability of each token of a target ``[T]``, by teacher forcing behind the anchor."""
    before_TD = model.get_input_embeddings()(torch.tensor(target[:-1], dtype=torch.long))
    inputs_1TD = torch.cat([anchor_D.unsqueeze(0), before_TD]).unsqueeze(0)
    logits_TV = model(inputs_embeds=inputs_1TD, use_cache=False).logits[0].float()
    logp_TV = torch.log_softmax(logits_TV, dim=-1)
    return torch.stack([logp_TV[t, token] for t, token in enumerate(target)])


@dataclass(frozen=True)
class Pair:
    """Token ids of a pair: each side to encode, and each side to predict."""

    query_source: list[int]
    document_source: list[int]
    query_target: list[int]
    document_target: list[int]

    @classmethod
    def of(cls, tokenizer: Any, query: str, document: str, instruction: str) -> Pair:
        """Tokenise; the instruction belongs to queries that are encoded and to nothing else."""
        return cls(
            source_ids(tokenizer, query, instruction),
            source_ids(tokenizer, document),
            target_ids(tokenizer, query),
            target_ids(tokenizer, document),
        )


def one_direction(
    model: Any, sources: Sequence[list[int]], targets: Sequence[list[int]], reduction: Reduction
) -> Tensor:
    """Minus log p of all targets: over their tokens, or summed over each and divided by the pairs."""
    total = torch.zeros(())
    for source, target in zip(sources, targets, strict=True):
        total = total - token_logp(model, anchor(model, source), target).sum()
    return total / (sum(map(len, targets)) if reduction == "token-mean" else len(targets))


def loss(model: Any, pairs: Sequence[Pair], *, alpha: float, reduction: Reduction) -> Tensor:
    """α of predicting documents from queries, 1 - α of predicting queries from documents."""
    q2d = one_direction(
        model, [pair.query_source for pair in pairs], [pair.document_target for pair in pairs], reduction
    )
    d2q = one_direction(
        model, [pair.document_source for pair in pairs], [pair.query_target for pair in pairs], reduction
    )
    return alpha * q2d + (1 - alpha) * d2q
