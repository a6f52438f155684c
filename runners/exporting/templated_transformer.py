"""The first module of this model: puts a text into its template, and marks the tokens that its vector is read from.

Written by genembench, which exported the model, and in need of nothing of it: sentence-transformers loads this file
from the model's own folder. What the library's Transformer cannot do, and this can: prompts behind the text, which stay
where a long text is cut; tokens that are attended to and not read; tokens of the model's own behind the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from sentence_transformers.base.modules import Transformer
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How texts of one role become token ids, and which of them are read.

    Attributes:
        front: Ids in front of everything (BOS).
        prefix: Stands before the text; tokenised with it as one string.
        suffix: Stands behind the text; tokenised with it as one string.
        tail: Ids behind everything.
        tail_once: Whether the tail is left out where the row ends in it already.
        reads: What is read: the whole row without the tail, the text's own tokens, those and the suffix, as many last
            ones as text and suffix have when tokenised alone, or nothing.
        reads_tail: Whether the tail is read.
        blank: What stands for a text of white space; None leaves it as it is.
        longest_text: Tokens that a text may have by itself; None sets no limit.
        longest: Tokens that a row may have; None leaves it to the model's ``max_seq_length``.
    """

    front: Sequence[int] = ()
    prefix: str = ""
    suffix: str = ""
    tail: Sequence[int] = ()
    tail_once: bool = False
    reads: Literal["row", "text", "text and suffix", "as many as alone", "nothing"] = "row"
    reads_tail: bool = True
    blank: str | None = None
    longest_text: int | None = None
    longest: int | None = None


Row = tuple[list[int], list[bool]]
"""Token ids, and for each whether it is read."""
Spans = Sequence[tuple[int, int]]
"""Where each token's characters begin and end."""


def read(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], how: Reading, longest: int, prompt: str | None = None
) -> list[Row]:
    """Turn texts into token rows of at most ``longest`` tokens; ``prompt`` stands in place of the reading's prefix.

    Raises:
        ValueError: nothing of a text is left to read.
    """
    prefix = how.prefix if prompt is None else prompt
    if how.blank is not None:
        texts = [text if text.strip() else how.blank for text in texts]
    if how.longest_text is not None:
        _, spans = _tokens(tokenizer, texts)
        texts = [_shortened(text, own, how.longest_text) for text, own in zip(texts, spans, strict=True)]
    # As one string: tokens may reach over the borders of the text.
    ids, spans = _tokens(tokenizer, [prefix + text + how.suffix for text in texts])
    rows = [_marked(*each, how, len(prefix), longest) for each in zip(texts, ids, spans, strict=True)]
    if how.reads == "as many as alone":
        alone, _ = _tokens(tokenizer, [text + how.suffix for text in texts])
        rows = [_last(row, len(own)) for row, own in zip(rows, alone, strict=True)]
    tail, ends = list(how.tail), len(how.tail)
    for i, (row, marks) in enumerate(rows):
        if tail and not (how.tail_once and row[-ends:] == tail):
            rows[i] = row, marks = row + tail, marks + [how.reads_tail] * ends
        if not any(marks):
            raise ValueError(f"a text leaves no token to read a vector from: {texts[i][:60]!r}")
    return rows


def _tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[list[list[int]], list[Spans]]:
    encoded = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return encoded["input_ids"], encoded["offset_mapping"]


def _shortened(text: str, spans: Spans, longest: int) -> str:
    return text if len(spans) <= longest else text[: spans[longest - 1][1]]


def _marked(text: str, ids: list[int], spans: Spans, how: Reading, start: int, longest: int) -> Row:
    """The row without its tail, cut to what the tail leaves; the text stands at character ``start``."""
    end = start + len(text)
    last = end + len(how.suffix) if how.reads == "text and suffix" else end
    marks = [a < last and b > start for a, b in spans]
    surplus = len(how.front) + len(ids) + len(how.tail) - longest
    if surplus > 0:
        # From the end of the text; a token that reaches over its border holds prompt too, and stays.
        own = [i for i, (a, b) in enumerate(spans) if start <= a < b <= end]
        if len(own) <= surplus:
            raise ValueError(f"{longest} tokens (max_seq_length) leave no room for a text between its prompts")
        gone = set(own[-surplus:])
        ids = [each for i, each in enumerate(ids) if i not in gone]
        marks = [each for i, each in enumerate(marks) if i not in gone]
    row = [*how.front, *ids]
    if how.reads in ("row", "nothing"):
        return row, [how.reads == "row"] * len(row)
    return row, [False] * len(how.front) + marks


def _last(row: Row, count: int) -> Row:
    """Mark the last ``count`` tokens, one at least."""
    kept = min(max(count, 1), len(row[0]))
    return row[0], [False] * (len(row[0]) - kept) + [True] * kept


class TemplatedTransformer(Transformer):
    """The transformer behind its template; what is read reaches the pooling as the attention mask.

    Args:
        readings: `Reading` as JSON, by role: ``query`` and ``document`` are the tasks of `encode_query` and
            `encode_document`, ``symmetric`` is that of `encode`.
    """

    config_keys = [*Transformer.config_keys, "readings"]

    def __init__(self, *args: Any, readings: Mapping[str, Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.readings = readings
        self._readings = {role: Reading(**how) for role, how in readings.items()}
        if getattr(self.config.get_text_config(), "is_causal", True) is False:
            # Some architectures ask the module where a batch has no padding, and the configuration where it has.
            for module in self.model.modules():
                if vars(module).get("is_causal") is True:
                    module.is_causal = False  # type: ignore[assignment]  # the stubs expect tensors and modules

    def preprocess(
        self,
        inputs: Sequence[Any],
        prompt: str | None = None,
        processing_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Tokenise texts; ``task`` is their role, ``prompt`` takes the place of everything in front of the text."""
        if not all(isinstance(text, str) for text in inputs):
            raise ValueError("this model encodes strings, and nothing else")
        assert self.tokenizer is not None
        how = self._readings.get(kwargs.get("task") or "symmetric", self._readings["symmetric"])
        asked = (processing_kwargs or {}).get("text", {}).get("max_length")
        limits = (how.longest, kwargs.get("max_length"), asked, self.max_seq_length)
        rows = read(self.tokenizer, inputs, how, min(each for each in limits if each), prompt)
        longest = max(len(ids) for ids, _ in rows)
        ids_BL = torch.zeros(len(rows), longest, dtype=torch.long)
        mask_BL, read_BL = torch.zeros_like(ids_BL), torch.zeros_like(ids_BL)
        for i, (ids, marks) in enumerate(rows):
            # On the right, whatever side the tokenizer likes: positions are counted from there.
            ids_BL[i, : len(ids)] = torch.tensor(ids)
            mask_BL[i, : len(ids)] = 1
            read_BL[i, : len(ids)] = torch.tensor(marks)
        return {"input_ids": ids_BL, "attention_mask": mask_BL, "read_mask": read_BL, "modality": "text"}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Run the transformer; the mask that it hands on is of what is read, which is what is pooled."""
        # A copy: losses that cache gradients come twice with the same features.
        given = dict(features)
        read_BL = given.pop("read_mask")
        return super().forward(given, **kwargs) | {"attention_mask": read_BL}
