from __future__ import annotations

from pathlib import Path

import pytest

from leaderboard.columns import COLUMNS, PROBED, average_column, score_columns, task_column
from leaderboard.comparable import Marks
from leaderboard.records import Record
from leaderboard.tables import Cell
from leaderboard.units import gigabytes, interval, probability, score, seconds, si, signed, volume
from tests.leaderboard.made_up import TASKS, finished, record, run_json, untrained
from tests.leaderboard.small import AVERAGE, board, free, inference, outside, pair, pair_json, saved


def headers(records: list[Record], tasks: bool = True) -> list[str]:
    return [column.header for column in score_columns(board(records), tasks)]


def test_an_average_has_its_interval_in_small_print_and_a_task_only_its_score() -> None:
    (entry,) = board([pair("a", 60.0, 40.0)], bounds={(0, AVERAGE): (48.26, 51.75), (0, "A"): (1.0, 2.0)})
    assert average_column(AVERAGE).cell(entry) == Cell("50.00", "[48.3, 51.8]")
    assert task_column("A").cell(entry) == Cell("60.00")


def test_without_an_interval_several_seeds_have_their_sample_deviation() -> None:
    (entry,) = board([record(seed=0, base=50.0), record(seed=1, base=52.0), record(seed=2, base=57.0)])
    # 54.5, 56.5 and 61.5: their mean is 57.5, and (9 + 1 + 16) / 2 = 13.
    assert average_column("Avg(10)").cell(entry) == Cell("57.50", "± 3.61")
    assert task_column("STSBenchmark").header == "STS-B"
    assert task_column("STSBenchmark").cell(entry) == Cell("62.00")


def test_a_task_that_ranks_the_rows_has_an_interval_as_an_average_would() -> None:
    value = run_json("a")
    value["benchmark"]["tasks"], value["scores"], value["averages"] = ["STS12"], [value["scores"][2]], []
    one = board([Record.from_json(value)], bounds={(0, "STS12"): (50.0, 54.0)})
    assert one.headline == "STS12"
    assert [column.cell(entry) for column in score_columns(one)[2:] for entry in one] == [Cell("52.00", "[50.0, 54.0]")]


def test_best_is_decided_on_what_is_printed_and_level_is_what_is_not_best() -> None:
    rows = [pair("a", 50.001, 1.0), pair("b", 50.004, 1.0), pair("c", 49.0, 2.0), outside("d", 90.0, 9.0)]
    cells = [task_column("A").cell(entry) for entry in board(rows, level={"A": {0, 2}})]
    assert [(cell.text, cell.best, cell.level) for cell in cells] == [
        ("50.00", True, False),
        ("50.00", True, False),
        ("49.00", False, True),
        ("90.00", False, False),
    ]


def test_a_rank_is_an_interval_with_letters() -> None:
    entries = board([pair("a", 3, 3), pair("b", 2, 2), pair("c", 1, 1)], standings={0: (1, 2, "a"), 1: (1, 1, "ab")})
    assert [COLUMNS["rank"].cell(entry) for entry in entries] == [Cell("1–2", "(a)"), Cell("1", "(ab)"), Cell("–")]


def test_a_rank_has_a_column_only_where_there_is_one() -> None:
    records = [pair("a", 1, 2), pair("b", 1, 2)]
    assert [column.header for column in score_columns(board(records))] == ["Method", "Vol.", "A", "B", AVERAGE]
    ranked = score_columns(board(records, standings={1: (2, 2, "b")}))
    assert [column.header for column in ranked][-1] == "Rank"


def test_a_mark_stands_behind_the_label_and_a_mean_over_other_tasks_is_not_shown() -> None:
    other = pair_json("b", 1, 2, backbone="large")
    other["averages"][0]["tasks"] = ["A", "C"]
    records = [pair("a", 1, 2), Record.from_json(other)]
    marked = board(records, Marks({"b-2000-s0": "†"}, {"†": "differs"}))
    assert [COLUMNS["method"].cell(entry).text for entry in marked] == ["a", "b †"]
    assert marked.averages == {AVERAGE: ("A", "B")}
    assert [average_column(AVERAGE).cell(entry).text for entry in marked] == ["1.50", "–"]
    assert [task_column("A").cell(entry).text for entry in marked] == ["1.00", "1.00"]


def test_what_was_spent_stands_behind_what_is_attributed_where_it_is_something_else() -> None:
    value = pair_json("a", 1, 2)
    value["costs"]["spent"] = value["costs"]["spent"] | {"model_flops": 2.5e11, "optimizer_steps": 7}
    (entry,) = board([Record.from_json(value)])
    assert COLUMNS["flops"].cell(entry) == Cell("1.00 T", "/ 250 G")
    assert COLUMNS["steps"].cell(entry) == Cell("62", "/ 7")
    assert COLUMNS["seen"].cell(entry) == Cell("4,000")


