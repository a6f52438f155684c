"""The legend's entries: what a marker, a line or a band stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from leaderboard.figures.entries import Entry
from leaderboard.figures.measure import renderer, wrapped
from leaderboard.figures.style import Look

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure as Sheet
    from matplotlib.legend import Legend

Key = tuple[str, "Artist"]
MOST_COLUMNS = 6
LEVEL: dict[str, Any] = {"linestyle": ":", "linewidth": 1.2}  # a finished model's height, whose cost nobody knows
FRONT: dict[str, Any] = {"color": "0.8", "linewidth": 2.5}
BAND = 0.18  # how opaque a band is: several may lie over each other
BAR: dict[str, Any] = {"elinewidth": 0.9, "capsize": 1.5, "capthick": 0.9}


def marker_style(look: Look, *, hollow: bool = False, share: float = 1.0) -> dict[str, Any]:
    """Return how a marker is drawn.

    Args:
        look: Its colour and shape.
        hollow: Whether its row is not comparable with the others.
        share: Of its usual size.
    """
    return {
        "marker": look.marker,
        "markersize": look.size * share,
        "markerfacecolor": "white" if hollow else look.colour,
        "markeredgecolor": look.colour if hollow else "white",
        "markeredgewidth": 1.0 if hollow else 0.5,
    }


def entry_keys(entries: Sequence[Entry], level: Sequence[Entry] = ()) -> list[Key]:
    """Return one key for each label, in table order; those in ``level`` are dotted lines."""
    from matplotlib.lines import Line2D

    labels = [entry.label for entry in entries]
    keys: dict[str, Artist] = {}
    for entry in entries:
        if entry in level:
            keys[entry.label] = Line2D([], [], color=entry.look.colour, **LEVEL)
        else:
            width = 1.0 if labels.count(entry.label) > 1 else 0.0
            keys[entry.label] = Line2D(
                [], [], color=entry.look.colour, linewidth=width, **marker_style(entry.look, hollow=entry.hollow)
            )
    return [(wrapped(label, 40), handle) for label, handle in keys.items()]


def family_keys(entries: Sequence[Entry]) -> list[Key]:
    """Return one grey marker for each family; none where a family has several markers or there is but one family."""
    from matplotlib.lines import Line2D

    markers: dict[str, set[str]] = {}
    for entry in entries:
        if not entry.finished:
            markers.setdefault(entry.row.family, set()).add(entry.look.marker)
    if len(markers) < 2 or any(len(each) > 1 for each in markers.values()):
        return []
    return [
        (family, Line2D([], [], linewidth=0, marker=marker, markersize=4.5, color="0.45"))
        for family, (marker,) in markers.items()
    ]


def front_key() -> Key:
    """Return the key of the front."""
    from matplotlib.lines import Line2D

    return "Pareto front (black edges)", Line2D([], [], **FRONT)


def level_key() -> Key:
    """Return the key of finished models where each is named at its line."""
    from matplotlib.lines import Line2D

    return "Finished model", Line2D([], [], color="0.45", **LEVEL)


def bar_key() -> Key:
    """Return the key of intervals that are drawn as bars."""
    from matplotlib.lines import Line2D

    bar: Any = [(-0.4, 1), (0.4, 1), (0, 1), (0, -1), (-0.4, -1), (0.4, -1)]  # floats, though typed as integers
    return "95 % interval", Line2D(
        [],
        [],
        linewidth=0,
        marker=bar,
        markersize=7,
        markeredgewidth=0.9,
        markerfacecolor="none",
        markeredgecolor="0.45",
    )


def band_key() -> Key:
    """Return the key of intervals that are drawn as bands."""
    from matplotlib.patches import Patch

    return "95 % interval", Patch(color="0.45", alpha=BAND, linewidth=0)


def mark_key(entries: Sequence[Entry]) -> list[Key]:
    """Return the key of hollow markers, where there are any."""
    from matplotlib.lines import Line2D

    hollow = Line2D([], [], linewidth=0, marker="o", markersize=4.5, markerfacecolor="white", color="0.45")
    marks = sorted({entry.row.mark for entry in entries if entry.row.mark})
    return [(f"Not comparable ({', '.join(marks)})", hollow)] if marks else []


def legend(sheet: Sheet, keys: Sequence[Key], width: float, columns: int = 0) -> Legend:
    """Make a legend no wider than this, in as many columns as fit (or as are given); it has yet no place.

    Args:
        sheet: What it belongs to.
        keys: Its entries.
        width: Inches.
        columns: How many columns; 0 for as many as fit, at most six.
    """
    from matplotlib.legend import Legend

    labels, handles = [label for label, _ in keys], [handle for _, handle in keys]
    for count in [columns] if columns else range(min(MOST_COLUMNS, len(keys)), 0, -1):
        made = Legend(
            sheet,
            handles,
            labels,
            ncols=count,
            loc="center",
            frameon=False,
            borderpad=0,
            borderaxespad=0,
            handlelength=1.6,
            columnspacing=1.4,
            labelspacing=0.45,
        )
        if columns or count == 1 or size(sheet, made)[0] <= width:
            break
    sheet.legends.append(made)
    return made


def size(sheet: Sheet, made: Legend) -> tuple[float, float]:
    """Return width and height of a legend in inches."""
    box = made.get_window_extent(renderer(sheet))
    return box.width / sheet.dpi, box.height / sheet.dpi
