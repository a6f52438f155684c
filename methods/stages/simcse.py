"""Unsupervised SimCSE: a text and itself under another dropout mask are a positive pair (Gao et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from genembench.problem import Problem
from methods.contract import Example, Start, Trainable
from methods.parts.dropout import set_attention_dropout
from methods.stages.contrast import BiEncoder, Contrast, GroupedTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class SimCSE(Contrast):
    """InfoNCE between two dropout views of each text, the other texts' views as negatives."""

    name: ClassVar[str] = "simcse"
    data: ClassVar[str] = "text"

    hard_negatives: int = 0
    dropout: float = 0.3
    """Of attention weights; adapters drop their inputs as well."""
    max_length: int = 128

    def __post_init__(self) -> None:
        """Refuse what gives no two views.

        Raises:
            Problem: dropout is no probability, or there is none at all, or there is no room for a text.
        """
        super().__post_init__()
        if not 0 <= self.dropout < 1 or self.max_length < 1:
            raise Problem(
                f"simcse_dropout={self.dropout}, simcse_max_length={self.max_length}: nothing to learn from",
                "simcse_dropout must be 0 or more and below 1, simcse_max_length 1 or more.",
            )

    def build(self, start: Start) -> Trainable:
        """Load the body, with dropout in its attention, and make its weights, or adapters, trainable."""
        body = start.model(causal=self.method.causal)
        set_attention_dropout(body, self.dropout)
        return Trainable(BiEncoder(self, self.adapt(body)), start.tokenizer())

    def collate(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> GroupedTokens:
        """Tokenise each text once; it passes twice, in one batch, where every row has dropout of its own."""
        method = replace(self.method, max_length=min(self.max_length, self.method.max_length))
        rows = method.tokenize(tokenizer, [row["text"] for row in examples], "document", "train")
        return GroupedTokens(rows, rows, [1] * len(rows))
