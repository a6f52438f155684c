"""Seeds derived by axis: what a draw depends on is named, so that no draw shifts another."""

from __future__ import annotations

import hashlib


def derive(seed: int, *axes: object) -> int:
    """Derive a 63-bit seed from the run's seed and the names of what it is for (stage, "step", 17)."""
    text = "\x1f".join(map(str, (seed, *axes)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
