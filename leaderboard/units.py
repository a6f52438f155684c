"""Numbers as people read them in tables and on axes."""

from __future__ import annotations

from collections.abc import Mapping

UNKNOWN = "–"
MINUS = "−"
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


def count(value: float) -> str:
    """Write a count in full: ``13,277``."""
    return f"{value:,.0f}"


def score(value: float, digits: int = 2) -> str:
    """Write a score of the 0-100 scale; nothing has no sign."""
    text = f"{value:.{digits}f}"
    if not text.startswith("-"):
        return text
    return f"{MINUS}{text[1:]}" if text.strip("-0.") else text[1:]


def signed(value: float) -> str:
    """Write a difference of two scores with its sign: ``+0.30``, ``−4.58``, ``0.00``."""
    text = score(value)
    return text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"


def interval(low: float, high: float, digits: int = 1) -> str:
    """Write an interval of scores: ``[60.9, 62.5]``."""
    return f"[{score(low, digits)}, {score(high, digits)}]"


def probability(p: float) -> str:
    """Write a p-value: ``0.031``, ``<0.001``."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


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
