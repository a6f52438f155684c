"""Quality over budget: what more training examples buy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from leaderboard.figures.axes import CostAxis
from leaderboard.figures.costs import HEADLINE, training_costs
from leaderboard.figures.entries import Entry
from leaderboard.figures.traces import BANDS, Trace, draw_traces, traces_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Sheet


def supported(entries: Sequence[Entry]) -> bool:
    """Whether any method has more than one budget."""
    budgets: dict[str, set[str]] = {}
    for entry in entries:
        budgets.setdefault(entry.label, set()).add(entry.row.first.budget.label)
    return any(len(labels) > 1 for labels in budgets.values())


def draw(entries: Sequence[Entry], quality: str) -> Sheet:
    """Draw one line for each method through its budgets.

    Args:
        entries: The rows in table order, some method of which has more than one budget.
        quality: What the vertical axis shows.
    """
    (unique,) = training_costs(entries, HEADLINE[:1])
    place = CostAxis(unique.values.values(), unique.write)
    lines: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.at in unique.values:
            lines.setdefault(entry.label, []).append(entry)
    traces = []
    for label, line in lines.items():
        line.sort(key=lambda entry: unique.values[entry.at])
        at = [place(unique.values[entry.at]) for entry in line]
        scores, intervals = [entry.quality for entry in line], [entry.interval for entry in line]
        traces.append(Trace(label, line[0].look, line[0].hollow, at, scores, intervals))
    levels = [entry for entry in entries if entry.at not in unique.values]
    note = f"({BANDS})" if any(interval for trace in traces for interval in trace.intervals) else ""
    sheet, axes = traces_sheet(traces, levels, quality, 3 if note else 2)
    place.dress(axes, unique.name, unique.exact, below=note)
    draw_traces(axes, traces, levels)
    return sheet
