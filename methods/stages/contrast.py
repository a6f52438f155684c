"""InfoNCE over triplets: query and documents encoded by one body, own or in-batch negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor, nn

from genembench.problem import Problem
from methods.contract import Example, Start, Trainable
from methods.parts.forward import run_body
from methods.parts.groups import padded, present
from methods.parts.losses import LossTerm, info_nce
from methods.parts.tokens import TokenRow
from methods.stages.shared import SharedStage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class GroupedTokens:
    """A batch: queries, then each query's positive and hard negatives, flat; ``group[i]`` documents for query i."""

    queries: list[TokenRow]
    documents: list[TokenRow]
    group: list[int]


class BiEncoder(nn.Module):
    """Query and document vectors from one body, all texts in one length-grouped pass."""

    def __init__(self, stage: Contrast, body: nn.Module) -> None:
        super().__init__()
        self.stage = stage
        self.body = body

    def forward(self, batch: GroupedTokens) -> dict[str, Tensor] | dict[str, LossTerm]:
        """Return the vectors of a joint loss, or the finished sum where each query has only its own documents.

        The vectors are ``query [B, D]``, ``documents [B, G, D]`` and ``present [B, G]``; G = 1 + hard negatives.
        """
        method = self.stage.method
        vectors_ND = method.pool(run_body(self.body, [*batch.queries, *batch.documents], method.readout))
        query_BD, flat_MD = vectors_ND[: len(batch.queries)], vectors_ND[len(batch.queries) :]
        present_BG = present(batch.group, 1 + self.stage.hard_negatives, flat_MD.device)
        vectors = {"query": query_BD, "documents": padded(flat_MD, present_BG), "present": present_BG}
        return vectors if self.stage.in_batch else self.stage.joint_loss(vectors)


@dataclass(frozen=True)
class Contrast(SharedStage):
    """InfoNCE over triplets (AutoRegEmbed, eq. 1; LLM2Vec's supervised stage with ``temperature`` 1/50)."""

    name: ClassVar[str] = "contrast"
    data: ClassVar[str] = "triplets"

    temperature: float
    hard_negatives: int = 1
    in_batch: bool = True

    def __post_init__(self) -> None:
        """Refuse what the loss cannot take.

        Raises:
            Problem: a negative number of negatives, or a temperature that is not above 0.
        """
        if self.hard_negatives < 0 or not self.temperature > 0:
            raise Problem(
                f"hard_negatives={self.hard_negatives}, temperature={self.temperature}: not a loss",
                "hard_negatives must be 0 or more and temperature above 0.",
            )

    @property
    def loss_kind(self) -> Literal["additive", "joint"]:
        """In-batch negatives make the loss joint."""
        return "joint" if self.in_batch else "additive"

    def build(self, start: Start) -> Trainable:
        """Load the body and make its weights, or adapters, trainable."""
        return Trainable(BiEncoder(self, self.adapt(start.model(causal=self.method.causal))), start.tokenizer())

    def collate(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> GroupedTokens:
        """Tokenise queries and documents; of the negatives the first ``hard_negatives``."""
        groups = [[row["positive"], *row["negative"][: self.hard_negatives]] for row in examples]
        queries = self.method.tokenize(tokenizer, [row["query"] for row in examples], "query", "train")
        documents = self.method.tokenize(tokenizer, [text for group in groups for text in group], "document", "train")
        return GroupedTokens(queries, documents, [len(group) for group in groups])

    def weigh(self, batch: GroupedTokens) -> dict[str, float]:
        """One for each query."""
        return {"infonce": float(len(batch.queries))}

    def joint_loss(self, outputs: Mapping[str, Tensor]) -> dict[str, LossTerm]:
        """InfoNCE of the vectors, with in-batch negatives over every document of the global batch."""
        term = info_nce(
            outputs["query"],
            outputs["documents"],
            outputs["present"],
            temperature=self.temperature,
            in_batch=self.in_batch,
        )
        return {"infonce": term}
