"""Numbers as people read them in tables and on axes."""

from __future__ import annotations

from collections.abc import Mapping

UNKNOWN = "–"
PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def si(value: float, digits: int = 3) -> str:
    """Write a number with an SI prefix: ``1.23 P``, ``960 G``, ``0``; ``digits`` are significant ones.

    Args:
        value: A number that is not negative.
        digits: How many significant digits to keep.
    """
    # Rounded first: 999,999 is "1.00 M", not "1000 k".
    rounded = float(f"{value:.{digits - 1}e}")
    for size, prefix in PREFIXES:
        if rounded >= size:
            return f"{_significant(rounded / size, digits)} {prefix}"
    return f"{rounded:g}"


def _significant(value: float, digits: int) -> str:
    """Write a number from 1 to 999 with a fixed number of significant digits."""
    return f"{value:.{max(0, digits - len(str(int(value))))}f}"


def gigabytes(value: float) -> str:
    """Write bytes as GB (10^9), two decimals."""
    return f"{value / 1e9:.2f} GB"


def seconds(value: float) -> str:
    """Write a duration in the two units that matter: ``8.1 s``, ``12 min 05 s``, ``3 h 20 min``."""
    if value < 99.95:
        return f"{value:.1f} s" if value else "0 s"
    if value < 3599.5:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(value / 60), 60)
    return f"{hours:,} h {minutes:02d} min"


def volume(unique: Mapping[str, int]) -> str:
    """Write unique training examples as the papers do: triplets, then the other kinds in brackets.

    ``50,000 (16,382)`` is 50,000 triplets and 16,382 examples of another kind; ``0`` is training-free.
    """
    others = [f"{unique[kind]:,}" for kind in sorted(unique) if kind != "triplets" and unique[kind]]
    triplets = f"{unique.get('triplets', 0):,}"
    return f"{triplets} ({' + '.join(others)})" if others else triplets
