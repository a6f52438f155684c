"""Rows of an exact length in tokens, for measuring how costs grow with it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from benchmarks.kinds import kind_of
from benchmarks.order import example_id
from genembench.problem import Problem
from methods.contract import Example, Method

_WORDS = "the of and to in a is that it was for on are as with his they at be this from have or by one had not but"


def exact_rows(
    method: Method, kind: str, tokenizer: PreTrainedTokenizerBase, length: int, count: int
) -> tuple[tuple[str, ...], tuple[Example, ...]]:
    """Make rows whose texts have exactly ``length`` tokens with the method's prompt; the same for the same arguments.

    Returns:
        Ids and rows.

    Raises:
        Problem: the prompt alone is as long, or the tokenizer has no words of one token.
    """
    words = [word for word in _WORDS.split() if len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1]
    if len(words) < 2:
        raise Problem("the tokenizer has hardly any English word of one token", "Rows of exact length cannot be made.")
    source = random.Random(0)
    around = _length(method, tokenizer, f" {words[0]}") - 1
    if length <= around:
        raise Problem(f"a row of {length} tokens has no room for a text: the prompt takes {around}")

    def text() -> str:
        return "".join(f" {source.choice(words)}" for _ in range(length - around))

    rows: dict[str, dict[str, Any]] = {}
    while len(rows) < count:
        row: dict[str, Any] = {field: text() for field in kind_of(kind).fields}
        if "negative" in row:
            row["negative"] = [row["negative"]]
        rows[example_id(kind, row)] = row
    _check(method, tokenizer, list(rows.values()), length)
    return tuple(rows), tuple(rows.values())


def _length(method: Method, tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(method.tokenize(tokenizer, [text], "document", "train")[0])


def _check(method: Method, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]], length: int) -> None:
    texts = [value if isinstance(value, str) else value[0] for row in rows for value in row.values()]
    found = {len(row) for row in method.tokenize(tokenizer, texts, "document", "train")}
    if found != {length}:
        raise Problem(
            f"rows were to have {length} tokens and have {', '.join(map(str, sorted(found)))}",
            "Does the method cut them? Its max_length is the longest that can be measured.",
        )
