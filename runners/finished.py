"""Finished models, trained elsewhere: which prefix says which kind, what each is called, its address, how it is loaded.

In a comparison and in ``genembench evaluate`` they are named ``PREFIX:WHERE``. A new kind is a class and its line in
`KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from benchmarks.finished import PRECISION, SentenceTransformerEncoder, finished_address
from benchmarks.protocol import TextEncoder
from runners.engine import Engine
from runners.published import PublishedModel, find_published


class FinishedModel(Protocol):
    """A finished model that was found, and not loaded yet."""

    @property
    def given(self) -> str:
        """What names it in a command, prefix included: `finished_model` finds it again by this."""

    @property
    def name(self) -> str:
        """What its row is called."""

    @property
    def address(self) -> str:
        """Address of what it computes, made of contents and not of places.

        Raises:
            Problem: it is not to be found, or not what it should be.
        """

    def precision(self, engine: Engine) -> str:
        """What it computes in."""

    def load(self, engine: Engine) -> TextEncoder:
        """Load it; the encoder has the same `address` and `precision`.

        Raises:
            Problem: it cannot be loaded.
        """


@dataclass(frozen=True)
class SentenceTransformersModel:
    """A sentence-transformers model: a folder, or a hub id."""

    prefix: ClassVar[str] = "sentence-transformers:"
    where: str
    trust_remote_code: bool = False

    @property
    def given(self) -> str:
        """Prefix and path or id, as written."""
        return f"{self.prefix}{self.where}"

    @property
    def name(self) -> str:
        """The folder's name, however the path is written, or the hub id."""
        return Path(self.where).resolve().name if Path(self.where).is_dir() else self.where

    @property
    def address(self) -> str:
        """Hash of the folder's files, or of hub id and commit."""
        return finished_address(self.where, trust_remote_code=self.trust_remote_code)

    def precision(self, engine: Engine) -> str:
        """Its own, whatever the engine's is."""
        return PRECISION

    def load(self, engine: Engine) -> SentenceTransformerEncoder:
        """Load it on the engine's device."""
        return SentenceTransformerEncoder(self.where, engine.device, trust_remote_code=self.trust_remote_code)


def _published(where: str, trust_remote_code: bool) -> PublishedModel:
    # Its weights are loaded into the library's classes: none of its code is run.
    return find_published(where)


KINDS: Mapping[str, Callable[[str, bool], FinishedModel]] = {
    SentenceTransformersModel.prefix: SentenceTransformersModel,
    PublishedModel.prefix: _published,
}
"""By prefix: from what stands behind it, and whether code that the model brings may be run."""


def is_finished(name: str) -> bool:
    """Whether a name is that of a finished model and not of a method."""
    return name.startswith(tuple(KINDS))


def finished_model(name: str, *, trust_remote_code: bool = False) -> FinishedModel:
    """Find the finished model of a name that `is_finished`; ``trust_remote_code`` lets code that it brings run.

    Raises:
        Problem: what stands behind the prefix cannot be used; some kinds say so only when they are asked for more.
    """
    prefix = next(prefix for prefix in KINDS if name.startswith(prefix))
    return KINDS[prefix](name.removeprefix(prefix), trust_remote_code)


def split_methods(names: Sequence[str], *, trust_remote_code: bool = False) -> tuple[list[str], list[FinishedModel]]:
    """Tell methods from finished models, and find these.

    Raises:
        Problem: as `finished_model`.
    """
    methods = [name for name in names if not is_finished(name)]
    finished = [name for name in names if is_finished(name)]
    return methods, [finished_model(name, trust_remote_code=trust_remote_code) for name in finished]
