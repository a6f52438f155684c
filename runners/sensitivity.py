"""How much an encoder's scores owe to how it is run: texts in one pass, their order, and the precision.

A vector must not depend on its neighbours in the batch. What is measured here is how nearly that holds: every setting
encodes the same texts, and its cosines and scores are held against those of the default setting.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.evaluate import pairs_of
from benchmarks.finished import SentenceTransformerEncoder
from benchmarks.mteb_adapter import role_of
from benchmarks.protocol import Role, TextEncoder
from benchmarks.sts_files import StsPair
from genembench.problem import Problem
from methods.encoder import Encoder
from runners.progress import say

if TYPE_CHECKING:
    from benchmarks.suite import Benchmark

PAIRS = 500
"""Pairs of each task, where it has more: chosen by content, the same ones for every encoder."""
INVARIANT = 0.01
"""Scores (x100) that move less than this do not depend on the batch."""
DEFAULT = "default"

Encode = Callable[[Sequence[str], Role], NDArray[np.float32]]


class Load(Protocol):
    """Loads the encoder once more, to be run otherwise."""

    def __call__(self, *, precision: str | None = None, batch_size: int | None = None) -> TextEncoder:
        """Load it in another precision, or with so many texts a pass (sentence-transformers)."""


@dataclass(frozen=True)
class Setting:
    """One way to run an encoder.

    Attributes:
        name: What tables call it.
        about: What differs from the default, in words.
        make: Makes what encodes, as late as possible: some settings load the encoder once more.
        batch: Whether vectors ought to be the same as by default; in another precision they are not.
    """

    name: str
    about: str
    make: Callable[[], Encode]
    batch: bool = True


@dataclass(frozen=True)
class Moved:
    """A task under a setting, against the default one.

    Attributes:
        task: Its name.
        setting: The setting that it was measured under.
        pairs: Pairs measured.
        score: Spearman x100 over these pairs.
        change: That minus the default setting's.
        largest: Largest difference of any pair's cosine.
    """

    task: str
    setting: Setting
    pairs: int
    score: float
    change: float
    largest: float


def settings_of(encoder: TextEncoder, load: Load, *, cuda: bool, bfloat16: bool) -> tuple[list[Setting], list[str]]:
    """Return the settings that an encoder can be run under, the default one first; and what is left out, and why.

    Args:
        encoder: The encoder.
        load: Loads it once more.
        cuda: Whether it computes on a GPU.
        bfloat16: Whether to measure bfloat16 on a CPU too, where it takes hundreds of times as long.
    """
    found = [Setting(DEFAULT, "as it is evaluated", lambda: encoder.encode)]
    left_out = []
    if isinstance(encoder, Encoder):
        found += [
            Setting("alone", "one text a pass", _with_tokens(encoder, 1)),
            Setting("256 tokens", "at most 256 padded tokens a pass", _with_tokens(encoder, 256)),
            Setting("16384 tokens", "at most 16,384 padded tokens a pass", _with_tokens(encoder, 16_384)),
        ]
    elif isinstance(encoder, SentenceTransformerEncoder):
        found += [
            Setting("alone", "one text a pass", lambda: load(batch_size=1).encode),
            Setting("8 texts", "8 texts a pass", lambda: load(batch_size=8).encode),
            Setting("512 texts", "512 texts a pass", lambda: load(batch_size=512).encode),
        ]
    else:
        left_out.append(f"batch sizes: {encoder.name} has none")
    found.append(Setting("shuffled", "texts in another order", lambda: _shuffled(encoder)))
    if not isinstance(encoder, Encoder):
        left_out.append(f"precision: {encoder.name} has one only")
    elif encoder.precision == "bfloat16":
        found.append(Setting("float32", "computed in float32", lambda: load(precision="float32").encode, batch=False))
    elif cuda or bfloat16:
        found.append(Setting("bfloat16", "bfloat16 autocast", lambda: load(precision="bfloat16").encode, batch=False))
    else:
        left_out.append("bfloat16: it crawls on a CPU; --sensitivity-bfloat16 measures it all the same")
    return found, left_out


def _with_tokens(encoder: Encoder, tokens: int) -> Callable[[], Encode]:
    return lambda: lambda texts, role: encoder.encode(texts, role, max_tokens=tokens)


def _shuffled(encoder: TextEncoder) -> Encode:
    def encode(texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        order = list(range(len(texts)))
        random.Random("sensitivity").shuffle(order)
        shuffled = encoder.encode([texts[i] for i in order], role)
        vectors = np.empty_like(shuffled)
        vectors[order] = shuffled
        return vectors

    return encode


def measure(settings: Sequence[Setting], benchmark: Benchmark, pairs: int = PAIRS) -> tuple[list[Moved], list[str]]:
    """Score every setting on the same pairs of every STS task of a benchmark, setting by setting.

    Args:
        settings: The default one first.
        benchmark: The tasks; those that are not of sentence pairs are left out.
        pairs: Pairs of each task at most; 0 for all.

    Returns:
        Each task under each setting, the default one included, and the tasks that were left out.

    Raises:
        Problem: no task has pairs, or vectors cannot be scored.
    """
    tasks, left_out = {}, []
    for name in benchmark.tasks:
        task = benchmark.load_task(name)
        all_pairs = pairs_of(task)
        if all_pairs is None:
            left_out.append(name)
        else:
            tasks[name] = task, _chosen(all_pairs, pairs)
    if not tasks:
        raise Problem(
            f"--sensitivity measures tasks of sentence pairs, and {', '.join(left_out)} is none",
            "Choose another --benchmark, or leave the option out.",
        )
    found: list[Moved] = []
    by_default: dict[str, tuple[NDArray[np.float64], float]] = {}
    for setting in settings:
        encode = setting.make()
        for name, (task, chosen) in tasks.items():
            start = time.perf_counter()
            cosines = _cosines(encode, task, chosen)
            score = _score(cosines, chosen, f"{name}, {setting.name}")
            default, base = by_default.setdefault(name, (cosines, score))
            largest = float(np.abs(cosines - default).max())
            found.append(Moved(name, setting, len(chosen), score, score - base, largest))
            say(f"{setting.name}: {name} {score:.4f} ({len(chosen):,} pairs, {time.perf_counter() - start:.1f} s)")
    return found, left_out


def _chosen(pairs: Sequence[StsPair], count: int) -> list[StsPair]:
    """Return ``count`` pairs by the order of a hash of their content, in the task's own order."""
    if not 0 < count < len(pairs):
        return list(pairs)
    hashes = [hashlib.sha256(f"{pair.sentence1}\x1f{pair.sentence2}".encode()).digest() for pair in pairs]
    rows = sorted(range(len(pairs)), key=lambda row: (hashes[row], row))[:count]
    return [pairs[row] for row in sorted(rows)]


