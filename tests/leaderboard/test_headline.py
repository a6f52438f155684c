from __future__ import annotations

from leaderboard.comparable import Marks
from leaderboard.headline import headline, score, shared_averages
from leaderboard.records import Record
from leaderboard.rows import build_rows
from tests.leaderboard.made_up import NINE, SEVEN, TASKS, record, run_json
from tests.leaderboard.small import AVERAGE, pair, pair_json


def without(names: set[str], method: str) -> Record:
    value = run_json(method)
    value["averages"] = [average for average in value["averages"] if average["name"] not in names]
    return Record.from_json(value)


def test_the_average_over_the_most_tasks_that_all_rows_share_decides() -> None:
    assert headline(build_rows([record("a"), record("b")])) == ("Avg(10)", tuple(TASKS))
    fewer = build_rows([record("a"), without({"Avg(10)"}, "b")])
    assert headline(fewer) == ("Avg(9)", tuple(NINE))
    assert list(shared_averages(fewer)) == ["Avg(7)", "Avg(9)"]
    assert headline(build_rows([without({"Avg(10)", "Avg(9)"}, "a"), record("b")])) == ("Avg(7)", tuple(SEVEN))


def test_an_average_of_one_name_over_other_tasks_is_not_shared() -> None:
    other = pair_json("b", 1, 2)
    other["averages"][0]["tasks"] = ["A", "C"]
    both = [pair("a", 1, 2), Record.from_json(other)]
    assert headline(build_rows(both)) is None
    assert headline(build_rows(both, Marks({"b-2000-s0": "†"}).signs)) == (AVERAGE, ("A", "B"))


def test_a_single_task_decides_by_itself_and_several_without_an_average_do_not() -> None:
    value = pair_json("a", 60, 40)
    value["averages"] = []
    assert headline(build_rows([Record.from_json(value)])) is None
    value["scores"], value["benchmark"]["tasks"] = value["scores"][:1], ["A"]
    (row,) = build_rows([Record.from_json(value)])
    assert headline([row]) == ("A", ("A",))
    assert [score(row, "A"), score(row, "B")] == [60.0, None]
    assert headline([]) is None


def test_a_score_is_an_average_or_a_task() -> None:
    (row,) = build_rows([pair("a", 60, 40)])
    assert [score(row, name) for name in (AVERAGE, "A", "C")] == [50.0, 60.0, None]
