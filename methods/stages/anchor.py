"""Bidirectional reconstruction from an anchor: the query's vector predicts the document, the document's the query.

Arxiv 2509.03020, equations of EBQ2D and EBD2Q. One model encodes and decodes, and all of it is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import nn

from genembench.problem import Problem
from methods.contract import Example, Start, Trainable
from methods.parts.adapt import save_merged
from methods.parts.decode import context_of, hidden_behind, sum_over
from methods.parts.forward import run_body
from methods.parts.head import Head
from methods.parts.losses import LossTerm
from methods.parts.observe import observe
from methods.parts.targets import end_token, target_ids
from methods.parts.tokens import TokenRow
from methods.stages.shared import SharedStage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Reduction = Literal["token-mean", "sequence-sum"]


@dataclass(frozen=True)
class Direction:
    """What is encoded and what is predicted from it, one of each a pair, and how much the term counts."""

    name: str
    coefficient: float
    sources: list[TokenRow]
    targets: list[list[int]]


class AnchorModel(nn.Module):
    """A causal language model that encodes a text, then decodes another behind the vector, head included."""

    def __init__(self, stage: Anchor, body: nn.Module, head: Head, context: int) -> None:
        super().__init__()
        self.stage = stage
        self.body = body
        # Kept as a module too, so that its weights are trained; tied ones are the body's embeddings.
        self.lm_head = head.linear
        self.head = head
        self.context = context

    def forward(self, batch: Sequence[Direction]) -> dict[str, LossTerm]:
        """Return a term for each direction; all texts are encoded in one pass and decoded in another."""
        sources = [row for one in batch for row in one.sources]
        targets = [target for one in batch for target in one.targets]
        anchor_N1D = run_body(self.body, sources, self.stage.method.readout)
        embeddings = self.body.get_input_embeddings()  # type: ignore[operator]
        hidden_MD = hidden_behind(self.body, embeddings, anchor_N1D, targets, context=self.context)
        ids_M = torch.tensor([token for target in targets for token in target], device=hidden_MD.device)
        logp_N = sum_over(self.head.token_logp(hidden_MD, ids_M), targets)
        weights = self.stage.weigh(batch)
        terms, first = {}, 0
        for one in batch:
            logp_B = logp_N[first : first + len(one.targets)]
            first += len(one.targets)
            observe(f"nats_per_token/{one.name}", -logp_B.sum() / sum(map(len, one.targets)))
            terms[one.name] = LossTerm(-logp_B.sum(), weights[one.name], one.coefficient)
        return terms


@dataclass(frozen=True)
class Anchor(SharedStage):
    """α·Q2D + (1 - α)·D2Q on pairs; a direction that counts nothing is not computed."""

    name: ClassVar[str] = "anchor"
    data: ClassVar[str] = "pairs"
    loss_kind: ClassVar[Literal["additive"]] = "additive"

    alpha: float
    reduction: Reduction
    max_target_length: int

    def __post_init__(self) -> None:
        """Refuse what is no mixture.

        Raises:
            Problem: α is no share, or there is no room for a target.
        """
        if not 0 <= self.alpha <= 1 or self.max_target_length < 1:
            raise Problem(
                f"alpha={self.alpha}, max_target_length={self.max_target_length}: not a loss",
                "alpha must lie between 0 (D2Q only) and 1 (Q2D only), max_target_length must be 1 or more.",
            )

    @property
    def trains(self) -> str:
        """The head too, unless there are adapters."""
        return f"{super().trains}{', the head included' if self.tuning == 'full' else '; the head is frozen'}"

    def build(self, start: Start) -> Trainable:
        """Load the language model; with adapters its head stays as it is."""
        tokenizer = start.tokenizer()
        end_token(tokenizer)
        model = start.model(head=True, causal=self.method.causal)
        head = Head(model)
        head.linear.requires_grad_(self.tuning == "full")
        body = self.adapt(model.base_model)
        return Trainable(AnchorModel(self, body, head, context_of(model)).train(), tokenizer)

    def collate(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> list[Direction]:
        """Tokenise both sides with the template, to encode, and alone with an end token, to predict."""
        queries, documents = [row["query"] for row in examples], [row["document"] for row in examples]
        directions = []
        if self.alpha > 0:
            sources = self.method.tokenize(tokenizer, queries, "query", "train")
            directions.append(Direction("q2d", self.alpha, sources, self._targets(tokenizer, documents)))
        if self.alpha < 1:
            sources = self.method.tokenize(tokenizer, documents, "document", "train")
            directions.append(Direction("d2q", 1 - self.alpha, sources, self._targets(tokenizer, queries)))
        return directions

    def weigh(self, batch: Sequence[Direction]) -> dict[str, float]:
        """Target tokens of each direction, or pairs where sequences are summed."""
        return {
            one.name: float(sum(map(len, one.targets)) if self.reduction == "token-mean" else len(one.targets))
            for one in batch
        }

    def finish(self, trained: Trainable, folder: Path) -> None:
        """Write the whole language model: a head of its own has been trained too."""
        module: Any = trained.module
        save_merged(module.body, trained.tokenizer, folder, within=module.head.model)

    def _targets(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
        return target_ids(tokenizer, texts, self.max_target_length)
