from __future__ import annotations

import pytest

from genembench.problem import Problem
from leaderboard.beside import COMPUTED, published_group
from leaderboard.columns import score_columns
from leaderboard.published import Fact
from leaderboard.records import Record
from leaderboard.tables import Cell, Footnotes, Group
from tests.leaderboard.made_up import NINE, SEVEN, TASKS, finished, record, run_json
from tests.leaderboard.small import board, pair
from tests.leaderboard.test_published import fact

NOTE = (
    "Published rows are copied as printed. They come from other backbones, data and code, and take part in no rank and "
    "no test."
)


def beside(
    records: list[Record], facts: list[Fact], which: str = "matching"
) -> tuple[list[tuple[Cell, ...]], str, tuple[str, ...]]:
    """The lines, the note and the footnotes of published rows under the columns of records."""
    one = board(records)
    footnotes = Footnotes()
    group, note = published_group(one, score_columns(one), which, footnotes, facts)
    return list(group.lines) if group else [], note, footnotes.texts


def printed(scores: dict[str, float], **change: str) -> list[Fact]:
    return [fact(task, score, **{"ours": "a", **change}) for task, score in scores.items()]


def nine() -> Record:
    """A record without STS22 and so without Avg(10)."""
    value = run_json("a")
    value["benchmark"]["tasks"] = NINE
    value["scores"] = [score for score in value["scores"] if score["task"] != "STS22"]
    value["averages"] = value["averages"][:2]
    return Record.from_json(value)


def test_printed_scores_stand_under_our_columns_and_nothing_else_does() -> None:
    scores = {task: 10.0 + at for at, task in enumerate(TASKS)}  # BIOSSES 10, ..., STS22 18, STS-B 19
    facts = printed(scores | {"avg7": 14.29}, training_samples="50000 (16382)")
    lines, note, footnotes = beside([nine()], facts)
    # Vol., nine tasks without STS22; avg7 is (12 + 13 + 14 + 15 + 16 + 19 + 11) / 7 = 14.2857 as printed; Avg(9) is
    # (145 - 18) / 9 = 14.1111 and not printed.
    (line,) = lines
    assert line[:3] == (Cell("m, b", raised="1"), Cell("50,000 (16,382)"), Cell("10.00"))
    assert [cell.text for cell in line[3:11]] == [f"{n:.2f}" for n in (11, 12, 13, 14, 15, 16, 17, 19)]
    assert line[11:] == (Cell("14.29"), Cell("14.11", raised="2"))
    assert footnotes == ("s", COMPUTED)
    assert note == f"{NOTE} Names differ: m for a."


def test_an_average_that_does_not_follow_from_its_row_says_what_would() -> None:
    # All seven are 50: an average of 50.02 cannot be theirs, one of 50.01 may be rounded.
    seven = dict.fromkeys(SEVEN, 50.0)
    facts = printed(seven | {"avg7": 50.02}) + printed(seven | {"avg7": 50.01}, backbone="c")
    lines, _, footnotes = beside([record("a")], facts)
    assert [line[-3] for line in lines] == [Cell("50.02", raised="2"), Cell("50.01")]
    assert footnotes == ("s", "As printed; the mean of the 7 task scores printed beside it is 50.00.")
    # Neither Avg(9) nor Avg(10) can be computed from seven tasks.
    assert [cell.text for cell in lines[0][-2:]] == ["–", "–"]


def test_a_number_from_another_source_than_its_row_has_a_footnote_of_its_own() -> None:
    facts = [*printed({"STS12": 1.0}), *printed({"STS13": -2.0}, source="t")]
    (line,), _, footnotes = beside([record("a")], facts)
    assert (line[0], line[4], line[5]) == (Cell("m, b", raised="1"), Cell("1.00"), Cell("−2.00", raised="2"))
    assert footnotes == ("s", "t")


def test_matching_rows_stand_in_the_order_of_ours_and_all_adds_the_rest() -> None:
    facts = [
        fact("STS12", 1.0, "other"),
        fact("STS12", 2.0, "B", ours="b"),
        fact("STS12", 3.0, "A", ours="a"),
        fact("STS12", 4.0, "C", ours="c"),
    ]
    records = [record("b"), record("a"), finished()]
    lines, note, _ = beside(records, facts)
    assert [line[0].text for line in lines] == ["A, b", "B, b"]
    assert note == NOTE  # upper and lower case are no other name
    lines, note, _ = beside(records, facts, "all")
    assert [line[0].text for line in lines] == ["A, b", "B, b", "other, b", "C, b"]
    assert beside(records, facts, "none") == ([], "", ())


def test_rows_without_a_score_under_our_columns_are_left_out() -> None:
    facts = printed({"avg10": 80.0}) + printed({"STS22": 1.0}, backbone="c")
    assert beside([nine()], facts) == ([], "", ())
    # Where we have measured all ten they have a place.
    assert len(beside([record("a")], facts)[0]) == 2


def test_another_metric_and_other_tasks_have_nothing_beside_them() -> None:
    value = run_json("a")
    for score in value["scores"]:
        score["metric"] = "euclidean_spearman"
    facts = printed(dict.fromkeys(TASKS, 50.0))
    assert beside([Record.from_json(value)], facts) == ([], "", ())
    assert beside([pair("a", 1, 2)], facts) == ([], "", ())


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(Problem, match="unknown choice of published rows 'some'"):
        beside([record("a")], [], "some")


def test_the_real_file_stands_beside_real_tasks() -> None:
    one = board([record("autoregembed")])
    footnotes = Footnotes()
    group, _ = published_group(one, score_columns(one), "matching", footnotes)
    assert isinstance(group, Group)
    assert [line[0].text for line in group.lines] == [
        "AutoRegEmbed, Llama-2-7b",
        "AutoRegEmbed, Mistral-7B-v0.1",
        "AutoRegEmbed, Llama-2-7b",
    ]
    assert [line[-1].text for line in group.lines] == ["83.07", "82.87", "83.81"]
    # Avg(9) of the first: 85.50 + 79.07 + 79.57 + 86.90 + 83.28 + 88.45 + 86.57 + 88.61 + 86.59 = 764.54.
    assert group.lines[0][-2] == Cell("84.95", raised="2")


def test_the_base_rows_printed_averages_are_not_their_own() -> None:
    one = board([record("untrained-last")])
    footnotes = Footnotes()
    group, note = published_group(one, score_columns(one), "matching", footnotes)
    assert group is not None
    assert [(line[0].text, line[-1].text) for line in group.lines] == [
        ("base-last, Llama-2-7b", "56.91"),
        ("base-last, Mistral-7B-v0.1", "56.20"),
    ]
    means = [text for text in footnotes.texts if text.startswith("As printed")]
    # 529.35 / 10 and 541.65 / 10: halves of the last digit are rounded up.
    assert [text.split()[-1] for text in means] == ["52.94.", "54.17."]
    assert note.endswith("Names differ: base-last for untrained-last.")
