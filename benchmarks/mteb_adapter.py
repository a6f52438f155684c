"""Our encoders as mteb sees them, and mteb as we want to see it: silent, and with its hands off the random state."""

from __future__ import annotations

import logging
import random
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import Role, TextEncoder, UnusableVectorsError

if TYPE_CHECKING:
    from mteb.models import ModelMeta
    from mteb.types import Array, PromptType


HELD_BYTES = 2**30
"""Vectors of earlier tasks beyond this are dropped before more are made: the nine STS sets have 27,627 texts, which is
0.45 GB of 4,096 dimensions."""


class MtebEncoder:
    """A `TextEncoder` behind mteb's ``EncoderProtocol``; encodes each distinct (role, text) once.

    Vectors are held until `forget`, so one adapter belongs to one evaluation of one encoder. Should that encoder's
    address or precision change on the way, what it made before is dropped: no vector is ever another encoder's.

    Attributes:
        encoder: The encoder behind it.
        seconds: Time spent inside ``encoder.encode`` so far.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self.seconds = 0.0
        self._vectors: dict[tuple[str, str], NDArray[np.float32]] = {}
        self._bytes = 0
        self._made_by = (encoder.address, encoder.precision)

    @cached_property
    def mteb_model_meta(self) -> ModelMeta:
        """Name and revision under which mteb knows the encoder; the address keeps it apart from every other."""
        from mteb.models import ModelMeta

        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self.encoder.name).strip("-") or "encoder"
        return ModelMeta.create_empty(overwrites={"name": f"genembench/{name}", "revision": self.encoder.address})

    def prime(self, texts: Iterable[str], role: Role) -> None:
        """Encode all texts not yet seen in one call, so that the encoder can sort the whole by length.

        Raises:
            UnusableVectorsError: The encoder gave something other than finite vectors ``[N, D]``.
        """
        made_by = (self.encoder.address, self.encoder.precision)
        if made_by != self._made_by:
            self.forget()
            self._made_by = made_by
        new = [text for text in dict.fromkeys(texts) if (role, text) not in self._vectors]
        if not new:
            return
        start = time.perf_counter()
        vectors = self._checked(self.encoder.encode(new, role), new)
        self.seconds += time.perf_counter() - start
        self._vectors.update(((role, text), vector) for text, vector in zip(new, vectors, strict=True))
        self._bytes += vectors.nbytes

    def forget(self) -> None:
        """Drop all vectors."""
        self._vectors.clear()
        self._bytes = 0

    def forget_beyond(self, limit: int = HELD_BYTES) -> None:
        """Drop all vectors where they take more than so many bytes; between two tasks, never within one."""
        if self._bytes > limit:
            self.forget()

    def vectors(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Return the vectors ``[N, D]`` of the texts in order, encoding what is new."""
        self.prime(texts, role)
        return np.stack([self._vectors[role, text] for text in texts])

    def encode(self, inputs: Iterable[Any], *, prompt_type: PromptType | None = None, **_: Any) -> Array:
        """Encode mteb's batches (``{"text": [...]}``); what they are for is the role, all else is mteb's own affair."""
        texts = [text for batch in inputs for text in batch["text"]]
        return self.vectors(texts, role_of(prompt_type))

    def similarity(self, embeddings1: Array, embeddings2: Array) -> Array:
        """Cosine of every pair: ``[N, D]`` and ``[M, D]`` to ``[N, M]``."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Array, embeddings2: Array) -> Array:
        """Cosine row by row: twice ``[N, D]`` to ``[N]``."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)

    def _checked(self, vectors: NDArray[np.float32], texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise UnusableVectorsError(
                f"{self.encoder.name}: {len(texts)} texts became an array of shape {list(vectors.shape)}"
            )
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            first = texts[int(np.argmin(finite))]
            raise UnusableVectorsError(
                f"{self.encoder.name}: {int((~finite).sum())} of {len(texts)} vectors are not finite, "
                f"the first for {first[:60]!r}"
            )
        return vectors


def role_of(prompt_type: PromptType | None) -> Role:
    """Return our word for mteb's: "query", "document", and "symmetric" for None."""
    if prompt_type is None:
        return "symmetric"
    return "query" if prompt_type.value == "query" else "document"


@contextmanager
def quiet_mteb() -> Iterator[None]:
    """Hold back progress bars, log lines and warnings of mteb and its helpers, and keep the global random states.

    mteb seeds Python, numpy and torch whenever it makes a task or an evaluator; what runs after an evaluation must not
    notice that there was one.
    """
    with _no_bars(), _kept_random_states(), warnings.catch_warnings():
        logger = logging.getLogger("mteb")
        level = logger.level
        logger.setLevel(logging.ERROR)
        for module in ("mteb", "scipy", "datasets"):
            warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
        # scipy points its complaint about constant vectors at its caller; they end in UnusableVectorsError.
        warnings.filterwarnings("ignore", message="An input array is constant")
        try:
            yield
        finally:
            logger.setLevel(level)


@contextmanager
def _no_bars() -> Iterator[None]:
    import datasets

    hub: Any = import_module("huggingface_hub.utils")  # Its lazy names are hidden from type checkers.

    ours = (not datasets.are_progress_bars_disabled(), not hub.are_progress_bars_disabled())
    if ours[0]:
        datasets.disable_progress_bars()
    if ours[1]:
        hub.disable_progress_bars()
    try:
        yield
    finally:
        if ours[0]:
            datasets.enable_progress_bars()
        if ours[1]:
            hub.enable_progress_bars()


@contextmanager
def _kept_random_states() -> Iterator[None]:
    torch = sys.modules.get("torch")
    of_python, of_numpy = random.getstate(), np.random.get_state()
    of_torch = torch.get_rng_state() if torch else None
    of_cuda = torch.cuda.get_rng_state_all() if torch and torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        if torch and of_torch is not None:
            torch.set_rng_state(of_torch)
        if torch and of_cuda is not None:
            torch.cuda.set_rng_state_all(of_cuda)
