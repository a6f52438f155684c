"""Conditional distribution alignment: query and positive shall make the frozen decoder predict the same text.

Deng et al., arXiv 2502.11401, section 3.2, and the loss variants of its appendix B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from methods.contract import Example, Trainable
from methods.parts.alignment import ReferenceSign, alignment_loss, divergence_scores, likelihood_scores
from methods.parts.decode import sum_over
from methods.parts.groups import padded, present
from methods.parts.losses import LossTerm
from methods.parts.observe import observe
from methods.parts.tokens import TokenRow
from methods.stages.compress import Compressor, OnDecoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Scores = Literal["sigmoid", "log_sigmoid", "kl", "js"]
"""What S1 and S2 are: the paper's, or a variant of its appendix B."""


@dataclass(frozen=True)
class AlignBatch:
    """Triplets: ``group[i]`` documents of query i, flat, positive first.

    ``documents`` are the ones whose own compressed tokens the loss needs: the positives, or all of them.
    """

    queries: list[TokenRow]
    documents: list[TokenRow]
    targets: list[list[int]]
    group: list[int]
    reference_BG: Tensor | None


@dataclass(frozen=True)
class Align(OnDecoder):
    """Conditional distribution alignment: query and positive predict the same text, and not the negative."""

    name: ClassVar[str] = "align"
    data: ClassVar[str] = "triplets"

    scores: Scores
    reference_sign: ReferenceSign
    beta: float
    temperature: float
    hard_negatives: int

    @property
    def _divergent(self) -> bool:
        return self.scores in ("kl", "js")

    def collate(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> AlignBatch:
        """Tokenise queries and the documents to encode with the prompt, and every document as a target."""
        groups = [[row["positive"], *row["negative"][: self.hard_negatives]] for row in examples]
        encoded = [text for group in groups for text in (group if self._divergent else group[:1])]
        reference = [row["reference_logp"] for row in examples if "reference_logp" in row]
        if reference and len(reference) < len(examples):
            raise ValueError(f"{len(reference)} of {len(examples)} rows have reference scores: all or none must")
        return AlignBatch(
            queries=self.method.tokenize(tokenizer, [row["query"] for row in examples], "query", "train"),
            documents=self.method.tokenize(tokenizer, encoded, "document", "train"),
            targets=self.targets(tokenizer, [text for group in groups for text in group]),
            group=[len(group) for group in groups],
            reference_BG=torch.stack(reference) if reference else None,
        )

    def weigh(self, batch: AlignBatch) -> dict[str, float]:
        """One for each triplet."""
        return {"alignment": float(len(batch.queries))}

    def preparation(self) -> Mapping[str, Any] | None:
        """Scores under the reference: the encoder before alignment. The divergence variants use none."""
        if self._divergent:
            return None
        lengths = {"hard_negatives": self.hard_negatives, "max_target_length": self.max_target_length}
        return {"reference": "reference_logp", **lengths, **self.method.encoding_config()}

    def prepare(self, trained: Trainable, examples: Sequence[Example]) -> Mapping[str, Tensor]:
        """ρ of each document given its query ``[N, 1 + hard_negatives]``; 0 where a triplet has fewer."""
        assert isinstance(trained.module, Compressor)
        batch, model = self.collate(examples, trained.tokenizer), trained.module
        query_MkD = _for_each_document(model.encode(batch.queries), batch.group)
        reference_M = model.logp(query_MkD, batch.targets)
        return {"reference_logp": padded(reference_M, self._present(batch, reference_M.device))}

    def loss(self, model: Compressor, batch: AlignBatch) -> dict[str, LossTerm]:
        """Both encodings in one pass, all decodings in one pass; the query is encoded once."""
        encoded_NkD = model.encode([*batch.queries, *batch.documents])
        count = len(batch.queries)
        present_BG = self._present(batch, encoded_NkD.device)
        query_MkD = _for_each_document(encoded_NkD[:count], batch.group)
        compare = self._divergences if self._divergent else self._likelihoods
        s1_B, s2_Bn = compare(model, query_MkD, encoded_NkD[count:], batch, present_BG)
        observe("S1", s1_B)
        observe("S2", s2_Bn[present_BG[:, 1:]])
        loss_B = alignment_loss(s1_B, s2_Bn, present_BG[:, 1:], self.temperature)
        return {"alignment": LossTerm(loss_B.sum(), float(count))}

    def _likelihoods(
        self, model: Compressor, query_MkD: Tensor, positive_BkD: Tensor, batch: AlignBatch, present_BG: Tensor
    ) -> tuple[Tensor, Tensor]:
        if batch.reference_BG is None:
            raise ValueError("a batch of the align stage has no reference scores: prepare() was not run on its rows")
        positives = [batch.targets[first] for first in accumulate(batch.group[:-1], initial=0)]
        logp_N = model.logp(torch.cat([query_MkD, positive_BkD]), [*batch.targets, *positives])
        query_BG, self_B = padded(logp_N[: len(query_MkD)], present_BG), logp_N[len(query_MkD) :]
        observe("logp/query_to_positive", query_BG[:, 0])
        observe("logp/positive_to_positive", self_B)
        observe("logp/query_to_negative", query_BG[:, 1:][present_BG[:, 1:]])
        reference_BG = batch.reference_BG.to(query_BG.device)
        log, sign = self.scores == "log_sigmoid", self.reference_sign
        return likelihood_scores(query_BG, self_B, reference_BG, beta=self.beta, sign=sign, log=log)

    def _divergences(
        self, model: Compressor, query_MkD: Tensor, document_MkD: Tensor, batch: AlignBatch, present_BG: Tensor
    ) -> tuple[Tensor, Tensor]:
        hidden_2TD = model.hidden(torch.cat([document_MkD, query_MkD]), [*batch.targets, *batch.targets])
        of_document_TD, of_query_TD = hidden_2TD.chunk(2)
        kind: Literal["kl", "js"] = "js" if self.scores == "js" else "kl"
        per_token_T = model.decoder.divergence(of_document_TD, of_query_TD, kind)
        lengths_M = torch.tensor([len(target) for target in batch.targets], device=per_token_T.device)
        divergence_BG = padded(sum_over(per_token_T, batch.targets) / lengths_M, present_BG)
        observe("divergence/positive", divergence_BG[:, 0])
        observe("divergence/negative", divergence_BG[:, 1:][present_BG[:, 1:]])
        return divergence_scores(divergence_BG)

    def _present(self, batch: AlignBatch, device: torch.device) -> Tensor:
        return present(batch.group, 1 + self.hard_negatives, device)


def _for_each_document(query_BkD: Tensor, group: Sequence[int]) -> Tensor:
    return query_BkD.repeat_interleave(torch.tensor(group, device=query_BkD.device), dim=0)
