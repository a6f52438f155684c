from __future__ import annotations

import pytest

from leaderboard.comparable import Marks
from leaderboard.records import Record
from leaderboard.terminal import text_table
from tests.leaderboard.made_up import record, run_json
from tests.leaderboard.small import AVERAGE, Said, pair
from tests.leaderboard.test_markdown import example

ABOVE = """\
Backbone: small-english (5,112,064 parameters)
Benchmark: two
Metric: Spearman ×100 of the cosine
Budget: 2,000
Seeds: 1
In brackets: 95 % intervals, of the test pairs only
Rank: by Mean(A,B); rows that share a letter cannot be told apart (Holm, 5 %)
"""
BELOW = """
Not in the table:
  c, budget 2,000, seed 0: failed: loss was nan | at step 3"""
WIDE = """
Method   Vol.      A      B           Mean(A,B)      Rank   FLOPs  Training
───────────────────────────────────────────────────────────────────────────
z           0  30.00  20.00  25.00 [20.0, 30.0]     3 (b)       0       0 s
a       2,000  60.00  40.00  50.00 [48.0, 52.0]   1–2 (a)  2.00 T    20.0 s
a-b     2,000  50.00  40.00  45.00 [43.0, 47.1]  1–2 (ab)  1.00 T    10.0 s
x           –  90.00  90.00               90.00         –       –         –
"""
TASKS = """
Method   Vol.      A      B           Mean(A,B)      Rank
─────────────────────────────────────────────────────────
z           0  30.00  20.00  25.00 [20.0, 30.0]     3 (b)
"""
COSTS = """
Method   Vol.           Mean(A,B)      Rank   FLOPs  Training
─────────────────────────────────────────────────────────────
z           0  25.00 [20.0, 30.0]     3 (b)       0       0 s
"""
AVERAGES = """
Method   Vol.           Mean(A,B)      Rank
───────────────────────────────────────────
z           0  25.00 [20.0, 30.0]     3 (b)
"""
SHORT = """
Method   Vol.  Mean(A,B)      Rank
──────────────────────────────────
z           0      25.00     3 (b)
a       2,000      50.00   1–2 (a)
a-b     2,000      45.00  1–2 (ab)
x           –      90.00         –
"""


def test_everything_where_there_is_room() -> None:
    records, statistics = example()
    assert text_table(records, 80, statistics=statistics) == ABOVE + WIDE + BELOW


@pytest.mark.parametrize(
    ("width", "table"), [(75, WIDE), (74, TASKS), (57, TASKS), (56, AVERAGES), (43, AVERAGES), (42, SHORT), (10, SHORT)]
)
def test_tasks_stand_before_costs_and_costs_before_nothing(width: int, table: str) -> None:
    records, statistics = example()
    assert table in text_table(records, width, statistics=statistics)


def test_costs_take_the_place_of_tasks_that_do_not_fit() -> None:
    many = text_table([record("a"), record("b")], 80)
    assert "Method   Vol.  Avg(7)  Avg(9)  Avg(10)   FLOPs  Training\n" in many
    assert "STS-B" in text_table([record("a"), record("b")], 140)


def test_where_not_all_intervals_fit_the_one_that_ranks_stays() -> None:
    records = [record("a"), record("b")]
    bounds = {(at, name): (50.0, 60.0) for at in (0, 1) for name in ("Avg(7)", "Avg(9)", "Avg(10)")}
    statistics = Said(records, bounds=bounds)
    heads = [text_table(records, width, statistics=statistics).splitlines()[7].split() for width in (74, 73, 50, 49)]
    assert heads == [["Method", "Vol.", "Avg(7)", "Avg(9)", "Avg(10)"]] * 4
    rows = [text_table(records, width, statistics=statistics).splitlines()[9] for width in (73, 72, 49, 48)]
    assert rows == [
        "a       2,000  54.29 [50.0, 60.0]  54.11 [50.0, 60.0]  54.50 [50.0, 60.0]",
        *["a       2,000   54.29   54.11  54.50 [50.0, 60.0]"] * 2,
        "a       2,000   54.29   54.11    54.50",
    ]


def test_only_a_terminal_gets_codes() -> None:
    records, statistics = example()
    assert "\x1b" not in text_table(records, statistics=statistics)
    coloured = text_table(records, statistics=statistics, colour=True)
    assert "\x1b[1m50.00\x1b[0m\x1b[2m [48.0, 52.0]\x1b[0m" in coloured
    assert "\x1b[4m45.00\x1b[0m\x1b[2m [43.0, 47.1]\x1b[0m" in coloured


def test_failed_runs_are_cut_to_the_width_and_a_table_never_is() -> None:
    text = text_table([pair("a", 0, 0, status="failed", reason="why " * 50)], 40)
    assert text.splitlines() == [
        "No run is done: there is nothing to compare.",
        "",
        "Not in the table:",
        "  a, budget 2,000, seed 0: failed: why …",
    ]
    assert text_table([]) == "No run is done: there is nothing to compare."


def test_names_are_words_and_not_markup() -> None:
    assert "\n[bold]a  2,000  1.00" in text_table([pair("[bold]a", 1, 2)])
    assert "\na :x:   " in text_table([pair("a :x:", 1, 2)])


def test_marked_rows_and_seeds_are_explained() -> None:
    records = [pair("a", 1, 2), pair("a", 1, 2, seed=1), pair("b", 1, 2, backbone="large")]
    marks = Marks({"b-2000-s0": "†"}, {"†": "differs in the backbone (large)"})
    text = text_table(records, marks=marks, statistics=Said(records, marks=marks, bounds={(0, AVERAGE): (1.0, 2.0)}))
    assert (
        "\nIn brackets: 95 % intervals, test pairs and seeds\n† differs in the backbone (large): in no rank\n" in text
    )
    assert "\nb †         1  2,000  1.00  2.00" in text


def test_a_benchmark_without_averages_has_its_tasks_however_narrow() -> None:
    alone = Record.from_json(run_json() | {"averages": []})
    assert "STS-B" in text_table([alone], 60)
