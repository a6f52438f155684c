"""Texts to token rows: one template function for training and evaluation, and padding on either side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from genembench.problem import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One text as the model sees it: token ids and, for each, whether the read-out may look at it."""

    ids: list[int]
    content: list[bool]

    def __len__(self) -> int:
        return len(self.ids)


Content = Literal["row", "text", "text and suffix"]


@dataclass(frozen=True)
class TextTemplate:
    """``prefix + text + suffix``, tokenised as one string, with the tokenizer's own BOS in front if it has one.

    When the row is longer than ``max_length``, tokens are taken from the end of the text; prefix and suffix survive.
    ``content`` says what the read-out sees: the whole row, BOS included, the text's own tokens, or the text and the
    suffix behind it.
    """

    prefix: str = ""
    suffix: str = ""
    content: Content = "row"

    def rows(
        self,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[str],
        max_length: int | Sequence[int],
        *,
        bos: Sequence[int] | None = None,
    ) -> list[TokenRow]:
        """Tokenise ``texts``, each at most ``max_length`` tokens long (one number, or one for each text).

        ``bos`` is what stands in front; None leaves it to the tokenizer (`starting_token`).

        Raises:
            Problem: the tokenizer has no fast implementation, or the prompt alone fills ``max_length``.
        """
        if not texts:
            return []
        _need_offsets(tokenizer)
        encoded = tokenizer(
            [self.prefix + text + self.suffix for text in texts],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        front = starting_token(tokenizer) if bos is None else list(bos)
        limits = [max_length] * len(texts) if isinstance(max_length, int) else max_length
        rows = []
        for text, ids, spans, limit in zip(texts, encoded["input_ids"], encoded["offset_mapping"], limits, strict=True):
            rows.append(self._row(text, ids, spans, front, limit))
        return rows

    def _row(
        self, text: str, ids: list[int], spans: Sequence[tuple[int, int]], bos: list[int], max_length: int
    ) -> TokenRow:
        start, end = len(self.prefix), len(self.prefix) + len(text)
        # A token that reaches over a border (".\n" is one token for some tokenizers, " word" behind a prefix for most)
        # holds text, so it may be read; but it holds prompt too, so it may not be cut.
        last = end + len(self.suffix) if self.content == "text and suffix" else end
        read = [a < last and b > start for a, b in spans]
        surplus = len(bos) + len(ids) - max_length
        if surplus > 0:
            positions = [i for i, (a, b) in enumerate(spans) if start <= a < b <= end]
            if len(positions) <= surplus:
                raise Problem(
                    f"max_length leaves no room for the text: {max(0, max_length)} tokens here, and what stands around "
                    f"it takes {len(bos) + len(ids) - len(positions)}",
                    "Raise it with --set METHOD.max_length=N.",
                )
            cut = set(positions[-surplus:])
            ids = [token for i, token in enumerate(ids) if i not in cut]
            read = [inside for i, inside in enumerate(read) if i not in cut]
        content = [True] * (len(bos) + len(ids)) if self.content == "row" else [False] * len(bos) + read
        if not any(content):
            raise Problem(
                f"a text leaves no token to read a vector from: {text[:60]!r}",
                "Remove empty texts from the data.",
            )
        return TokenRow(bos + ids, content)


def shortened(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], longest: int) -> list[str]:
    """Cut texts, each tokenised alone, behind their first ``longest`` tokens.

    Raises:
        Problem: the tokenizer has no fast implementation.
    """
    kept = list(texts)
    # A token is a byte or more, so only texts of more bytes can be too long.
    long = [i for i, text in enumerate(texts) if len(text.encode()) > longest]
    if long:
        _need_offsets(tokenizer)
        encoded = tokenizer(
            [texts[i] for i in long], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        for i, spans in zip(long, encoded["offset_mapping"], strict=True):
            if len(spans) > longest:
                kept[i] = texts[i][: spans[longest - 1][1]]
    return kept


def _need_offsets(tokenizer: PreTrainedTokenizerBase) -> None:
    if not tokenizer.is_fast:
        raise Problem(
            f"the tokenizer {type(tokenizer).__name__} reports no character offsets",
            "Use a backbone with a fast tokenizer (a tokenizer.json in its folder).",
        )


def starting_token(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return ``[bos]`` where the tokenizer itself would put one in front of a text, else ``[]``."""
    bos = tokenizer.bos_token_id
    if bos is None:
        return []
    with_special = tokenizer("a")["input_ids"]
    return [bos] if with_special[:1] == [bos] else []


@dataclass(frozen=True)
class PaddedBatch:
    """Token rows as tensors ``[B, L]``; ``mask_BL`` is None when nothing is padded."""

    ids_BL: Tensor
    content_BL: Tensor
    mask_BL: Tensor | None
    positions_BL: Tensor | None


def pad(rows: Sequence[TokenRow], device: torch.device, *, side: str = "right") -> PaddedBatch:
    """Pad rows to the longest one. Positions count real tokens, so the side changes no vector."""
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    content = torch.zeros(len(rows), longest, dtype=torch.bool)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        ids[i, where] = torch.tensor(row.ids)
        content[i, where] = torch.tensor(row.content)
        mask[i, where] = 1
    if bool(mask.all()):
        # No padding, no mask: attention may then take its fastest path.
        return PaddedBatch(ids.to(device), content.to(device), None, None)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    return PaddedBatch(ids.to(device), content.to(device), mask.to(device), positions.to(device))


def length_groups(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Split indices into groups of similar length whose padded size stays within ``max_tokens``.

    A single row longer than ``max_tokens`` forms a group of its own. Longest first, so that memory peaks at the start.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
