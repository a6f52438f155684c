"""Masked next-token prediction: a model made bidirectional learns to use what follows a token.

BehnamGhader et al., arXiv 2404.05961, section 2.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from genembench.problem import Problem
from methods.contract import Example, Start, Trainable
from methods.parts.forward import passes
from methods.parts.head import Head
from methods.parts.losses import LossTerm
from methods.parts.tokens import TokenRow, starting_token
from methods.stages.shared import SharedStage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MaskRule = Literal["80-10-10", "all"]


@dataclass(frozen=True)
class MaskedBatch:
    """Corrupted rows whose content marks the positions BEFORE masked tokens, and the tokens that stood there."""

    rows: list[TokenRow]
    originals: list[list[int]]


class MaskedModel(nn.Module):
    """A bidirectional body, trained, and beside it the language model's head, frozen."""

    def __init__(self, body: nn.Module, head: Head) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, batch: MaskedBatch) -> dict[str, LossTerm]:
        """Sum of -log p(token i), read from the hidden state of position i - 1, over masked tokens."""
        sums = []
        for one in passes(self.body, batch.rows):
            ids_N = torch.tensor(
                [token for i in one.rows for token in batch.originals[i]], device=one.hidden_BLD.device
            )
            sums.append(-self.head.token_logp(one.hidden_BLD[one.batch.content_BL], ids_N.long()).sum())
        return {"mntp": LossTerm(torch.stack(sums).sum(), float(sum(map(len, batch.originals))))}


@dataclass(frozen=True)
class MaskedNextToken(SharedStage):
    """Masked next-token prediction on texts; a text longer than ``max_length`` becomes several rows.

    The head is the backbone's own and is not trained, except where it is the embedding matrix and that is.
    """

    name: ClassVar[str] = "mntp"
    data: ClassVar[str] = "text"
    loss_kind: ClassVar[Literal["additive"]] = "additive"

    max_length: int
    mask_token: str
    mask_rule: MaskRule
    mask_probability: float

    def __post_init__(self) -> None:
        """Refuse what nothing can be learnt from.

        Raises:
            Problem: the probability is no share, or rows hold less than two tokens.
        """
        if not 0 < self.mask_probability <= 1 or self.max_length < 2:
            raise Problem(
                f"mask_probability={self.mask_probability}, max_length={self.max_length}: nothing to predict",
                "mask_probability must be above 0 and at most 1, max_length 2 or more.",
            )

    def identity(self) -> dict[str, Any]:
        """The way from a text to its vector plays no part: there are no vectors."""
        return {key: value for key, value in super().identity().items() if key != "encoding"} | {
            "causal": self.method.causal
        }

    @property
    def trains(self) -> str:
        """The head is no part of it."""
        tied = ", unless it is the embedding matrix" if self.tuning == "full" else ""
        return f"{super().trains}; the head is frozen{tied}"

    def build(self, start: Start) -> Trainable:
        """Load the language model, make its body trainable and freeze its head."""
        tokenizer = start.tokenizer()
        mask = self._mask_id(tokenizer)
        model = start.model(head=True, causal=self.method.causal)
        embeddings: Any = model.get_input_embeddings()
        rows = embeddings.num_embeddings
        if mask >= rows:
            raise Problem(
                f"the tokenizer's mask token {tokenizer.mask_token!r} has id {mask}, the backbone {rows} embeddings",
                "Take the mask token out of its tokenizer_config.json; a rare token stands in for it.",
            )
        head = Head(model)
        head.linear.requires_grad_(False)
        return Trainable(MaskedModel(self.adapt(model.base_model), head).train(), tokenizer)

    def collate(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> MaskedBatch:
        """Tokenise, split what is too long, and mask; which tokens depends on the step's seed and the row alone."""
        bos = starting_token(tokenizer)
        room = self.max_length - len(bos)
        # Quietly: that a text is longer than the model reads is what the next line is for.
        texts = tokenizer([row["text"] for row in examples], add_special_tokens=False, verbose=False)["input_ids"]
        pieces = [bos + ids[at : at + room] for ids in texts for at in range(0, len(ids), room)]
        mask = self._mask_id(tokenizer)
        special = torch.tensor(sorted({*tokenizer.all_special_ids} - {mask}), dtype=torch.long)
        masked = [self._masked(torch.tensor(ids), special, mask, tokenizer.vocab_size) for ids in pieces]
        return MaskedBatch([row for row, _ in masked], [originals for _, originals in masked])

    def weigh(self, batch: MaskedBatch) -> dict[str, float]:
        """One for each masked token."""
        return {"mntp": float(sum(map(len, batch.originals)))}

    def _masked(self, ids_L: Tensor, special: Tensor, mask: int, vocabulary: int) -> tuple[TokenRow, list[int]]:
        # A generator of the row's own: how the batch is split must not change what is masked.
        seed = hashlib.sha256(f"{torch.initial_seed()} {ids_L.tolist()}".encode()).digest()[:8]
        draw = torch.Generator().manual_seed(int.from_bytes(seed) % 2**63)
        open_L = ~torch.isin(ids_L, special)
        open_L[0] = False  # nothing stands before it to predict it
        chosen_L = open_L & (torch.rand(len(ids_L), generator=draw) < self.mask_probability)
        if not chosen_L.any() and open_L.any():
            # A short row would often be of no use.
            chosen_L[open_L.nonzero().flatten()[torch.randint(int(open_L.sum()), (1,), generator=draw)]] = True
        fate_L = torch.rand(len(ids_L), generator=draw)
        # Of the vocabulary proper: tokens that were added to it may have no embeddings.
        random_L = torch.randint(vocabulary, ids_L.shape, generator=draw)
        corrupted_L = ids_L.clone()
        whole = self.mask_rule == "all"
        corrupted_L[chosen_L if whole else chosen_L & (fate_L < 0.8)] = mask
        if not whole:
            exchanged_L = chosen_L & (fate_L >= 0.8) & (fate_L < 0.9)
            corrupted_L[exchanged_L] = random_L[exchanged_L]
        before = [*chosen_L[1:].tolist(), False]
        return TokenRow(corrupted_L.tolist(), before), ids_L[chosen_L].tolist()

    def _mask_id(self, tokenizer: PreTrainedTokenizerBase) -> int:
        found = tokenizer.mask_token_id
        if found is None:
            found = tokenizer.convert_tokens_to_ids(self.mask_token)
        # An unknown token stands for everything that is unknown.
        if found is None or (found == tokenizer.unk_token_id and self.mask_token != tokenizer.unk_token):
            raise Problem(
                f"the tokenizer has no mask token, and no token {self.mask_token!r} to use in its place",
                "Name a rare token of its vocabulary: --set METHOD.mask_token=TOKEN.",
            )
        return int(found)
