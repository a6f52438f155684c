"""A logarithmic axis of cost that has room for nothing: a strip at its left where training-free methods stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from leaderboard.units import si

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STRIP = 0.16  # of the panel's width
MARGIN = 0.07
MOST_TICKS = 5
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
ROUND_TIMES = tuple(
    unit * count
    for unit, counts in ((1.0, (1, 2, 5, 10, 20, 30)), (MINUTE, (1, 2, 5, 10, 20, 30)), (HOUR, (1, 2, 5, 10)))
    for count in counts
) + tuple(DAY * count for count in (1, 2, 5, 10, 20, 50, 100, 200, 500))


def amount(value: float) -> str:
    """Write a tick's number: ``20 T``, ``1.5 k``."""
    return si(value, 2).replace(".0 ", " ")


def data_size(value: float) -> str:
    """Write bytes: ``1.5 GB``."""
    return f"{amount(value)}B"


def duration(value: float) -> str:
    """Write a round duration in the one unit that suits it: ``20 s``, ``5 min``, ``2 h``, ``10 d``."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} s"


class CostAxis:
    """Maps costs to the unit interval: zero into the strip, the others by their logarithm into the rest.

    A symlog axis would do without a break but needs a linear threshold, and no threshold is right for both two
    thousand examples and 10^18 FLOPs.
    """

    def __init__(self, costs: Iterable[float], write: Callable[[float], str] = amount) -> None:
        """Fit the axis.

        Args:
            costs: Every cost that will be drawn, none negative.
            write: How a tick's cost is written; ``duration`` also makes the ticks round times.
        """
        costs = list(costs)
        positive = sorted({cost for cost in costs if cost > 0})
        self.positive = positive
        self.write = write
        self.strip = (STRIP if positive else 1.0) if any(cost == 0 for cost in costs) else 0.0
        low, high = (math.log10(positive[0]), math.log10(positive[-1])) if positive else (0.0, 0.0)
        # Costs that are nearly equal must not be torn apart into a trend: never less than half a decade.
        missing = max(0.0, 0.5 - (high - low))
        self._low, self._high = low - missing / 2, high + missing / 2

    def __call__(self, cost: float) -> float:
        """Return where a cost stands, from 0 (left edge) to 1 (right edge)."""
        if cost <= 0:
            return self.strip / 2
        share = (math.log10(cost) - self._low) / (self._high - self._low)
        return self.strip + (1 - self.strip) * (MARGIN + (1 - 2 * MARGIN) * share)

    def ticks(self, exact: bool) -> list[float]:
        """Return the costs to mark.

        Args:
            exact: Mark the costs themselves if they are few and apart (budgets), not round numbers near them.
        """
        if exact and len(self.positive) <= MOST_TICKS and self._apart(self.positive):
            return self.positive
        margin = MARGIN / 2 * (self._high - self._low)  # not the whole: no label under the sign of the break
        low, high = self._low - margin, self._high + margin
        inside: list[float] = []
        for costs in self._round(low, high):
            found = [cost for cost in costs if low <= math.log10(cost) <= high]
            inside = found or inside
            if found and len(found) <= MOST_TICKS and self._apart(found):
                return found
        inside = inside[:: math.ceil(len(inside) / MOST_TICKS)]
        return inside if self._apart(inside) else inside[::2]

    def _round(self, low: float, high: float) -> list[list[float]]:
        """Return round costs around a range of logarithms, ever fewer."""
        choices = [
            [step * 10.0**decade for decade in range(math.floor(low), math.ceil(high) + 1) for step in steps]
            for steps in ((1, 1.5, 2, 3, 4, 6), (1, 2, 5), (1, 3), (1,))
        ]
        # Below a second, and beyond months, no time is rounder than others.
        if self.write is not duration or not any(low <= math.log10(time) <= high for time in ROUND_TIMES):
            return choices
        fewer = [time for time in ROUND_TIMES if time not in (30.0, 30 * MINUTE)]
        # No round numbers of seconds behind them: 10,000 s is no round time.
        return [list(ROUND_TIMES), fewer, fewer[::2], fewer[1::2], fewer[::4], fewer[::8]]

    def _apart(self, costs: Sequence[float]) -> bool:
        """Whether the labels of neighbouring ticks have room."""
        return all(self(right) - self(left) > 0.13 for left, right in pairwise(costs))

    def dress(self, axes: Axes, name: str, exact: bool, *notes: str, below: str = "") -> None:
        """Give a panel this axis: limits, ticks, the strip and its break, and the label that explains it.

        Args:
            axes: The panel.
            name: What the costs are.
            exact: As in ``ticks``.
            notes: What else stands in brackets below the name.
            below: What stands below that, on a line of its own.
        """
        axes.set_xlim(0, 1)
        marked = self.ticks(exact) if self.positive else []
        at, words = [self(cost) for cost in marked], [self.write(cost) for cost in marked]
        if self.strip:
            at, words = [self.strip / 2, *at], ["0", *words]
            axes.axvspan(0, self.strip, color="0.94", zorder=0, linewidth=0)
        axes.set_xticks(at, words)
        if self.strip and self.positive:
            axes.axvline(self.strip, color="0.6", linewidth=0.6, zorder=0.5)
            # The usual sign for a broken axis, on the line between the strip and the logarithmic part.
            sign = [(-1.0, -1.0), (1.0, 1.0)]
            axes.plot(
                [self.strip], [0], transform=axes.transAxes, marker=sign, markersize=7, color="0.3", clip_on=False
            )
        scale = "log scale" if self.positive else ""
        strip = ("grey: no training" if self.positive else "no training") if self.strip else ""
        note = "; ".join(part for part in (scale, strip, *notes) if part)
        axes.set_xlabel("\n".join(line for line in (name, f"({note})" if note else "", below) if line))
