from __future__ import annotations

from pathlib import Path

from leaderboard.captions import COSTS, OUTSIDE, VOLUME
from leaderboard.comparable import Marks
from leaderboard.layouts import efficiency, missing, scores, tables
from leaderboard.tables import Cell
from tests.leaderboard.made_up import record
from tests.leaderboard.small import AVERAGE, board, free, inference, outside, pair, pair_json, saved
from tests.leaderboard.test_published import fact


def test_families_stand_in_order_with_published_rows_last() -> None:
    records = [record("b"), record("z", family="Training-free", budget=0), record("a", family="Autoregressive")]
    table = scores(board(records), facts=[fact("STS12", 1.0, ours="b")])
    assert [(group.heading, [line[0].text for line in group.lines]) for group in table.groups] == [
        ("Training-free", ["z"]),
        ("Autoregressive", ["a"]),
        ("Contrastive", ["b"]),
        ("Published (not ranked)", ["m, b"]),
    ]
    assert all(len(line) == len(table.heads) for group in table.groups for line in group.lines)
    assert table.footnotes == ("s",)
    assert scores(board(records), "none", [fact("STS12", 1.0, ours="b")]).footnotes == ()


def test_a_table_says_what_its_rows_need() -> None:
    plain = scores(board([pair("a", 1, 2)]))
    assert plain.notes == (VOLUME, f"{AVERAGE}: A, B")
    assert len(plain.caption) == 2
    marks = Marks({"b-2000-s0": "†"}, {"†": "differs"})
    full = scores(
        board([pair("a", 1, 2), pair("b", 1, 2, backbone="large"), outside("x", 1, 2), pair("c", 1, 2)], marks)
    )
    assert full.notes[0].startswith("Bold is the best of a column, finished models and marked rows aside")
    assert full.notes[1:] == (
        VOLUME,
        f"{AVERAGE}: A, B",
        "† differs: not comparable with the other rows, in no rank and no test.",
        OUTSIDE,
    )


def test_efficiency_has_both_accounts_the_score_and_only_what_was_measured(tmp_path: Path) -> None:
    value = pair_json("a", 60, 40)
    value["costs"]["spent"] = value["costs"]["spent"] | {"training_seconds": 2.5}
    records = [saved(tmp_path / "a", value, inference(50.0)), outside("x", 61, 41)]
    table = efficiency(board(records, bounds={(0, AVERAGE): (48.0, 52.0)}))
    costs = ["Unique", "Seen", "Tokens", "Steps", "FLOPs", "Training", "Peak memory"]
    probed = ["Texts/s", "Tokens/text", "FLOPs/text"]
    assert [head.text for head in table.heads] == ["Method", AVERAGE, *costs, *probed]
    (group,) = table.groups
    assert group.lines[0][:4] == (Cell("a"), Cell("50.00", "[48.0, 52.0]"), Cell("2,000"), Cell("4,000"))
    assert group.lines[0][7:] == (
        *(Cell("10.0 s", "/ 2.5 s"), Cell("0.90 GB")),
        *(Cell("50"), Cell("21.5"), Cell("400 M")),
    )
    assert group.lines[1] == (Cell("x"), Cell("51.00"), *[Cell("–")] * 10)
    assert table.caption[0] == COSTS
    assert "on x86_64 with 1 thread" in table.caption[1]
    unmeasured = efficiency(board([pair("a", 60, 40), pair("a", 60, 40, budget=500)]))
    assert [head.text for head in unmeasured.heads] == ["Method", "Budget", AVERAGE, *costs]
    assert unmeasured.caption == (COSTS,)


def test_the_tables_are_those_that_have_something_to_say() -> None:
    failed = pair("a-c", 0, 0, status="failed", reason="no\nspace")
    assert [table.name for table in tables(board([pair("a", 1, 2)]))] == ["table1", "efficiency"]
    both = [pair("a", 1, 2), pair("a-b", 1, 2), free("z", 1, 2)]
    assert [table.name for table in tables(board([*both, failed]))] == ["table1", "ablation", "efficiency"]
    assert [table.name for table in tables(board(both), ablations={"z": ("a",)})] == [
        "table1",
        "ablation",
        "efficiency",
    ]
    assert tables(board([failed])) == []


def test_runs_without_a_row_are_listed_with_their_reason() -> None:
    assert missing(board([pair("a", 1, 2)])) is None
    table = missing(board([pair("b", 0, 0, status="failed", reason="no\nspace", seed=3), pair("a", 1, 2)]))
    assert table is not None
    assert [head.text for head in table.heads] == ["Method", "Budget", "Seed", "Status", "Reason", "Run"]
    (line,) = table.groups[0].lines
    assert [cell.text for cell in line] == ["b", "2,000", "3", "failed", "no space", "b-2000-s3"]
