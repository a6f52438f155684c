"""The ablation table: what a method loses or gains by each of its variants, as in Table 2 of the AutoRegEmbed paper.

Which rows belong together is read from their names, inside one contest: methods that share the first word before a
hyphen (``autoregembed``, ``autoregembed-kl``), and rows of one method with other settings. The full method is the one
named by that word alone, else the one with the most stages (work before a stage counts as one), names that end in
``-only`` left out; where several have as many there is none, and no table. If the full method ran with several
settings, the row counts as full whose settings differ in the fewest values from those of the others, the first in table
order of equal ones: of a search around one point that is the point.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from genembench.problem import unknown
from leaderboard.board import Board, Entry
from leaderboard.columns import COLUMNS, Column, budget_text, headline_column
from leaderboard.headline import score
from leaderboard.rows import Row
from leaderboard.statistics import Comparison, Contest
from leaderboard.tables import Group, Table
from leaderboard.units import UNKNOWN, interval, probability, signed

Choice = Mapping[str, Sequence[str]]


class Family(NamedTuple):
    """A full method and its variants, as places of the board's rows."""

    contest: Contest
    full: int
    variants: tuple[int, ...]


def families(board: Board, chosen: Choice | None = None) -> list[Family]:
    """Return which rows are compared with which, contest by contest.

    Args:
        board: The rows.
        chosen: The name of a full method or row to those of its variants; without it names decide.

    Raises:
        Problem: a name was chosen that no run has.
    """
    found = []
    for contest in board.statistics.contests:
        groups = _by_choice(board, contest, chosen) if chosen else _by_name(board, contest)
        found += [Family(contest, full, variants) for full, variants in groups if variants]
    return found


def _by_choice(board: Board, contest: Contest, chosen: Choice) -> list[tuple[int, tuple[int, ...]]]:
    """Group rows as the user said; a name stands for every row of a method, or for the row that is labelled so."""
    known = {record.method.name for record in board.missing} | {row.label for row in board.rows}
    known |= {row.first.method.name for row in board.rows}
    groups = []
    for name, variants in chosen.items():
        for word in (name, *variants):
            if word not in known:
                raise unknown("method of an ablation", word, known)
        full = _named(board, contest, name)
        if full:
            centre = _centre(board, full)
            # Each row once, in the order asked for.
            rest = dict.fromkeys(at for word in variants for at in _named(board, contest, word) if at != centre)
            groups.append((centre, tuple(rest)))
    return groups


def _named(board: Board, contest: Contest, name: str) -> list[int]:
    """Return the rows of a contest that a name stands for."""
    return [at for at in contest.rows if name in (board.rows[at].label, board.rows[at].first.method.name)]


def _by_name(board: Board, contest: Contest) -> list[tuple[int, tuple[int, ...]]]:
    """Group rows by the first word of their methods."""
    words: dict[str, list[int]] = {}
    for at in contest.rows:
        words.setdefault(_method(board, at).partition("-")[0], []).append(at)
    groups = []
    for word, places in words.items():
        name = _full_name(word, [board.rows[at] for at in places])
        if name:
            full = _centre(board, [at for at in places if _method(board, at) == name])
            groups.append((full, tuple(at for at in places if at != full)))
    return groups


def _full_name(word: str, rows: Sequence[Row]) -> str:
    """Return the full method's name; empty where nothing tells it from its variants."""
    stages = {row.first.method.name: len(row.first.costs.stages) for row in rows}
    if word in stages:
        return word
    whole = {name: count for name, count in stages.items() if not name.endswith("-only")}
    most = [name for name, count in whole.items() if count == max(whole.values())]
    return most[0] if len(most) == 1 else ""


def _centre(board: Board, places: Sequence[int]) -> int:
    """Return the row whose settings differ least from those of the others."""

    def distance(at: int) -> int:
        mine = board.rows[at].first.method.config
        others = [board.rows[other].first.method.config for other in places]
        return sum(_text(mine, key) != _text(other, key) for other in others for key in {*mine, *other})

    return min(places, key=distance)


def _text(config: Mapping[str, object], key: str) -> str:
    """Write one setting so that it can be compared."""
    return json.dumps(config.get(key), sort_keys=True, default=str)


def _method(board: Board, at: int) -> str:
    """Return the name of a row's method."""
    return board.rows[at].first.method.name


def ablation(board: Board, chosen: Choice | None = None) -> Table | None:
    """Lay out the ablation table; None where no method has a variant, or no score ranks them.

    Args:
        board: The rows.
        chosen: See `families`.
    """
    found = families(board, chosen) if board.headline else []
    if not found:
        return None
    budgets = len({family.contest.budget for family in found}) > 1
    groups = []
    for family in found:
        name = board.rows[family.full].label
        columns = _columns(board, family)
        places = (family.full, *family.variants)
        lines = [tuple(column.cell(Entry(board, at)) for column in columns) for at in places]
        lines[0] = (replace(lines[0][0], small="(full)"), *lines[0][1:])
        heading = f"{name}, budget {budget_text(family.contest.budget)}" if budgets else name
        groups.append(Group(heading, tuple(lines)))
    heads = tuple(column.head for column in _columns(board, found[0]))
    return Table("ablation", "Ablation", heads, tuple(groups), (_caption(board),))


def _columns(board: Board, family: Family) -> list[Column]:
    """Return the columns of one family's lines."""
    name = board.headline
    by_pair = {frozenset((it.first, it.second)): it for it in board.statistics.comparisons(family.contest, name)}

    def comparison(entry: Entry) -> Comparison | None:
        return by_pair.get(frozenset((entry.at, family.full))) if entry.at != family.full else None

    def difference(entry: Entry) -> float | None:
        mine, full = score(entry.row, name), score(board.rows[family.full], name)
        return None if entry.at == family.full or mine is None or full is None else mine - full

    def bounds(entry: Entry) -> str:
        found = comparison(entry)
        if found is None:
            return ""
        low, high = found.interval.low, found.interval.high
        text = interval(low, high, 2) if found.first == entry.at else interval(-high, -low, 2)
        return f"{text} *" if found.significant else text

    def p(entry: Entry) -> float | None:
        found = comparison(entry)
        return None if found is None else found.p_holm

    return [
        *(COLUMNS[key] for key in ("method", "volume")),
        replace(COLUMNS["flops"], small=lambda entry: ""),  # without what was spent
        replace(headline_column(board), score=""),  # without the best: what counts here is the difference
        Column("difference", "Difference", difference, signed, bounds),
        Column("p_holm", "p", p, probability),
    ]


def _caption(board: Board) -> str:
    """Say what the differences are."""
    return (
        f"Each variant against the full method at the head of its group: difference of {board.headline}, variant minus "
        "full, on the same pairs, with its 95 % interval (not adjusted for the number of comparisons). p is two-sided, "
        "adjusted by Holm over all comparisons of the rows that compete; * stands where it is below 0.05, "
        f"{UNKNOWN} where predictions are missing. FLOPs are those of training, attributed."
    )
