"""What the benchmarks ask of an encoder: texts in, numpy vectors out; nothing of torch, mteb or any method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Role = Literal["query", "document", "symmetric"]
"""Which side of a task a text stands on; symmetric where a task treats both sides alike (STS)."""


class TextEncoder(Protocol):
    """An encoder as the benchmarks see it.

    Attributes:
        name: How tables call it; need not be unique.
        address: Content hash of weights and template; two encoders with different vectors have different addresses.
        precision: What it computes in.
    """

    @property
    def name(self) -> str:
        """Name shown in tables."""

    @property
    def address(self) -> str:
        """Content hash of weights and template."""

    @property
    def precision(self) -> str:
        """What it computes in; part of the evaluation address."""

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Turn N texts into vectors ``[N, D]``, in the order given.

        Args:
            texts: The texts, all at once, so that the encoder may group them by length as it likes.
            role: "query", "document", or "symmetric" where a task treats both sides alike (STS).
        """


class UnusableVectorsError(ValueError):
    """An encoder's vectors cannot be scored: wrong shape, not finite, or (nearly) all the same.

    A missing number is never a score: whoever runs the encoder records this as a failure of the run.
    """
