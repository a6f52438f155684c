"""Information compression: an encoder with k new tokens in front of the untouched backbone, which reads its read-outs.

Deng et al., arXiv 2502.11401, section 3.1. The backbone is frozen and takes the k vectors as if they were embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from methods.contract import Example, Start, Trainable
from methods.parts.decode import Decoder, sum_over
from methods.parts.forward import run_body
from methods.parts.losses import LossTerm
from methods.parts.observe import observe
from methods.parts.targets import end_token, target_ids
from methods.parts.tokens import TokenRow
from methods.parts.vocabulary import add_tokens, ids_of, make_room
from methods.stages.shared import SharedStage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from methods.autoregembed import AutoRegEmbed


class Compressor(nn.Module):
    """The encoder that is trained, and beside it, untrained and unsaved, the decoder that reads its read-outs."""

    def __init__(self, stage: OnDecoder, body: nn.Module, decoder: Decoder) -> None:
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
class OnDecoder(SharedStage):
    """What compression and alignment share: an encoder with k new tokens in front of a frozen decoder."""

    method: AutoRegEmbed

    loss_kind: ClassVar[Literal["additive"]] = "additive"

    max_target_length: int
    """Longest text to decode in tokens, end token included."""

    @property
    def trains(self) -> str:
        """With adapters the new tokens' embeddings too; the decoder in no case."""
        tokens = "" if self.tuning == "full" else f"; the {len(self.method.new_tokens)} new tokens' embeddings"
        return f"{super().trains}{tokens}; the decoder is frozen"

    def build(self, start: Start) -> Trainable:
        """Load the encoder, give it the k tokens where it lacks them, and put the untouched backbone behind it."""
        tokenizer = start.tokenizer()
        end_token(tokenizer)
        names = self.method.new_tokens
        add_tokens(tokenizer, names)
        model = start.model()
        make_room(model, tokenizer)
        body = self.adapt(model, new_tokens=ids_of(tokenizer, names))
        return Trainable(Compressor(self, body, Decoder(start.untouched())), tokenizer)

    def targets(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
        """Token ids to decode, in the backbone's own vocabulary, with an end token."""
        return target_ids(tokenizer, texts, self.max_target_length, unknown=self.method.new_tokens)

    def loss(self, model: Compressor, batch: Any) -> dict[str, LossTerm]:
        """Compute the stage's loss on a collated batch."""
        raise NotImplementedError


@dataclass(frozen=True)
class CompressBatch:
    """Context and instruction to encode, and the answer to decode, of each example."""

    sources: list[TokenRow]
    targets: list[list[int]]


@dataclass(frozen=True)
class Compress(OnDecoder):
    """Information compression: the decoder must answer an instruction from the compressed tokens alone (eq. 3)."""

    name: ClassVar[str] = "compress"
    data: ClassVar[str] = "instruct"

    def identity(self) -> dict[str, Any]:
        """Leave out the prompt: an instruction of the data stands in its place."""
        values = super().identity()
        return values | {"encoding": {k: v for k, v in values["encoding"].items() if k != "prompt"}}

    def collate(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> CompressBatch:
        """Tokenise ``context + "\\n"`` and ``instruction + "\\n"`` apart, and the target with an end token."""
        contexts = [row["context"] for row in examples]
        rows = self.method.instructed(tokenizer, contexts, [row["instruction"] for row in examples])
        return CompressBatch(rows, self.targets(tokenizer, [row["target"] for row in examples]))

    def weigh(self, batch: CompressBatch) -> dict[str, float]:
        """Target tokens, the end token included."""
        return {"reconstruction": float(sum(map(len, batch.targets)))}

    def loss(self, model: Compressor, batch: CompressBatch) -> dict[str, LossTerm]:
        """Return the sum of -log p over the target tokens."""
        logp_M = model.token_logp(model.encode(batch.sources), batch.targets)
        observe("logp_per_token", logp_M)
        return {"reconstruction": LossTerm(-logp_M.sum(), float(len(logp_M)))}
