"""Quality over the course of training: what an encoder scored on its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from leaderboard.figures.axes import CostAxis, amount
from leaderboard.figures.courses import Course
from leaderboard.figures.entries import Entry
from leaderboard.figures.traces import Trace, draw_traces, traces_sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

NAME = "Examples seen in training"
LOGARITHMIC = 30.0  # the axis is, from this ratio of the last point to the first on


def draw(courses: Sequence[Course], levels: Sequence[Entry], quality: str) -> Sheet:
    """Draw one line for each course.

    Args:
        courses: Those of one budget, at least one.
        levels: Rows that are only a height here: training-free ones and finished models.
        quality: What the vertical axis shows.
    """
    seen = [each for course in courses for each in course.seen]
    place = CostAxis(seen) if min(seen) > 0 and max(seen) / min(seen) > LOGARITHMIC else None

    def at(values: Sequence[float]) -> list[float]:
        return [place(value) if place else value for value in values]

    traces = [
        Trace(it.entry.label, it.entry.look, it.entry.hollow, at(it.seen), it.scores, it.intervals) for it in courses
    ]
    notes = ["bands: 95 % intervals"] if any(interval for trace in traces for interval in trace.intervals) else []
    notes += ["|: next stage"] if any(_shown_changes(course) for course in courses) else []
    note = f"({'; '.join(notes)})" if notes else ""
    sheet, axes = traces_sheet(traces, levels, quality, 1 + bool(note) + bool(place))
    if place:
        place.dress(axes, NAME, False, below=note)
    else:
        _linear(axes, max(seen), note)
    draw_traces(axes, traces, levels)
    for course, trace in zip(courses, traces, strict=True):
        changes = _shown_changes(course)
        heights = np.interp(changes, course.seen, course.scores)
        axes.plot(
            at(changes),
            heights,
            linewidth=0,
            marker="|",
            markersize=13,
            markeredgewidth=1.2,
            color=trace.look.colour,
            zorder=2.9,
        )
    return sheet


def _shown_changes(course: Course) -> list[float]:
    """Return where stages change on the line; before its first point nothing is known."""
    return [change for change in course.changes if change >= course.seen[0]]


def _linear(axes: Axes, most: float, note: str) -> None:
    """Give a panel an axis of examples from 0."""
    axes.set_xlim(0, 1.05 * most)
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(lambda value, _: amount(value))
    axes.set_xlabel("\n".join(line for line in (NAME, note) if line))
