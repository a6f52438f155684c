"""Sentences that training must not see because a test set holds them.

Two grades: the same string, or the same words once case, punctuation, spacing and Unicode spelling are set aside.
Whole texts are compared: a test sentence inside a longer training text, or a near-duplicate, is not found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

Overlap = Literal["exact", "normalised"]

# \w is "alphanumeric or underscore", so this is every run of what str.isalnum refuses.
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


def normalised(text: str) -> str:
    """Return the words of ``text``: NFKC, case folded, runs of non-alphanumeric characters as one space, stripped.

    A text without any letter or digit becomes the empty string.
    """
    return _NOT_ALPHANUMERIC.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


class HeldOutSentences:
    """The sentences of test sets, to be asked for each training text.

    Args:
        texts: The sentences; repeats do not matter.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        if isinstance(texts, str):
            raise TypeError("texts must be an iterable of sentences, not one string (its letters would be held out)")
        self._exact = frozenset(texts)
        # Without letters or digits nothing is left to compare: "!!!" must not make "..." an overlap.
        self._normalised = frozenset(map(normalised, self._exact)) - {""}

    def __len__(self) -> int:
        """Return the number of different sentences."""
        return len(self._exact)

    def match(self, text: str) -> Overlap | None:
        """Say how ``text`` stands among the sentences: ``"exact"``, else ``"normalised"``, else None."""
        if text in self._exact:
            return "exact"
        return "normalised" if normalised(text) in self._normalised else None
