"""The two stages of AutoRegEmbed: information compression, and conditional distribution alignment.

Both train an encoder with k new tokens in front of the untouched backbone, which is frozen and reads the k vectors as
if they were embeddings (arXiv 2502.11401, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from methods.contract import Example, Recipe, Stage, Start, Trainable
from methods.parts.adapt import LoraShape, trainable
from methods.parts.alignment import alignment_loss, divergence_scores, likelihood_scores
from methods.parts.decode import Decoder, sum_over
from methods.parts.forward import run_body
from methods.parts.groups import padded, present
from methods.parts.losses import LossTerm
from methods.parts.observe import observe
from methods.parts.tokens import TokenRow
from methods.parts.vocabulary import add_tokens, ids_of, make_room

if TYPE_CHECKING:
    from methods.autoregembed import AutoRegEmbed


class Compressor(nn.Module):
    """The encoder that is trained, and beside it, untrained and unsaved, the decoder that reads its read-outs."""

    def __init__(self, stage: _OnDecoder, body: nn.Module, decoder: Decoder) -> None:
        super().__init__()
        self.stage = stage
        self.body = body
        self.decoder = decoder

    def forward(self, batch: Any) -> dict[str, LossTerm]:
        """Return the stage's loss."""
        return self.stage.loss(self, batch)

    def encode(self, rows: Sequence[TokenRow]) -> Tensor:
        """Compressed tokens of each row ``[N, k, D]``."""
        return run_body(self.body, rows, self.stage.method.readout)

    def hidden(self, prefix_NkD: Tensor, targets: Sequence[list[int]]) -> Tensor:
        """The decoder's last hidden states at the target positions, flat ``[M, D]``."""
        recompute = bool(getattr(self.body, "is_activation_checkpointing", False)) and self.training
        return self.decoder.hidden(prefix_NkD, targets, recompute=recompute)

    def logp(self, prefix_NkD: Tensor, targets: Sequence[list[int]]) -> Tensor:
        """Summed log-probability of each target behind its prefix ``[N]``, end token included."""
        return sum_over(self.token_logp(prefix_NkD, targets), targets)

    def token_logp(self, prefix_NkD: Tensor, targets: Sequence[list[int]]) -> Tensor:
        """Log-probability of each token of each target, flat ``[M]``."""
        hidden_MD = self.hidden(prefix_NkD, targets)
        ids_M = torch.tensor([token for target in targets for token in target], device=hidden_MD.device)
        return self.decoder.token_logp(hidden_MD, ids_M)


@dataclass(frozen=True)
class _OnDecoder(Stage):
    """What both stages share: an encoder with k new tokens in front of a frozen decoder."""

    method: AutoRegEmbed

    loss_kind: ClassVar[Literal["additive"]] = "additive"

    def build(self, start: Start) -> Trainable:
        """Load the encoder, give it the k tokens where it lacks them, and put the untouched backbone behind it."""
        method, tokenizer = self.method, start.tokenizer()
        method.end_token(tokenizer)
        add_tokens(tokenizer, method.new_tokens)
        model = start.model()
        make_room(model, tokenizer)
        shape = LoraShape(method.lora_rank, method.lora_alpha, method.lora_dropout)
        body = trainable(model, method.tuning, shape, new_tokens=ids_of(tokenizer, method.new_tokens))
        return Trainable(Compressor(self, body, Decoder(start.untouched())), tokenizer)

    def loss(self, model: Compressor, batch: Any) -> dict[str, LossTerm]:
        """Compute the stage's loss on a collated batch."""
        raise NotImplementedError

    def _recipe(self, learning_rate: float, batch_size: int, epochs: int) -> Recipe:
        method = self.method
        return Recipe(
            learning_rate=learning_rate,
            batch_size=batch_size,
            epochs=epochs,
            schedule=method.schedule,
            warmup=method.warmup,
            weight_decay=method.weight_decay,
        )


@dataclass(frozen=True)
class CompressBatch:
    """Context and instruction to encode, and the answer to decode, of each example."""

    sources: list[TokenRow]
    targets: list[list[int]]


