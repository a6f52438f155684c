"""The Pareto figure: quality over what training took, in examples and in FLOPs."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leaderboard.axes import CostAxis
from leaderboard.captions import metric_text
from leaderboard.pareto import pareto_front
from leaderboard.records import Record
from leaderboard.rows import Row, average_names, build_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which readers with any colour vision tell apart; without yellow (invisible on white) and
# black (the front's). Markers have another period, so that the pair repeats only after 42 methods.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SIZES = {"P": 6.5, "X": 6.5}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 200,
    "text.parse_math": False,  # a "$" in a method's settings is a dollar
    "svg.fonttype": "path",
    # Without a fixed salt every rendering would give the SVG's elements other names.
    "svg.hashsalt": "genembench",
}
PANELS = (("Unique training examples", "unique", True), ("Training FLOPs", "flops", False))
LEGEND_COLUMNS = 3


@dataclass(frozen=True)
class Point:
    """One row of the table as the figure needs it; both costs are None for a finished model."""

    label: str
    quality: float
    deviation: float | None
    unique: float | None
    flops: float | None


def figure_average(records: Iterable[Record]) -> tuple[str, tuple[str, ...]]:
    """Return the average over the most tasks that all done records share, and its tasks.

    Args:
        records: Records of which at least one is done, all done ones having some average in common.
    """
    done = [record for record in records if record.done]
    names = average_names(done)
    tasks = {average.name: average.tasks for average in done[0].averages}
    widest = max(names, key=lambda name: len(tasks[name]))
    return widest, tasks[widest]


def pareto_figure(records: Iterable[Record]) -> dict[str, bytes]:
    """Draw the figure and return the files it makes by name: ``pareto.png`` and ``pareto.svg``.

    Args:
        records: Records of which at least one is done, all done ones having some average in common.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    records = list(records)
    average, tasks = figure_average(records)
    rows = build_rows(records)
    # A mean that spells its tasks out is too long for an axis; the table's caption has them.
    named = "" if average.startswith("Mean(") else f"{average}: "
    metric = metric_text(records, tasks)
    quality = f"{named}mean of {len(tasks)} tasks,\n{metric if ',' not in metric else 'main scores ×100'}"
    if any(row.deviation(average) for row in rows):
        quality += ",\nbars: ± s.d. over seeds"
    # Neither time nor version goes into the files: the same records must give the same bytes.
    without: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    files = {}
    with matplotlib.rc_context(STYLE):
        figure = draw([_point(row, average) for row in rows], quality)
        FigureCanvasAgg(figure)
        for kind, metadata in without.items():
            content = io.BytesIO()
            figure.savefig(content, format=kind, metadata=metadata)
            files[f"pareto.{kind}"] = content.getvalue()
    return files


def _point(row: Row, average: str) -> Point:
    """Return a row's place in both panels."""
    quality = row.average(average)
    assert quality is not None  # figure_average chose one that every done record has
    unique = row.cost(lambda costs: sum(costs.unique_examples.values()))
    return Point(row.label, quality, row.deviation(average), unique, row.cost(lambda costs: costs.model_flops))


def draw(points: Sequence[Point], quality: str) -> Figure:
    """Lay out both panels and one legend below them.

    Args:
        points: In table order, which decides colours and the legend's order.
        quality: What the vertical axis shows.
    """
    from matplotlib.figure import Figure

    looks = {label: _look(at) for at, label in enumerate(dict.fromkeys(point.label for point in points))}
    entries = len(looks) + 1
    figure = Figure(figsize=(7.0, 2.8 + 0.17 * math.ceil(entries / LEGEND_COLUMNS)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (name, cost, exact) in zip(panels, PANELS, strict=True):
        _panel(axes, points, looks, cost, name, exact)
    panels[0].set_ylabel(quality)
    handles = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
    # Table order, the front last; matplotlib lists nothing whose label begins with an underscore.
    words = sorted(handles, key=lambda word: [*looks, word].index(word))
    figure.legend(
        [handles[word] for word in words], words, loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False
    )
    return figure


def _look(at: int) -> dict[str, Any]:
    """Return the colour and marker of the method at a place of the table."""
    marker = MARKERS[at % len(MARKERS)]
    return {"color": COLOURS[at % len(COLOURS)], "marker": marker, "markersize": SIZES.get(marker, 5)}


def _panel(
    axes: Axes, points: Sequence[Point], looks: Mapping[str, dict[str, Any]], cost: str, name: str, exact: bool
) -> None:
    """Draw one panel: one line per method, the front as steps, finished models as level lines."""
    known = [(point, paid) for point in points if (paid := getattr(point, cost)) is not None]
    place = CostAxis(paid for _, paid in known)
    for label, look in looks.items():
        mine = sorted(((place(paid), point) for point, paid in known if point.label == label), key=lambda each: each[0])
        if not mine:  # nobody knows what a finished model cost, so it has a height and no place
            for point in (point for point in points if point.label == label):
                axes.axhline(point.quality, color=look["color"], linestyle=":", linewidth=1.3, label=label)
            continue
        axes.errorbar(
            [x for x, _ in mine],
            [point.quality for _, point in mine],
            yerr=[point.deviation or 0.0 for _, point in mine] if any(point.deviation for _, point in mine) else None,
            linewidth=0.8,
            elinewidth=0.8,
            capsize=2,
            markeredgecolor="white",
            markeredgewidth=0.5,
            label=label,
            zorder=3,
            **look,
        )
    _front(axes, known, looks, place)
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    place.dress(axes, name, exact)


def _front(
    axes: Axes, known: Sequence[tuple[Point, float]], looks: Mapping[str, dict[str, Any]], place: CostAxis
) -> None:
    """Draw the front as a broad pale line behind everything, and black edges around the points that make it."""
    front = [known[at] for at in pareto_front([(paid, point.quality) for point, paid in known])]
    if not front:
        return
    # To the right edge: whoever can pay more can still have the best that costs less.
    xs = [*(place(paid) for _, paid in front), 1.0]
    ys = [*(point.quality for point, _ in front), front[-1][0].quality]
    axes.step(xs, ys, where="post", color="0.75", linewidth=2.5, zorder=1.5, label="Pareto front (black edges)")
    for point, paid in front:
        axes.plot(
            place(paid), point.quality, markeredgecolor="black", markeredgewidth=0.9, zorder=4, **looks[point.label]
        )
