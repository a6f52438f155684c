"""Lines of quality with their intervals as bands, each named at its right end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leaderboard.figures.ends import End, room, write_ends
from leaderboard.figures.entries import Entry, span
from leaderboard.figures.keys import BAND, BAR, LEVEL, marker_style
from leaderboard.figures.measure import wrapped
from leaderboard.figures.sheet import LEFT, TOP, UNDER, new_sheet, panel
from leaderboard.figures.style import COLUMN, Look
from leaderboard.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

WIDTH, HEIGHT, NOTE = 1.55, 2.4, 0.13  # inches of the panel, at least, and of a further line below it
NAME = 22  # characters of a name's line
BANDS = "bands and bars: 95 % intervals"


@dataclass(frozen=True)
class Trace:
    """One line.

    Attributes:
        label: Its name.
        look: Its colour and marker.
        hollow: Whether it is not comparable with the others.
        at: Where its points stand, left to right.
        scores: How high.
        intervals: Their 95 % intervals, None where not known.
    """

    label: str
    look: Look
    hollow: bool
    at: Sequence[float]
    scores: Sequence[float]
    intervals: Sequence[Interval | None]


def traces_sheet(
    traces: Sequence[Trace], levels: Sequence[Entry], quality: str, lines_below: int
) -> tuple[Sheet, Axes]:
    """Return a sheet with one panel that has its limits of quality and room for every name.

    Args:
        traces: The lines that will be drawn.
        levels: Finished models and others that are only a height.
        quality: What the vertical axis shows.
        lines_below: How many lines the label of the horizontal axis has.
    """
    sheet = new_sheet(COLUMN, 1.0)
    under = UNDER + NOTE * (lines_below - 2)
    labels = [*(trace.label for trace in traces), *(entry.label for entry in levels)]
    margin, height = room(sheet, [wrapped(label, NAME) for label in labels])
    width, height = max(WIDTH, COLUMN - LEFT - margin - 0.04), max(HEIGHT, height)
    sheet.set_size_inches(LEFT + width + margin + 0.04, TOP + height + under)
    axes = panel(sheet, LEFT, under, width, height)
    known = [interval for trace in traces for interval in trace.intervals if interval]
    ends = [end for interval in known for end in (interval.low, interval.high)]
    axes.set_ylim(
        *span([*ends, *(score for trace in traces for score in trace.scores), *(it.quality for it in levels)])
    )
    axes.set_ylabel(quality)
    axes.grid(axis="y", color="0.92", linewidth=0.5)
    axes.set_axisbelow(True)
    return sheet, axes


def draw_traces(axes: Axes, traces: Sequence[Trace], levels: Sequence[Entry]) -> None:
    """Draw lines, levels and names into a panel that has its limits."""
    edge = axes.get_xlim()[1]
    ends = []
    for trace in traces:
        _draw(axes, trace)
        # On to the edge, where its name is.
        last = trace.scores[-1]
        axes.plot(
            [trace.at[-1], edge],
            [last, last],
            color=trace.look.colour,
            linewidth=0.6,
            linestyle=(0, (1, 2)),
            zorder=1.3,
        )
        ends.append(End(wrapped(trace.label, NAME), last, trace.look.colour))
    for entry in levels:
        axes.axhline(entry.quality, color=entry.look.colour, zorder=1.2, label=entry.label, **LEVEL)
        ends.append(End(wrapped(entry.label, NAME), entry.quality, entry.look.colour))
    write_ends(axes, ends)


def _draw(axes: Axes, trace: Trace) -> None:
    """Draw one line with its band; a single point, or one among points without interval, has a bar instead."""
    colour = trace.look.colour
    bounds = [(it.low, it.high) for it in trace.intervals if it]
    if len(bounds) == len(trace.at) > 1:
        lows, highs = zip(*bounds, strict=True)
        axes.fill_between(trace.at, lows, highs, color=colour, alpha=BAND, linewidth=0, zorder=2, label=trace.label)
    else:
        for x, score, interval in zip(trace.at, trace.scores, trace.intervals, strict=True):
            if interval:
                reach = [[max(0.0, score - interval.low)], [max(0.0, interval.high - score)]]
                axes.errorbar(x, score, yerr=reach, fmt="none", ecolor=colour, zorder=2.8, **BAR)
    style = marker_style(trace.look, hollow=trace.hollow)
    axes.plot(trace.at, trace.scores, color=colour, linewidth=1.1, zorder=3, label=trace.label, **style)
