"""Budgets in examples: how many rows of each kind of data every method of a comparison may use.

A budget is a cap per kind. The short form ``10000`` means 10,000 triplets and the other kinds in the proportion of the
AutoRegEmbed paper, which compresses on 16,382 and aligns on 50,000.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.kinds import KINDS, kind_of
from genembench.problem import Problem, unknown

PAPER_OTHER, PAPER_TRIPLETS = 16_382, 50_000

# "_" only between thousands, so that a slip (1_00) is no number; no leading zero, so that "10,000" is caught below.
_NUMBER = re.compile(r"[1-9][0-9]{0,11}|[1-9][0-9]{0,2}(?:_[0-9]{3}){1,3}")
_SHORTHAND = re.compile(r"([1-9][0-9]{0,5})([km])", re.IGNORECASE)
_FORMS = (
    "Write --budget 10000, several as --budget 1000,5000,10000, or by kind as --budget triplets=10000,instruct=3277."
)


@dataclass(frozen=True)
class Budget:
    """Caps in examples.

    Args:
        label: How it is asked for, in one spelling: ``"10000"`` or ``"triplets=10000,instruct=3277"``.
        caps: Examples by kind of data; 1 or more each.
        explicit: Whether the caps were given by kind. A kind that then has none was not thought of by the user, which
            is worth an error where a method needs it; the short form has a cap for every kind.
    """

    label: str
    caps: dict[str, int]
    explicit: bool = False

    def cap(self, kind: str) -> int:
        """Return the examples of ``kind`` that may be used, 0 if none were given; an unknown kind is a ``Problem``."""
        return self.caps.get(kind_of(kind).name, 0)


def short_form(triplets: int) -> Budget:
    """Return the budget of so many triplets, with every other kind in the paper's proportion, rounded up."""
    other = -(-triplets * PAPER_OTHER // PAPER_TRIPLETS)
    return Budget(str(triplets), {kind: triplets if kind == "triplets" else other for kind in KINDS})


def largest_short_form(kind: str, rows: int) -> int:
    """Return the largest n for which the short form ``n`` asks for at most ``rows`` of ``kind``."""
    # ceil(n * p / q) <= rows holds exactly when n * p / q <= rows, because rows is whole.
    return rows if kind == "triplets" else rows * PAPER_TRIPLETS // PAPER_OTHER


def parse_budgets(values: Sequence[str]) -> list[Budget]:
    """Read the values of ``--budget``.

    ``"10000"`` is one budget in the short form, ``"1000,5000"`` are two, ``"triplets=10000,instruct=3277"`` is one with
    exactly these caps. Several values are joined.

    Returns:
        The short forms by size, then those by kind as given; each once.

    Raises:
        Problem: A value is none of these, or there is none.
    """
    plain: set[int] = set()
    by_kind: dict[str, Budget] = {}
    for value in values:
        parts = [part.strip() for part in value.split(",")]
        if not all(parts):
            raise Problem(f"--budget {value!r} has an empty part", _FORMS)
        with_kind = sum("=" in part for part in parts)
        if with_kind == 0:
            plain.update(_number(part, value) for part in parts)
        elif with_kind == len(parts):
            budget = _by_kind(parts, value)
            by_kind.setdefault(budget.label, budget)
        else:
            raise Problem(
                f"--budget {value} mixes plain numbers with caps by kind",
                f"Give them as two: --budget {','.join(part for part in parts if '=' not in part)} "
                f"--budget {','.join(part for part in parts if '=' in part)}.",
            )
    if not plain and not by_kind:
        raise Problem("no budget was given", _FORMS)
    return [*(short_form(triplets) for triplets in sorted(plain)), *by_kind.values()]


def _by_kind(parts: Sequence[str], value: str) -> Budget:
    given: dict[str, int] = {}
    for part in parts:
        kind, _, number = (piece.strip() for piece in part.partition("="))
        if kind not in KINDS:
            raise unknown(f"data kind in --budget {value}:", kind, KINDS)
        if kind in given:
            raise Problem(f"--budget {value} gives {kind} twice", "Keep one of the two.")
        given[kind] = _number(number, value)
    # In one order, so that two spellings of one budget have one label.
    caps = {kind: given[kind] for kind in KINDS if kind in given}
    return Budget(",".join(f"{kind}={cap}" for kind, cap in caps.items()), caps, explicit=True)


def _number(text: str, value: str) -> int:
    """Read a whole number of 1 or more; ``value`` is what the user wrote, for the message."""
    if _NUMBER.fullmatch(text):
        return int(text)
    if re.fullmatch(r"[+-]?0", text) or re.fullmatch(r"-[0-9_]+", text):
        raise Problem(f"--budget {value}: {text} examples cannot be asked for, at least 1", _FORMS)
    shorthand = _SHORTHAND.fullmatch(text)
    if shorthand:
        zeros = "000" if shorthand[2].lower() == "k" else "000000"
        hint = f"Write it out: {shorthand[1]}{zeros}. {_FORMS}"
    elif re.fullmatch(r"0[0-9]+", text):
        hint = f"A comma separates budgets; between thousands write '_' or nothing, as in 10_000. {_FORMS}"
    else:
        hint = _FORMS
    raise Problem(f"--budget {value}: '{text}' is not a whole number of examples", hint)
