"""Tables and statistics that are made up, and what a test can ask of a drawn sheet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from matplotlib.figure import Figure as Sheet
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from leaderboard.figures.entries import Entry, entries
from leaderboard.figures.measure import renderer
from leaderboard.headline import score
from leaderboard.records import Record
from leaderboard.rows import Row, build_rows
from leaderboard.statistics import Comparison, Contest, Interval, Standing, Statistics
from tests.leaderboard.made_up import record, untrained

AVERAGE = "Avg(10)"


class MadeUp(Statistics):
    """Intervals from 1 below to 2 above a score, and differences of more than 3 points are significant."""

    def interval(self, at: int, column: str) -> Interval | None:
        value = score(self.rows[at], column)
        return None if value is None else Interval(value - 1.0, value + 2.0)

    def comparisons(self, contest: Contest, column: str) -> tuple[Comparison, ...]:
        scores = {at: score(self.rows[at], column) or 0.0 for at in contest.rows}
        pairs = combinations(sorted(scores, key=lambda at: -scores[at]), 2)
        return tuple(self._compare(one, other, scores[one] - scores[other]) for one, other in pairs)

    def _compare(self, first: int, second: int, difference: float) -> Comparison:
        p = 0.001 if difference > 3 else 0.5
        interval = Interval(difference - 1, difference + 1)
        return Comparison(first, second, difference, interval, p, p, 0.9, Interval(0.8, 1.0))

    def standing(self, at: int, column: str) -> Standing | None:
        inside = [contest for contest in self.contests if at in contest.rows]
        return Standing(1, 2, "ab") if len(inside) == 1 else None


class Unknown(Statistics):
    """Statistics of records whose predictions are not at hand."""


def table(count: int, budgets: Sequence[int] = (2000,), name: str = "method-{}") -> list[Record]:
    """Two training-free records, and ``count`` methods of three families at each budget, all with other costs."""
    families = ("Contrastive", "Generative", "Bidirectional")
    trained = [
        record(
            name.format(at),
            # Neighbours in score are far apart in cost.
            40.0 + 7.3 * at % 20 + budget / 1000,
            family=families[at % 3],
            budget=budget,
            flops=budget * 1e9 * (1 + 3.7 * at % 11),
        )
        for at in range(count)
        for budget in budgets
    ]
    return [untrained("untrained-last", 20.0), untrained("untrained-mean", 33.0), *trained]


def made_up_entries(records: Iterable[Record], statistics: type[Statistics] = MadeUp) -> list[Entry]:
    rows = build_rows(records)
    return entries(rows, statistics(rows), AVERAGE)


def rows_of(records: Iterable[Record]) -> list[Row]:
    return build_rows(records)


def texts(sheet: Sheet) -> list[tuple[str, Bbox, float]]:
    """Every text that is drawn, with its box in pixels and its rotation; halos aside."""
    drawing = renderer(sheet)
    sheet.draw_without_rendering()  # labels of axes find their places only then
    found: list[Text] = [*sheet.texts]
    for legend in sheet.legends:
        found += legend.get_texts()
    for axes in sheet.axes:
        found += axes.texts
        if not axes.axison:
            continue
        found += [axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title]  # type: ignore[attr-defined]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    shown = [text for text in found if text.get_text() and text.get_visible() and text.get_gid() != "halo"]
    return [(text.get_text(), text.get_window_extent(drawing), text.get_rotation()) for text in shown]


def assert_tidy(sheet: Sheet) -> None:
    """Every text lies on the sheet, and no two lie over each other."""
    width, height = sheet.get_size_inches() * sheet.dpi
    found = texts(sheet)
    for text, box, _ in found:
        assert min(box.x0, box.y0) >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    level = [(text, box) for text, box, rotation in found if rotation in (0.0, 90.0)]
    low, high = (np.array([getattr(box, end) for _, box in level]) for end in ("p0", "p1"))
    over = ((low[:, None] + 1 < high[None]) & (low[None] + 1 < high[:, None])).all(axis=2)
    both = np.argwhere(np.triu(over, 1))
    assert not len(both), [(level[one][0], level[other][0]) for one, other in both]


def names(sheet: Sheet) -> list[Text]:
    """The names that stand beside points or lines."""
    return [text for axes in sheet.axes for text in axes.texts if text.get_gid() == "name"]


def legend_texts(sheet: Sheet) -> list[str]:
    return [text.get_text() for legend in sheet.legends for text in legend.get_texts()]
