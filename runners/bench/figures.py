"""Figures of a bench: a bar is a median, a dot one repetition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from leaderboard.figures import keys as legends
from leaderboard.figures.axes import amount
from leaderboard.figures.keys import Key
from leaderboard.figures.sheet import new_sheet, panel
from leaderboard.figures.style import COLOURS, GREYS, INK, MARKERS, PAGE, QUIET, files, style
from leaderboard.units import si

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEFT, RIGHT, TOP, UNDER, LINE = 2.5, 0.6, 0.1, 0.5, 0.24
"""Inches: names at the left of the bars, numbers at their right, and the height of a bar with its gap."""
GAP = 0.62
"""Inches at the left of a panel of growth: its ticks and its label."""
BAR = 0.62
OTHER = GREYS[1]
"""Colour of what is no side: matrix products."""


def training(content: Mapping[str, Any]) -> dict[str, bytes]:
    """Draw examples per second, and model FLOP/s beside those of matrix products."""
    examples = content["subject"]["examples"]
    turns = {name: side["turns"] for name, side in content["sides"].items()}
    flops = next(iter(turns.values()))[0]["model_flops"]
    speeds = {name: [examples / each["seconds"] for each in one] for name, one in turns.items()}
    rates = {name: [flops / each["seconds"] for each in one] for name, one in turns.items()}
    products = {
        name: [each["clock"] for each in one["turns"]] for name, one in content["products"].items() if one["turns"]
    }
    return bars(
        "training",
        [("Examples per second", speeds, ""), ("Model FLOP/s, products for comparison", rates | products, "")],
    )


def encoding(content: Mapping[str, Any]) -> dict[str, bytes]:
    """Draw the seconds of an evaluation and the texts per second."""
    texts = content["subject"]["texts"]
    seconds = {name: [one["seconds"] for one in side["turns"]] for name, side in content["sides"].items()}
    speeds = {name: [texts / each for each in one] for name, one in seconds.items()}
    return bars(
        "encoding",
        [
            ("Seconds of the whole evaluation", seconds, ""),
            ("Texts per second", speeds, ""),
        ],
    )


def memory(content: Mapping[str, Any]) -> dict[str, bytes]:
    """Draw the peaks."""
    peaks = {case["name"]: case["peaks"] for case in content["cases"] if case["peaks"]}
    return bars("memory", [("Peak memory of a step above the rest before it", peaks, "B")])


def bars(name: str, panels: Sequence[tuple[str, Mapping[str, Sequence[float]], str]]) -> dict[str, bytes]:
    """Draw panels of horizontal bars below each other.

    Args:
        name: Of the files.
        panels: What an axis says, the repetitions of each line, and their unit, "" for none.
    """
    names = list(dict.fromkeys(line for _, lines, _ in panels for line in lines))
    sides = list(dict.fromkeys(map(_side, panels[0][1])))
    with style():
        high = sum(LINE * len(lines) + UNDER for _, lines, _ in panels) + TOP
        sheet = new_sheet(PAGE, high)
        bottom = high - TOP
        for label, lines, unit in panels:
            bottom -= LINE * len(lines)
            axes = panel(sheet, LEFT, bottom, PAGE - LEFT - RIGHT, LINE * len(lines))
            _bars(axes, lines, {n: COLOURS[sides.index(_side(n))] if _side(n) in sides else OTHER for n in names}, unit)
            axes.set_xlabel(label)
            bottom -= UNDER
        return files(name, sheet)


def _bars(axes: Axes, lines: Mapping[str, Sequence[float]], colours: Mapping[str, str], unit: str) -> None:
    for at, (name, values) in enumerate(lines.items()):
        middle = median(values)
        axes.barh(at, middle, BAR, color=colours[name], alpha=0.55, linewidth=0)
        axes.plot(values, [at] * len(values), "o", color=INK, markersize=2.2, alpha=0.8, clip_on=False, linewidth=0)
        axes.annotate(
            f"{si(middle)}{unit}",
            (max(values), at),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=7,
        )
    axes.set_yticks(range(len(lines)), list(lines))
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{amount(value)}{unit}" if value else "0")
    axes.xaxis.set_major_locator(_few())


def _side(line: str) -> str:
    """Whose line it is: what stands before a colon."""
    return line.partition(":")[0]


def _few() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)


def in_words(fit: Mapping[str, float | None]) -> str:
    """Write an exponent and its error: ``1.02 ± 0.03``."""
    error = fit["standard_error"]
    return f"{fit['exponent']:.2f}" + ("" if error is None else f" ± {error:.2f}")


QUANTITIES = {"seconds": "Seconds", "memory": "Peak memory", "model_flops": "Model FLOPs"}


def scaling(content: Mapping[str, Any]) -> dict[str, bytes]:
    """Draw one panel for each quantity that was varied: growth over it, on logarithmic axes, with the exponents."""
    from matplotlib.lines import Line2D

    looks = {name: (COLOURS[at], MARKERS[at]) for at, name in enumerate(QUANTITIES)}
    varied = [one for one in content["axes"].values() if len(one["points"]) > 1]
    lines = math.ceil(len(varied) / 2)
    wide, high = (PAGE - 2 * GAP - 0.1) / 2, 1.9
    with style():
        keys: list[Key] = [
            (label, Line2D([], [], color=looks[name][0], marker=looks[name][1], markersize=4.5, linewidth=1.0))
            for name, label in QUANTITIES.items()
        ]
        sheet = new_sheet(PAGE, TOP + lines * (high + UNDER) + 0.25)
        for at, one in enumerate(varied):
            line, column = divmod(at, 2)
            bottom = 0.25 + (lines - 1 - line) * (high + UNDER) + UNDER
            axes = panel(sheet, GAP + column * (wide + GAP), bottom, wide, high)
            _growth(axes, one, looks)
            axes.set_xlabel(f"{one['label']} (log scale)")
            if column == 0:
                axes.set_ylabel("growth (log scale)")
        made = legends.legend(sheet, keys, PAGE - 0.2)
        made.set_bbox_to_anchor((0.5, 0.16 / sheet.get_figheight()), transform=sheet.transFigure)
        return files("scaling", sheet)


def _growth(axes: Axes, one: Mapping[str, Any], looks: Mapping[str, tuple[str, str]]) -> None:
    at = [point["value"] for point in one["points"]]
    lines = []
    for name, (colour, marker) in looks.items():
        values = [median(point[name]) for point in one["points"]]
        axes.plot(at, [each / values[0] for each in values], color=colour, marker=marker, markersize=4.5, linewidth=1.0)
        fit = one["exponents"].get(name)
        if fit:
            lines.append(f"{QUANTITIES[name]}: {in_words(fit)}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(at, [f"{value:g}" for value in at])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.minorticks_off()
    axes.text(0.04, 0.96, "Exponents\n" + "\n".join(lines), transform=axes.transAxes, va="top", color=QUIET, fontsize=7)
