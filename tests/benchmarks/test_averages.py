from __future__ import annotations

import math

import pytest

from benchmarks.averages import NAMED_AVERAGES, STS_TASKS, Average, averages

ALL = {task: 10.0 * number + 0.123456789 for number, task in enumerate(STS_TASKS)}


def test_the_named_averages_hold_seven_nine_and_ten_tasks() -> None:
    assert {name: len(tasks) for name, tasks in NAMED_AVERAGES.items()} == {"Avg(7)": 7, "Avg(9)": 9, "Avg(10)": 10}
    assert set(STS_TASKS) - set(NAMED_AVERAGES["Avg(7)"]) == {"BIOSSES", "STS17", "STS22"}
    assert set(STS_TASKS) - set(NAMED_AVERAGES["Avg(9)"]) == {"STS22"}


def test_the_average_is_unweighted() -> None:
    tasks = NAMED_AVERAGES["Avg(7)"]
    scores = {**dict.fromkeys(tasks, 80.0), "STS12": 87.0}
    assert averages(scores) == [Average("Avg(7)", tasks, 81.0)]


def test_every_full_average_is_given_and_none_is_rounded() -> None:
    found = averages(ALL)
    assert [average.name for average in found] == ["Avg(7)", "Avg(9)", "Avg(10)"]
    assert found[2].score == pytest.approx(45.123456789, abs=1e-12)


def test_without_sts22_the_average_over_nine_is_full_and_the_one_over_ten_is_not() -> None:
    scores = {task: score for task, score in ALL.items() if task != "STS22"}
    assert [average.name for average in averages(scores)] == ["Avg(7)", "Avg(9)"]


def test_partial_tasks_never_take_a_full_name() -> None:
    for left_out in NAMED_AVERAGES["Avg(7)"]:
        scores = {task: score for task, score in ALL.items() if task not in (left_out, "STS22")}
        (only,) = averages(scores)
        assert (only.name, len(only.tasks), left_out in only.tasks) == ("Mean(of 8)", 8, False)


def test_a_mean_of_few_names_its_tasks_in_one_order() -> None:
    assert averages({"STS17": 2.0, "STS16": 1.0}) == averages({"STS16": 1.0, "STS17": 2.0})
    assert averages({"STS17": 2.0, "STS16": 1.0}) == [Average("Mean(STS16,STS17)", ("STS16", "STS17"), 1.5)]
    assert averages({"NFCorpus": 1.0, "ArguAna": 2.0, "STS12": 6.0})[0].name == "Mean(STS12,ArguAna,NFCorpus)"
    assert averages(dict.fromkeys("abcd", 1.0))[0].name == "Mean(of 4)"


def test_one_task_has_no_average() -> None:
    assert averages({"STS16": 1.0}) == averages({}) == []


def test_a_missing_score_is_missing_and_not_nan() -> None:
    with pytest.raises(ValueError, match="STS22 nan"):
        averages({**ALL, "STS22": math.nan})
