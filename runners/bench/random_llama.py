"""``random:SIZE``: a Llama with random weights, made on the spot. Speed does not depend on what the weights are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from genembench.problem import Problem
from methods.parts.adapt import unwrapped
from runners.new_backbone import Shape, learn_tokenizer, random_llama

PREFIX = "random:"
SIZES = {"5m": (256, 6), "25m": (512, 8), "100m": (768, 14), "1b": (2048, 20)}
"""Width and layers. With heads of 64, as many key-value heads, and 8/3 of the width inside the MLP."""
VOCABULARY = 8192
TEXTS = 4_000
"""So many texts are enough to learn a tokenizer from."""


def shape_of(given: str) -> Shape:
    """Read ``random:25m`` or ``random:512x8`` (width by layers).

    Raises:
        Problem: it is neither.
    """
    size = given.removeprefix(PREFIX)
    free = re.fullmatch(r"(\d{2,5})x(\d{1,3})", size)
    if size not in SIZES and not free:
        raise Problem(
            f"backbone {given}: no such size",
            f"Known: {', '.join(PREFIX + name for name in SIZES)}, or {PREFIX}WIDTHxLAYERS such as {PREFIX}512x8.",
        )
    width, layers = (int(free[1]), int(free[2])) if free else SIZES[size]
    heads = max(1, width // 64)
    inside = -(-width * 8 // (3 * 64)) * 64
    return Shape(
        hidden=width,
        layers=layers,
        heads=heads,
        key_value_heads=heads,
        intermediate=inside,
        vocabulary=VOCABULARY,
        context=2048,
    )


def make(given: str, texts: Iterable[str], folder: Path) -> None:
    """Write a model and a tokenizer that was learnt from the texts; the same for the same texts.

    Raises:
        Problem: the size cannot be read.
    """
    shape = shape_of(given)
    tokenizer = learn_tokenizer(islice(texts, TEXTS), shape)
    with unwrapped():
        random_llama(tokenizer, shape, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
