"""Methods that put an instruction before a query and do not read it: LLM2Vec's template, also Anchor-Embedding's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from genembench.problem import Problem
from methods.contract import Phase, Role, hyper
from methods.parts.chat import Chat, wrapper
from methods.parts.targets import end_token
from methods.parts.tokens import TextTemplate, TokenRow, shortened
from methods.trained import TrainedMethod

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class InstructedMethod(TrainedMethod):
    """``{opening}{instruction} {text}{closing}``; the text and the closing are read, the instruction only attended to.

    Queries have an instruction, documents none; at evaluation both sides of a symmetric task have it (LLM2Vec's code,
    commit 312adcf).
    """

    ends: ClassVar[bool] = False
    """Whether an end token follows, which is what a read-out of the last token reads."""

    instruction: str = hyper(
        "Retrieve semantically similar text:", "before queries and symmetric texts at evaluation", encodes=True
    )
    train_instruction: str = hyper(
        "Given a premise, retrieve a hypothesis that is entailed by the premise;",
        "before queries in training",
        encodes=True,
    )
    chat: Chat = hyper("auto", "wrapper of a user's turn; auto: by the tokenizer's chat template", encodes=True)
    max_text_length: int = hyper(400, "longest text at evaluation in tokens, instruction not counted", encodes=True)
    content: Literal["exact", "released"] = hyper(
        "exact", "which tokens are the text's: by characters, or as many as it has when tokenised alone", encodes=True
    )

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to read.

        Raises:
            Problem: no room for a text.
        """
        if self.max_text_length < 1:
            raise Problem(f"max_text_length={self.max_text_length}: no text is so short", "It must be 1 or more.")

    def tokenize(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], role: Role, phase: Phase
    ) -> list[TokenRow]:
        """Wrap, tokenise as one string, and mark the text and what closes it as content."""
        # Of a text of white space only, something must be left to read.
        texts = [text if text.strip() else "." for text in texts]
        said = "" if role == "document" else self.instruction if phase == "evaluate" else self.train_instruction
        opening, closing = wrapper(self.chat, tokenizer)
        if phase == "evaluate":
            texts = shortened(tokenizer, texts, self.max_text_length)
        template = TextTemplate(opening + (f"{said} " if said else ""), closing, "text and suffix")
        rows = template.rows(tokenizer, texts, self.max_length - int(self.ends))
        if self.content == "released":
            alone = tokenizer([text + closing for text in texts], add_special_tokens=False)["input_ids"]
            rows = [_last(row, len(ids)) for row, ids in zip(rows, alone, strict=True)]
        if self.ends:
            end = end_token(tokenizer)
            # Some wrappers close with the end token themselves.
            rows = [row if row.ids[-1] == end else TokenRow([*row.ids, end], [*row.content, True]) for row in rows]
        return rows


def _last(row: TokenRow, count: int) -> TokenRow:
    """Mark the last ``count`` tokens, as the released code does: off by one or more where a boundary is merged."""
    kept = min(max(count, 1), len(row))
    return TokenRow(row.ids, [False] * (len(row) - kept) + [True] * kept)
