"""The forest plot: every score with its 95 % interval, and letters for those that cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from leaderboard.columns import budget_text
from leaderboard.figures.entries import Entry
from leaderboard.figures.keys import BAR, marker_style
from leaderboard.figures.measure import extent, widest, wrapped
from leaderboard.figures.sheet import new_sheet, panel
from leaderboard.figures.style import COLUMN, INK, SMALL
from leaderboard.statistics import Contest, Standing, Statistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

# Inches: of a line, of a group's heading, under the panels, of a note there, at the edges, between columns, and of the
# panels' width at least.
LINE, HEADING, UNDER, MORE, EDGE, GAP, PANEL = 0.165, 0.2, 0.5, 0.13, 0.06, 0.08, 1.1
NAME = 34  # characters of a name's line
OTHERS = "Not ranked"
NOTE = "(same letter: no significant difference)"

Group = tuple[str, list[Entry]]


def groups(entries: Sequence[Entry], contests: Sequence[Contest]) -> list[Group]:
    """Return the entries of each contest, best first, and then those that take part in none."""
    by_place = {entry.at: entry for entry in entries}
    found: list[Group] = []
    for contest in contests:
        members = _best_first([by_place[at] for at in contest.rows if at in by_place])
        if members:
            found.append((f"Budget {budget_text(contest.budget)}", members))
    ranked = {entry.at for _, members in found for entry in members}
    others = _best_first([entry for entry in entries if entry.at not in ranked])
    if others:
        found.append((OTHERS, others))
    return [("", found[0][1])] if len(found) == 1 else found


def _best_first(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (-entry.quality, entry.at))


def draw(entries: Sequence[Entry], statistics: Statistics, average: str, quality: str) -> Sheet:
    """Draw one panel for each contest, under one another on one scale.

    Args:
        entries: The rows in table order.
        statistics: Where the letters come from.
        average: The headline score.
        quality: What the horizontal axis shows.
    """
    found = groups(entries, statistics.contests)
    shown = [entry for _, members in found for entry in members]
    standings = {entry.at: statistics.standing(entry.at, average) for entry in shown}
    names = _names(found)
    sheet = new_sheet(COLUMN, 1.0)
    left = EDGE + widest(sheet, names.values()) + GAP
    score = GAP + widest(sheet, [f"{entry.quality:.2f}" for entry in shown])
    letters = widest(sheet, [_letters(standing) for standing in standings.values()])
    right = score + (GAP + letters if letters else 0.0) + EDGE
    width = max(PANEL, COLUMN - left - right)
    headings = sum(HEADING for heading, _ in found if heading)
    lines = {heading: [1 + names[entry.at].count("\n") * 0.75 for entry in members] for heading, members in found}
    height = (
        UNDER + (MORE if letters else 0.0) + headings + LINE * sum(map(sum, lines.values())) + EDGE * (1 + len(found))
    )
    sheet.set_size_inches(left + width + right, height)
    low, high = min(entry.low for entry in shown), max(entry.high for entry in shown)
    spare = max(0.04 * (high - low), 0.25)
    top = height - EDGE
    for heading, members in found:
        top -= HEADING if heading else 0.0
        high_of = LINE * sum(lines[heading])
        axes = panel(sheet, left, top - high_of, width, high_of)
        axes.set_xlim(low - spare, high + spare)
        _panel(axes, members, lines[heading], names, score, standings)
        if heading:
            axes.set_title(heading, loc="left", pad=3.5, fontweight="bold")
        last = members is found[-1][1]
        axes.tick_params(bottom=last, labelbottom=last)
        axes.spines["bottom"].set_visible(last)
        top -= high_of + EDGE
    shown_as = f"{quality}{', 95 % interval' if any(entry.interval for entry in shown) else ''}"
    shown_as += f"\n{NOTE}" if letters else ""
    reach = extent(sheet, shown_as, 7.5)[0] / 2 + EDGE
    middle = max(reach, min(left + width / 2, left + width + right - reach))  # below the panel, but on the sheet
    style: dict[str, Any] = {"ha": "center", "va": "bottom", "linespacing": 1.2}
    sheet.text(middle / sheet.get_figwidth(), EDGE / height, shown_as, **style)
    return sheet


def _names(found: Sequence[Group]) -> dict[int, str]:
    """Name every row; where no heading gives the budgets of a label, it has them itself."""
    names = {}
    for _, members in found:
        labels = [entry.label for entry in members]
        for entry in members:
            twice = labels.count(entry.label) > 1
            budget = f", {budget_text(entry.row.first.budget.label)}" if twice else ""
            names[entry.at] = wrapped(f"{entry.row.label}{budget} {entry.row.mark}".rstrip(), NAME)
    return names


def _letters(standing: Standing | None) -> str:
    return standing.group if standing else ""


def _panel(
    axes: Axes,
    members: Sequence[Entry],
    lines: Sequence[float],
    names: dict[int, str],
    right: float,
    standings: dict[int, Standing | None],
) -> None:
    """Draw one group, from top to bottom; scores end ``right`` inches beyond the panel, and letters follow."""
    axes.set_ylim(sum(lines), 0)
    at = 0.0
    ticks = []
    for entry, size in zip(members, lines, strict=True):
        middle = at + size / 2
        ticks.append(middle)
        at += size
        if entry.interval:
            reach = [[entry.quality - entry.low], [entry.high - entry.quality]]
            axes.errorbar(entry.quality, middle, xerr=reach, fmt="none", ecolor=entry.look.colour, zorder=2, **BAR)
        axes.plot(
            entry.quality,
            middle,
            linewidth=0,
            zorder=3,
            label=entry.label,
            **marker_style(entry.look, hollow=entry.hollow, share=0.8),
        )
        _beyond(axes, f"{entry.quality:.2f}", middle, right, "right")
        _beyond(axes, _letters(standings[entry.at]), middle, right + GAP, "left")
    axes.set_yticks(ticks, [names[entry.at] for entry in members], linespacing=1.0, va="center_baseline")
    axes.tick_params(axis="y", length=0, pad=GAP * 72 - 1)
    axes.grid(axis="x", color="0.92", linewidth=0.5)
    axes.grid(axis="y", color="0.96", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def _beyond(axes: Axes, text: str, height: float, inches: float, side: Literal["left", "right"]) -> None:
    """Write something so many inches beyond a panel's right edge."""
    axes.annotate(
        text,
        (1.0, height),
        xycoords=axes.get_yaxis_transform(),
        xytext=(inches * 72, 0.0),
        textcoords="offset points",
        ha=side,
        va="center_baseline",
        fontsize=SMALL,
        color=INK,
        annotation_clip=False,
    )