def test_the_cost_of_use_is_a_mean_over_the_seeds_that_were_measured(tmp_path: Path) -> None:
    measured = [saved(tmp_path / f"{seed}", pair_json("a", 1, 2, seed=seed), inference(speed)) for seed, speed in
                ((0, 100.0), (1, 300.0))]  # fmt: skip
    stale = saved(tmp_path / "2", pair_json("a", 1, 2, seed=2), inference(9e9, evaluation_address="another"))
    one = board([*measured, stale, free("b", 1, 1)])
    cells = [[COLUMNS[name].cell(entry).text for name in PROBED] for entry in one]
    assert cells == [["–", "–", "–"], ["200", "21.5", "400 M"]]


def test_a_finished_model_does_not_say_what_its_use_costs(tmp_path: Path) -> None:
    value = pair_json("x", 1, 2, budget=0, backbone=None)
    unknown = inference(1234.0, tokens_per_text=None, padded_tokens_per_text=None, model_flops_per_text=None)
    (entry,) = board([saved(tmp_path / "x", value, unknown)])
    assert [COLUMNS[name].cell(entry).text for name in PROBED] == ["1.23 k", "–", "–"]


def test_a_finished_models_training_is_unknown() -> None:
    (entry,) = board([finished()])
    keys = ("backbone", "budget", "volume", "unique", "seen", "tokens", "steps", "flops", "seconds", "memory")
    assert [COLUMNS[key].cell(entry).text for key in keys] == ["–"] * len(keys)


def test_budget_and_seeds_have_a_column_only_where_they_differ() -> None:
    one = [untrained(), record("a"), record("b")]
    assert headers(one, tasks=False) == ["Method", "Vol.", "Avg(7)", "Avg(9)", "Avg(10)"]
    two = [*one, record("b", budget=4000), record("b", budget=4000, seed=1)]
    columns = ["Method", "Budget", "Seeds", "Vol.", *TASKS[:-1], "STS-B", "Avg(7)", "Avg(9)", "Avg(10)"]
    assert headers(two) == columns


def test_an_average_that_one_row_lacks_has_no_column() -> None:
    value = run_json("b")
    value["averages"] = value["averages"][:1]
    assert headers([record("a"), Record.from_json(value)], tasks=False) == ["Method", "Vol.", "Avg(7)"]


def test_volume_is_the_papers_accounting() -> None:
    assert volume({"triplets": 50000, "instruct": 16382}) == "50,000 (16,382)"
    assert volume({"triplets": 2000}) == "2,000"
    assert volume({"triplets": 2000, "instruct": 0}) == "2,000"
    assert volume({"text": 1000}) == "0 (1,000)"
    assert volume({"text": 7, "instruct": 5, "triplets": 3}) == "3 (5 + 7)"
    assert volume({}) == "0"
    rows = board([untrained(), record(budget=50000, instruct=16382), finished()])
    assert [COLUMNS["volume"].cell(entry).text for entry in rows] == ["0", "50,000 (16,382)", "–"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (7, "7"), (999, "999"), (1000, "1.00 k"), (999_999, "1.00 M"), (1.234e15, "1.23 P"), (4.56e11, "456 G")],
)
def test_si(number: float, text: str) -> None:
    assert si(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 s"), (8.14, "8.1 s"), (125, "2 min 05 s"), (3599.6, "1 h 00 min"), (12000, "3 h 20 min")],
)
def test_seconds(number: float, text: str) -> None:
    assert seconds(number) == text


def test_gigabytes() -> None:
    assert gigabytes(900_000_000) == "0.90 GB"


def test_numbers_below_zero_have_a_minus_and_nothing_has_no_sign() -> None:
    assert [score(value) for value in (-7.756, -0.004, 0.0, 61.7)] == ["−7.76", "0.00", "0.00", "61.70"]
    assert [signed(value) for value in (0.3, -4.58, 0.004, -0.004)] == ["+0.30", "−4.58", "0.00", "0.00"]
    assert interval(-0.04, 12.36) == "[0.0, 12.4]"
    assert interval(-1.856, 1.0, 2) == "[−1.86, 1.00]"
    assert [probability(p) for p in (0.0, 0.00099, 0.001, 0.0314, 1.0)] == [
        "<0.001",
        "<0.001",
        "0.001",
        "0.031",
        "1.000",
    ]