def _cosines(encode: Encode, task: Any, pairs: Sequence[StsPair]) -> NDArray[np.float64]:
    """Cosine of each pair, [P], computed as mteb does; each text is encoded once, and all of one role together."""
    from sklearn.metrics.pairwise import paired_cosine_distances

    sides = (
        (role_of(task.input1_prompt_type), [pair.sentence1 for pair in pairs]),
        (role_of(task.input2_prompt_type), [pair.sentence2 for pair in pairs]),
    )
    vectors: dict[tuple[Role, str], NDArray[np.float32]] = {}
    for role in dict.fromkeys(role for role, _ in sides):
        texts = list(dict.fromkeys(text for one, texts in sides if one == role for text in texts))
        vectors.update(((role, text), vector) for text, vector in zip(texts, encode(texts, role), strict=True))
    first, second = (np.stack([vectors[role, text] for text in texts]) for role, texts in sides)
    # Of two equal vectors it is exactly 1: a product of unit vectors would break such ties by rounding.
    return np.asarray(1 - paired_cosine_distances(first, second), dtype=np.float64)


def _score(cosines: NDArray[np.float64], pairs: Sequence[StsPair], what: str) -> float:
    from scipy.stats import spearmanr

    if not np.isfinite(cosines).all() or len(set(cosines.tolist())) < 2:
        raise Problem(
            f"{what}: the cosines of {len(pairs)} pairs are not finite, or all the same", "Measure more pairs."
        )
    return 100 * float(spearmanr([pair.score for pair in pairs], cosines)[0])
