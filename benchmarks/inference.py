"""What using an encoder costs: one probe for every encoder, with the same texts on the same benchmark."""

from __future__ import annotations

import hashlib
import heapq
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median

from benchmarks.protocol import TextEncoder

TEXTS = 512
"""Texts of a pass."""
FEWEST, MOST = 3, 5
"""Timed passes, where the encoder is fast enough for so many."""
ENOUGH_SECONDS = 2.0
"""After so long the fewest passes do."""
LONGEST_SECONDS = 20.0
"""No pass begins that would end later than this; the first one is always made."""


@dataclass(frozen=True)
class Pace:
    """How fast an encoder went.

    Attributes:
        texts: Texts of one pass.
        passes: Seconds of each timed pass, in order.
        dimensions: Length of a vector.
    """

    texts: int
    passes: tuple[float, ...]
    dimensions: int

    @property
    def sentences_per_second(self) -> float:
        """Texts over the median pass."""
        return self.texts / median(self.passes)


def probe_texts(texts: Iterable[str], count: int = TEXTS) -> list[str]:
    """Choose ``count`` different texts by the order of a hash of their content; all of them where there are fewer.

    The choice depends on nothing but the set of texts, so every encoder is measured with the same ones.
    """
    kept: dict[bytes, str] = {}
    for text in texts:
        if text.strip():
            kept[hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()] = text
        if len(kept) >= 16 * count:
            # A corpus of millions of documents is not to be held for the sake of a few.
            kept = dict(heapq.nsmallest(count, kept.items()))
    return [text for _, text in heapq.nsmallest(count, kept.items())]


def probe(
    encoder: TextEncoder,
    texts: Sequence[str],
    *,
    counting: AbstractContextManager[object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Pace:
    """Time an encoder, from text to vectors in memory, in the role that treats both sides alike.

    One pass warms up and is not counted. Then follow `FEWEST` to `MOST` timed ones; fewer where they would take longer
    than `LONGEST_SECONDS` with the first. An encoder so slow that not even a second pass fits is measured by its first:
    there is one entry then, and what warming up takes is in it.

    Args:
        encoder: What is timed; ``encode`` returns when its vectors are there.
        texts: The texts of each pass, at least one.
        counting: Entered around the first pass, for whoever counts what goes through the encoder.
        clock: Seconds, rising.
    """
    begin = clock()
    with counting if counting is not None else nullcontext():
        vectors = encoder.encode(texts, "symmetric")
    first = clock() - begin
    passes: list[float] = []
    while len(passes) < MOST:
        used = clock() - begin
        if used + max(passes, default=first) > LONGEST_SECONDS or (len(passes) >= FEWEST and used > ENOUGH_SECONDS):
            break
        start = clock()
        encoder.encode(texts, "symmetric")
        passes.append(clock() - start)
    return Pace(len(texts), tuple(passes) or (first,), int(vectors.shape[1]))
