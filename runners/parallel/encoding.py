"""Encoding on all processes of a run: the first one scores, the others encode their part of what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.protocol import TextEncoder
from methods.contract import Role
from methods.encoder import Encoder
from methods.parts.ledger import Ledger, charge, charging
from runners.parallel.group import Group


class SharedEncoder:
    """An encoder whose texts are divided among the processes of a group; a vector does not depend on its company.

    Each process takes every so-manieth text by length, so all get as much to do.
    """

    def __init__(self, encoder: Encoder, group: Group) -> None:
        self.name = encoder.name
        self.address = encoder.address
        self.precision = encoder.precision
        self.on_progress: Callable[[int, int], None] | None = None
        self._encoder = encoder
        self._group = group
        self._busy = False

    def encode(self, texts: Sequence[str], role: Role = "symmetric") -> NDArray[np.float32]:
        """Turn N texts into vectors ``[N, D]``, float32, in the order given. The first process only calls it."""
        self._busy = True
        self._group.tell((list(texts), role))
        vectors = self._part(texts, role)
        self._busy = False
        return vectors

    def serve(self) -> None:
        """Encode what the first process asks for until it is through. All others call it."""
        nothing: tuple[list[str], Role] | None = None
        while (asked := self._group.tell(nothing)) is not None:
            self._part(*asked)

    def end(self) -> None:
        """Let the others go, unless encoding failed: they wait for vectors then, and who started them ends them."""
        if not self._busy:
            self._group.tell(None)

    def _part(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        rank, world = self._group.rank, self._group.world
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        spent = Ledger()
        if self.on_progress is not None:
            self._encoder.on_progress = lambda done, own: self._progress(done, own, len(texts))
        with charging(spent):
            own = self._encoder.encode([texts[i] for i in order[rank::world]], role)
        everybody = self._group.gather((spent, own.shape))
        for each, _ in everybody:
            charge(**vars(each))
        if not len(own):
            # Who got no text cannot know how many numbers a vector has.
            own = np.zeros((0, max((shape for _, shape in everybody), key=lambda shape: shape[0])[1]), np.float32)
        parts = self._group.gather_rows(torch.from_numpy(own))
        vectors = np.empty((len(texts), own.shape[1]), dtype=np.float32)
        for number, part in enumerate(parts):
            vectors[order[number::world]] = part.numpy()
        return vectors

    def _progress(self, done: int, own: int, texts: int) -> None:
        assert self.on_progress is not None
        self.on_progress(round(texts * done / own), texts)


@contextmanager
def on_all(encoder: TextEncoder, group: Group) -> Iterator[TextEncoder]:
    """Give an encoder that uses every process of the group; the first process only comes here, others `serve`."""
    if group.world == 1 or not isinstance(encoder, Encoder):
        yield encoder
        return
    shared = SharedEncoder(encoder, group)
    try:
        yield shared
    finally:
        shared.end()
