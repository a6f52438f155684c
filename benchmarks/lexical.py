"""TF-IDF: a bag of words as an encoder, the floor under every claim that something has been understood."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import Role
from genembench.problem import Problem

NAME = "tfidf"
MOST_NUMBERS = 2**31
"""Numbers in the vectors of all texts, 8 GiB: they are held densely, as every encoder's are."""


class TfidfEncoder:
    """Words weighted by term frequency times inverse document frequency, L2-normalised (scikit-learn's defaults).

    Words are runs of letters and digits in lower case, single letters too. The document frequencies are those of the
    texts that are measured: more than any encoder here is told about the test sets, so the floor is rather high.

    Args:
        texts: The texts of the benchmark.

    Raises:
        Problem: there are too many texts and words to hold the vectors.
    """

    name = NAME
    precision = "float32"

    def __init__(self, texts: Iterable[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        distinct = sorted(set(texts))
        self._vectorizer: Any = TfidfVectorizer(token_pattern=r"(?u)\w+", dtype=np.float32).fit(distinct)
        words = len(self._vectorizer.vocabulary_)
        if words * len(distinct) > MOST_NUMBERS:
            raise Problem(
                f"tfidf: {len(distinct):,} texts of {words:,} different words are too many vectors to hold",
                "Choose fewer tasks with --tasks.",
            )
        self._content = "\n".join(distinct)

    @cached_property
    def address(self) -> str:
        """Hash of the texts that the weights come from."""
        return hashlib.sha256(f"{NAME}\n{self._content}".encode("utf-8", "surrogatepass")).hexdigest()

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Turn N texts into vectors ``[N, words]``; the role is not used."""
        vectors: NDArray[np.float32] = self._vectorizer.transform(texts).toarray()
        return vectors