@dataclass(frozen=True)
class Compress(_OnDecoder):
    """Information compression: the decoder must answer an instruction from the compressed tokens alone (eq. 3)."""

    name = "compress"
    data = "instruct"

    @property
    def recipe(self) -> Recipe:
        """Optimiser settings of this stage."""
        method = self.method
        return self._recipe(method.compress_learning_rate, method.compress_batch_size, method.compress_epochs)

    def identity(self) -> dict[str, Any]:
        """Leave out what only alignment uses: every variant of it stands on one compression."""
        values = self.method.config()
        alignment = {"beta", "temperature", "hard_negatives", "loss", "reference_sign", "trained", "prompt"}
        return {k: v for k, v in values.items() if k not in alignment and not k.startswith("align_")} | {
            "stage": self.name
        }

    def collate(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> CompressBatch:
        """Tokenise ``context + "\\n"`` and ``instruction + "\\n"`` apart, and the target with an end token."""
        method = self.method
        contexts = [row["context"] for row in examples]
        rows = method.instructed(tokenizer, contexts, [row["instruction"] for row in examples])
        return CompressBatch(rows, method.targets(tokenizer, [row["target"] for row in examples]))

    def weigh(self, batch: CompressBatch) -> dict[str, float]:
        """Target tokens, the end token included."""
        return {"reconstruction": float(sum(map(len, batch.targets)))}

    def loss(self, model: Compressor, batch: CompressBatch) -> dict[str, LossTerm]:
        """Return the sum of -log p over the target tokens."""
        logp_M = model.token_logp(model.encode(batch.sources), batch.targets)
        observe("logp_per_token", logp_M)
        return {"reconstruction": LossTerm(-logp_M.sum(), float(len(logp_M)))}


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
class Align(_OnDecoder):
    """Conditional distribution alignment: query and positive predict the same text, and not the negative."""

    name = "align"
    data = "triplets"

    @property
    def recipe(self) -> Recipe:
        """Optimiser settings of this stage."""
        method = self.method
        return self._recipe(method.align_learning_rate, method.align_batch_size, method.align_epochs)

    @property
    def _divergent(self) -> bool:
        return self.method.loss in ("kl", "js")

    def collate(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> AlignBatch:
        """Tokenise queries and the documents to encode with the prompt, and every document as a target."""
        method = self.method
        groups = [[row["positive"], *row["negative"][: method.hard_negatives]] for row in examples]
        encoded = [text for group in groups for text in (group if self._divergent else group[:1])]
        scores = [row["reference_logp"] for row in examples if "reference_logp" in row]
        if scores and len(scores) < len(examples):
            raise ValueError(f"{len(scores)} of {len(examples)} rows have reference scores: all or none must")
        return AlignBatch(
            queries=method.tokenize(tokenizer, [row["query"] for row in examples], "query", "train"),
            documents=method.tokenize(tokenizer, encoded, "document", "train"),
            targets=method.targets(tokenizer, [text for group in groups for text in group]),
            group=[len(group) for group in groups],
            reference_BG=torch.stack(scores) if scores else None,
        )

    def weigh(self, batch: AlignBatch) -> dict[str, float]:
        """One for each triplet."""
        return {"alignment": float(len(batch.queries))}

    def preparation(self) -> Mapping[str, Any] | None:
        """Scores under the reference: the encoder before alignment. The divergence variants use none."""
        if self._divergent:
            return None
        encoding = ("compressed_tokens", "max_length", "max_target_length", "prompt", "hard_negatives", "readout_kind")
        values = self.method.config()
        return {"reference": "reference_logp", **{name: values[name] for name in encoding}}

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
        loss_B = alignment_loss(s1_B, s2_Bn, present_BG[:, 1:], self.method.temperature)
        return {"alignment": LossTerm(loss_B.sum(), float(count))}

    def _likelihoods(
        self, model: Compressor, query_MkD: Tensor, positive_BkD: Tensor, batch: AlignBatch, present_BG: Tensor
    ) -> tuple[Tensor, Tensor]:
        if batch.reference_BG is None:
            raise ValueError("a batch of the align stage has no reference scores: prepare() was not run on its rows")
        method = self.method
        positives = [batch.targets[first] for first in accumulate(batch.group[:-1], initial=0)]
        logp_N = model.logp(torch.cat([query_MkD, positive_BkD]), [*batch.targets, *positives])
        query_BG, self_B = padded(logp_N[: len(query_MkD)], present_BG), logp_N[len(query_MkD) :]
        observe("logp/query_to_positive", query_BG[:, 0])
        observe("logp/positive_to_positive", self_B)
        observe("logp/query_to_negative", query_BG[:, 1:][present_BG[:, 1:]])
        reference_BG = batch.reference_BG.to(query_BG.device)
        log = method.loss == "log_sigmoid"
        return likelihood_scores(query_BG, self_B, reference_BG, beta=method.beta, sign=method.reference_sign, log=log)

    def _divergences(
        self, model: Compressor, query_MkD: Tensor, document_MkD: Tensor, batch: AlignBatch, present_BG: Tensor
    ) -> tuple[Tensor, Tensor]:
        hidden_2TD = model.hidden(torch.cat([document_MkD, query_MkD]), [*batch.targets, *batch.targets])
        of_document_TD, of_query_TD = hidden_2TD.chunk(2)
        kind: Literal["kl", "js"] = "js" if self.method.loss == "js" else "kl"
        per_token_T = model.decoder.divergence(of_document_TD, of_query_TD, kind)
        lengths_M = torch.tensor([len(target) for target in batch.targets], device=per_token_T.device)
        divergence_BG = padded(sum_over(per_token_T, batch.targets) / lengths_M, present_BG)
        observe("divergence/positive", divergence_BG[:, 0])
        observe("divergence/negative", divergence_BG[:, 1:][present_BG[:, 1:]])
        return divergence_scores(divergence_BG)

    def _present(self, batch: AlignBatch, device: torch.device) -> Tensor:
        return present(batch.group, 1 + self.method.hard_negatives, device)


def _for_each_document(query_BkD: Tensor, group: Sequence[int]) -> Tensor:
    return query_BkD.repeat_interleave(torch.tensor(group, device=query_BkD.device), dim=0)
