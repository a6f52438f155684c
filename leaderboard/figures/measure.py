"""How much room words take, before they are drawn."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from leaderboard.figures.style import SMALL

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Sheet


def wrapped(label: str, width: int = 24) -> str:
    """Break a long name into lines, its settings in brackets apart from it."""
    if len(label) <= width:
        return label
    name, bracket, settings = label.partition(" (")
    lines = textwrap.wrap(name, width) + (textwrap.wrap(f"({settings}", width) if bracket else [])
    return "\n".join(lines)


def extent(sheet: Sheet, label: str, size: float = SMALL, weight: str = "normal") -> tuple[float, float]:
    """Return width and height in inches of a text as it will be drawn."""
    text = sheet.text(0, 0, label, fontsize=size, fontweight=weight)
    box = text.get_window_extent(renderer(sheet))
    text.remove()
    return box.width / sheet.dpi, box.height / sheet.dpi


def widest(sheet: Sheet, labels: Iterable[str], size: float = SMALL, weight: str = "normal") -> float:
    """Return the width in inches of the widest of some texts."""
    return max((extent(sheet, label, size, weight)[0] for label in labels), default=0.0)


def renderer(sheet: Sheet) -> Any:
    """Return what measures text, at the sheet's own resolution."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = sheet.canvas if isinstance(sheet.canvas, FigureCanvasAgg) else FigureCanvasAgg(sheet)
    return canvas.get_renderer()
