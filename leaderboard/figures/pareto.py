"""The Pareto figures: quality over what it took, one panel for each cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from leaderboard.figures.axes import CostAxis
from leaderboard.figures.boxes import Spot
from leaderboard.figures.costs import Paid
from leaderboard.figures.entries import Entry, limits
from leaderboard.figures.keys import (
    BAR,
    FRONT,
    LEVEL,
    Key,
    bar_key,
    entry_keys,
    family_keys,
    front_key,
    level_key,
    mark_key,
    marker_style,
)
from leaderboard.figures.measure import wrapped
from leaderboard.figures.names import Name, beside_points
from leaderboard.figures.sheet import grid
from leaderboard.pareto import Direction, pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

HEIGHT = 2.2  # inches of a panel
LEVEL_SPOTS = (0.8, 0.65, 0.5, 0.35)  # where along a finished model's line its name may stand
MOST_NAMES = 14  # more than these are a crowd, and a legend is the better place


def draw(entries: Sequence[Entry], paid: Sequence[Paid], quality: str, *, beside: bool = True) -> Sheet:
    """Draw one panel for each cost, two to a line, and name the points.

    Args:
        entries: The rows in table order.
        paid: The costs, at least one.
        quality: What the vertical axis shows.
        beside: Whether names may stand beside their points, where they all have room; else in a legend.
    """
    beside = beside and len(paid) <= 2 and len({entry.label for entry in entries}) <= MOST_NAMES
    sheet, panels = grid(len(paid), _keys(entries, paid, beside), HEIGHT)
    named = True
    for at, (axes, cost) in enumerate(zip(panels, paid, strict=True)):
        lines = _panel(axes, entries, cost)
        if at % 2 == 0:
            axes.set_ylabel(quality)
        else:
            axes.tick_params(labelleft=False)
        named = named and (not beside or _name(axes, entries, cost, lines))
    return sheet if named else draw(entries, paid, quality, beside=False)


def _keys(entries: Sequence[Entry], paid: Sequence[Paid], beside: bool) -> list[Key]:
    """Return the legend: all names, or, where these stand in the panels, only what else needs saying."""
    drawn = [entry for entry in entries if entry.finished or any(entry.at in cost.values for cost in paid)]
    level = [entry for entry in drawn if not any(entry.at in cost.values for cost in paid)]
    keys = family_keys(drawn) if beside else entry_keys(drawn, level)
    keys += [level_key()] if beside and level else []
    if any(_front(entries, cost) for cost in paid):
        keys.append(front_key())
    if any(entry.interval for entry in drawn if entry not in level):
        keys.append(bar_key())
    return keys + (mark_key(drawn) if beside else [])


def _front(entries: Sequence[Entry], paid: Paid) -> list[Entry]:
    """Return the entries on a panel's front, best cost first."""
    known = [entry for entry in entries if entry.competes and entry.at in paid.values]
    points = [(paid.values[entry.at], entry.quality) for entry in known]
    return [known[at] for at in pareto_front(points, (paid.direction, Direction.HIGHER))]


def _panel(axes: Axes, entries: Sequence[Entry], paid: Paid) -> list[list[Spot]]:
    """Draw one panel and return the lines in it, which names had better not cross."""
    place = CostAxis(paid.values.values(), paid.write)
    at = {entry.at: place(paid.values[entry.at]) for entry in entries if entry.at in paid.values}
    lines: list[list[Spot]] = []
    for entry in entries:
        if entry.at not in at:  # nobody knows what a finished model cost, so it has a height and no place
            if entry.finished:
                axes.axhline(entry.quality, color=entry.look.colour, zorder=1.2, **LEVEL)
                lines.append([(0.0, entry.quality), (1.0, entry.quality)])
            continue
        if entry.interval:
            below, above = entry.quality - entry.low, entry.high - entry.quality
            axes.errorbar(
                at[entry.at],
                entry.quality,
                yerr=[[below], [above]],
                fmt="none",
                ecolor=entry.look.colour,
                zorder=2.8,
                **BAR,
            )
            lines.append([(at[entry.at], entry.low), (at[entry.at], entry.high)])
    lines += _budgets(axes, entries, at)
    lines += _draw_front(axes, _front(entries, paid), at, paid.direction)
    front = {entry.at for entry in _front(entries, paid)}
    for entry in entries:
        if entry.at in at:
            edge = {"markeredgecolor": "black", "markeredgewidth": 0.9} if entry.at in front else {}
            style = {**marker_style(entry.look, hollow=entry.hollow), **edge, "zorder": 4 if edge else 3}
            axes.plot(at[entry.at], entry.quality, linewidth=0, label=entry.label, **style)
    axes.set_ylim(*limits(entries))
    axes.grid(axis="y", color="0.92", linewidth=0.5)
    axes.set_axisbelow(True)
    better = "← better" if paid.direction is Direction.LOWER else "better →"
    place.dress(axes, paid.name, paid.exact, *paid.notes, better if place.positive else "")
    return lines


def _budgets(axes: Axes, entries: Sequence[Entry], at: dict[int, float]) -> list[list[Spot]]:
    """Join the budgets of each method."""
    lines = []
    for label in dict.fromkeys(entry.label for entry in entries):
        mine = sorted((entry for entry in entries if entry.label == label and entry.at in at), key=lambda it: at[it.at])
        if len(mine) > 1:
            line = [(at[entry.at], entry.quality) for entry in mine]
            xs, ys = zip(*line, strict=True)
            axes.plot(xs, ys, color=mine[0].look.colour, linewidth=0.9, zorder=2.6)
            lines.append(line)
    return lines


def _draw_front(axes: Axes, front: Sequence[Entry], at: dict[int, float], direction: Direction) -> list[list[Spot]]:
    """Draw the front as a broad pale line behind everything."""
    if not front:
        return []
    # To the dear edge: whoever can pay more can still have the best that costs less.
    edge = 1.0 if direction is Direction.LOWER else 0.0
    corners: list[Spot] = [(at[front[0].at], front[0].quality)]
    for one, other in pairwise(front):
        corners += [(at[other.at], one.quality), (at[other.at], other.quality)]
    corners.append((edge, front[-1].quality))
    xs, ys = zip(*corners, strict=True)
    axes.plot(xs, ys, zorder=1.5, solid_joinstyle="miter", label="Pareto front", **FRONT)
    return [corners]


def _name(axes: Axes, entries: Sequence[Entry], paid: Paid, lines: Sequence[Sequence[Spot]]) -> bool:
    """Write every name into a panel; whether they had room."""
    place = CostAxis(paid.values.values(), paid.write)
    spots: dict[str, list[Spot]] = {}
    names = []
    for entry in entries:
        if entry.at in paid.values:
            spots.setdefault(entry.label, []).append((place(paid.values[entry.at]), entry.quality))
        elif entry.finished:
            names.append(Name(wrapped(entry.label), tuple((x, entry.quality) for x in LEVEL_SPOTS), on_line=True))
    names += [Name(wrapped(label), tuple(mine)) for label, mine in spots.items()]
    markers = [spot for mine in spots.values() for spot in mine]
    return beside_points(axes, names, markers, lines) is not None
