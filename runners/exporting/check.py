"""Whether an exported folder gives our vectors to whoever loads it with sentence-transformers and nothing of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genembench.problem import Problem
from methods.contract import Role
from methods.encoder import Encoder
from runners.exporting import fresh
from runners.exporting.readings import ROLES
from runners.exporting.templated_transformer import Reading
from runners.exporting.texts import probes

TOLERANCE = 1e-5
"""How far a number of a vector may be from ours: float32, and other kernels for padded batches."""
LONGEST = 1024
"""Longest text in tokens that is encoded to compare; of longer ones the tokens are compared, not the vectors."""


@dataclass(frozen=True)
class Expected:
    """Our own vectors: for each role, texts and ``[N, D]``."""

    texts: Mapping[Role, list[str]]
    vectors: Mapping[Role, NDArray[np.float32]]


@dataclass(frozen=True)
class Difference:
    """How far the folder's vectors are from ours.

    Attributes:
        largest: The largest difference of any number.
        role: The role of the text with that difference.
        text: The text.
        together: Whether it was encoded among others, or alone.
        texts: How many texts were compared, over all roles.
        why_not: What else is wrong; empty if nothing is.
    """

    largest: float
    role: Role
    text: str
    together: bool
    texts: int
    why_not: str = ""

    @property
    def fine(self) -> bool:
        """Whether the folder may be handed out."""
        return self.largest <= TOLERANCE and not self.why_not

    def __str__(self) -> str:
        if self.why_not:
            return self.why_not
        how = "in a padded batch" if self.together else "alone"
        return f"vectors are up to {self.largest:.1e} apart ({self.role}, {how}: {self.text[:40]!r})"


def expect(encoder: Encoder, readings: Mapping[Role, Reading]) -> Expected:
    """Encode the texts to compare by: all for each way of reading, fewer for a role that reads like another.

    A text that the method refuses (white space, for some) is left out.

    Raises:
        Problem: a text is too long for the backbone.
    """
    texts = probes(encoder.tokenizer, min(encoder.method.max_length, LONGEST))
    kept, vectors = {}, {}
    for role in ROLES:
        as_symmetric = role != "symmetric" and readings[role] == readings["symmetric"]
        kept[role] = [text for text in texts[:: 8 if as_symmetric else 1] if _is_read(encoder, text, role)]
        try:
            vectors[role] = encoder.encode(kept[role], role)
        except (IndexError, RuntimeError) as error:
            raise Problem(
                f"the encoder cannot encode a text of {encoder.method.max_length} tokens: {_last_line(str(error))}",
                "max_length is more than the backbone has positions for, or memory is short.",
            ) from error
    return Expected(kept, vectors)


def compare(folder: Path, expected: Expected, *, causal: bool, trust: bool, device: str) -> Difference:
    """Encode in a fresh process, in padded batches and one by one, and find the largest difference.

    Raises:
        Problem: the folder cannot be loaded there.
    """
    with tempfile.TemporaryDirectory(prefix="genembench-export-") as scratch:
        request, output = Path(scratch, "request.json"), Path(scratch, "vectors.npz")
        asked = {"folder": str(folder.resolve()), "texts": expected.texts, "device": device, "trust": trust}
        request.write_text(json.dumps(asked), encoding="utf-8")
        result = subprocess.run(
            # -P: nothing is found beside the script or where it runs.
            [sys.executable, "-P", fresh.__file__, str(request), str(output)],
            cwd=scratch,
            # Code of the folder is copied to a cache before it runs; not to the user's.
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(Path(scratch, "modules"))},
            capture_output=True,
            text=True,
        )
        if result.returncode != 0:
            raise Problem(
                f"sentence-transformers could not load or use what was exported: {_last_line(result.stderr)}",
                "Nothing is left behind. `genembench doctor` checks the installation.",
            )
        with np.load(output) as found:
            facts = json.loads(str(found["facts"]))
            vectors = {name: found[name] for name in found.files if name != "facts"}
    return _largest(vectors, expected, _wrong(facts, causal=causal))


def _wrong(facts: Mapping[str, object], *, causal: bool) -> str:
    if facts["dtype"] != "torch.float32":
        return f"weights were loaded as {facts['dtype']}, and not as float32"
    if facts["sees_ahead"] != [not causal] * 2:
        where = "sees" if causal else "does not see"
        return f"attention has another direction when the folder is loaded: a token {where} what comes behind it"
    return f"the folder needs {facts['ours']}" if facts["ours"] else ""


def _largest(vectors: Mapping[str, NDArray[np.float32]], expected: Expected, wrong: str) -> Difference:
    found = []
    for role, own in expected.vectors.items():
        for how in ("together", "alone"):
            theirs = vectors[f"{role}-{how}"]
            if theirs.shape != own.shape:
                wrong = wrong or f"vectors have {theirs.shape[1:]} numbers, and not {own.shape[1:]}"
                continue
            # Not a number is no small difference.
            apart = np.nan_to_num(np.abs(theirs - own).max(axis=1), nan=np.inf)
            worst = int(apart.argmax())
            found.append((float(apart[worst]), role, expected.texts[role][worst], how == "together"))
    texts = sum(map(len, expected.texts.values()))
    largest: tuple[float, Role, str, bool] = max(found) if found else (float("inf"), "symmetric", "", True)
    return Difference(*largest, texts, wrong)


def _is_read(encoder: Encoder, text: str, role: Role) -> bool:
    """Whether the method takes the text, and the backbone has embeddings of its tokens (some lack those of a few)."""
    try:
        (row,) = encoder.method.tokenize(encoder.tokenizer, [text], role, "evaluate")
    except Problem:
        return False
    embeddings: Any = encoder.body.get_input_embeddings()
    return max(row.ids) < int(embeddings.num_embeddings)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"
