"""A finished figure, as the page and the disk take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: What its files are called, without the ending.
        title: Its heading on a page.
        alt: What it shows, for readers who do not see it.
        files: Its files' contents by name: ``NAME.png`` (200 dpi) and ``NAME.pdf`` (vectors).
    """

    name: str
    title: str
    alt: str
    files: Mapping[str, bytes]
