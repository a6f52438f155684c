"""Names for examples, and orders that depend on the examples and the seed and on nothing else.

Positions in a file, the platform, the process and numpy's generator play no part: an example's place follows from
hashing its name with the seed. Two people with the same rows in files of different order train on the same sequence,
and removing a row leaves the order of all others as it was. Budgets are prefixes of one order, hence nested.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b, sha256
from typing import Any

from benchmarks.kinds import kind_of

_ID_BYTES = 10  # 80 bits: among a million examples two share a name with a chance of about 4e-13


def example_id(kind: str, row: Mapping[str, Any]) -> str:
    """Name a row by its content: 20 hexadecimal digits.

    Only the fields of the kind count; extra fields do not. It is BLAKE2b with an 80-bit digest (``b2sum -l 80``) of the
    fields as compact ASCII JSON with sorted keys, so no two different rows are ever written the same way.

    Args:
        kind: One of ``benchmarks.kinds.KINDS``.
        row: A row as :func:`benchmarks.kinds.normalise` returns it (``negative`` is a list).
    """
    fields = {field: row[field] for field in kind_of(kind).fields}
    content = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return blake2b(content.encode("ascii"), digest_size=_ID_BYTES).hexdigest()


def rank(key: str, example: str) -> bytes:
    """Return the hash that places the example called ``example`` in the order called ``key``."""
    return blake2b(f"{key}:{example}".encode()).digest()


def ordered(ids: Sequence[str], seed: int) -> list[int]:
    """Return positions in ``ids``, shuffled for ``seed``.

    ``[ids[i] for i in ordered(ids, seed)]`` is the same list however ``ids`` was sorted before.
    """
    return _by_rank(str(seed), ids)


def epoch_order(ids: Sequence[str], seed: int, epoch: int) -> list[int]:
    """Return positions in ``ids`` for one pass over them; every epoch is another shuffle.

    Args:
        ids: Names of the examples of the run, already in order for ``seed``.
        seed: The seed of the run.
        epoch: 0 for the first pass, which goes through ``ids`` as they stand; later passes follow from the names, the
            seed and the epoch only.

    Raises:
        ValueError: ``epoch`` is negative.
    """
    if epoch < 0:
        raise ValueError(f"epoch must be 0 or more, got {epoch}")
    # Names hold no colon, so the key of an epoch never meets the key of `ordered`.
    return list(range(len(ids))) if epoch == 0 else _by_rank(f"{seed}:{epoch}", ids)


def digest(ids: Iterable[str]) -> str:
    """Return the SHA-256, in hexadecimal, of the ids one per line: what ``sha256sum`` says of a file with them."""
    total = sha256()
    for example in ids:
        total.update(f"{example}\n".encode())
    return total.hexdigest()


def _by_rank(key: str, ids: Sequence[str]) -> list[int]:
    places = [rank(key, example) for example in ids]
    return sorted(range(len(ids)), key=places.__getitem__)
