"""What the tests of `genembench export` share: encoders that stand alone, and folders as a user loads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from methods.contract import Method, Role
from methods.encoder import load_encoder, write_manifest
from methods.registry import MethodEntry, discover
from runners.exporting.exporter import Exported, export
from runners.exporting.source import find_source

ROLES: tuple[Role, ...] = ("symmetric", "query", "document")
LONG = "the cat sees a red ball near the bridge and "
# None of them is one that an export tries by itself.
TEXTS = [
    "the cat sees a ball",
    "The judge mends: a lamp!",
    "x",
    ".",
    "  two spaces in front",
    "two behind  ",
    "one line\nand another\n",
    "ça, c'est “déjà vu” – 東京 🙂",
    "it ends in </s>",
    "<s> begins it",
    LONG * 40,
    LONG * 3 + "\t" + LONG * 20,
    *(LONG * 3 + "a " * words for words in range(1, 24, 2)),
]


def stand_alone(folder: Path, entry: MethodEntry, method: Method, weights: Path) -> Path:
    """An encoder's folder with no record beside it."""
    folder.mkdir(parents=True)
    file = Path(entry.origin) if entry.origin.startswith("/") else None
    write_manifest(folder, name=entry.name, method=method, method_file=file, weights=str(weights))
    return folder


def plain(
    folder: Path,
    name: str,
    weights: Path,
    overrides: Mapping[str, str] | None = None,
    method_files: Sequence[Path] = (),
) -> Path:
    """The encoder of a method on a backbone's own weights."""
    entry = discover(method_files).get(name)
    return stand_alone(folder, entry, entry.create("default", {"max_length": "64", **(overrides or {})}), weights)


def export_to(encoder: Path, target: Path) -> Exported:
    return export(find_source(encoder), target, device="cpu")


def loaded(folder: Path, *, trust: bool = True) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", trust_remote_code=trust, local_files_only=True)


def encoded(model: SentenceTransformer, texts: list[str], role: Role, batch_size: int = 7) -> NDArray[Any]:
    encode: dict[Role, Any] = {
        "symmetric": model.encode,
        "query": model.encode_query,
        "document": model.encode_document,
    }
    return np.asarray(encode[role](texts, batch_size=batch_size))


def assert_same_vectors(encoder: Path, folder: Path, *, trust: bool = True, texts: list[str] = TEXTS) -> None:
    """Load both and compare all texts in all roles, among others and alone."""
    ours, theirs = load_encoder(encoder), loaded(folder, trust=trust)
    for role in ROLES:
        wanted = ours.encode(texts, role)
        assert len(np.unique(wanted.round(4), axis=0)) > 8  # or equality would say nothing
        for size in (len(texts), 7, 1):
            np.testing.assert_allclose(encoded(theirs, texts, role, size), wanted, rtol=0, atol=1e-5, err_msg=role)
