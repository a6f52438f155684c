from __future__ import annotations

import csv
from pathlib import Path

from leaderboard.comparable import Marks
from leaderboard.csv_files import write_costs, write_differences, write_scores, write_wide
from leaderboard.records import Record
from tests.leaderboard.made_up import record
from tests.leaderboard.small import AVERAGE, Said, comparison, free, inference, outside, pair, pair_json, saved


def lines(path: Path) -> list[str]:
    text = path.read_bytes().decode()
    assert text.endswith("\n")
    assert "\r" not in text
    return text.split("\n")[:-1]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_long_file_has_a_line_for_every_run_and_score_with_the_runs_own_interval(tmp_path: Path) -> None:
    records = [pair("a", 60.00004, -0.00001), free("z", 1, 2), pair("b", 0, 0, status="failed", reason="why")]
    statistics = Said(records, bounds={(1, "A"): (58.123, 61.999), (1, AVERAGE): (-0.001, 31)})
    assert lines(write_scores(records, tmp_path / "long.csv", statistics)) == [
        "run,method,backbone,budget,seed,task,score,low,high",
        "z-0-s0,z,small-english,0,0,A,1.0000,,",
        "z-0-s0,z,small-english,0,0,B,2.0000,,",
        'z-0-s0,z,small-english,0,0,"Mean(A,B)",1.5000,,',
        "a-2000-s0,a,small-english,2000,0,A,60.0000,58.12,62.00",
        "a-2000-s0,a,small-english,2000,0,B,0.0000,,",
        'a-2000-s0,a,small-english,2000,0,"Mean(A,B)",30.0000,0.00,31.00',
    ]
    assert lines(write_scores([], tmp_path / "none.csv")) == ["run,method,backbone,budget,seed,task,score,low,high"]


def test_the_wide_file_has_a_line_for_every_row(tmp_path: Path) -> None:
    records = [
        free("z", 1, 2),
        *(pair("a", 60, 40, seed=seed, instruct=10 + seed) for seed in (0, 1)),
        pair("b", 90, 90, backbone="large"),
        outside("x", 70, 71),
        pair("c", 0, 0, status="failed", reason="why"),
    ]
    marks = Marks({"b-2000-s0": "†"}, {"†": "differs"})
    bounds = {(1, "A"): (58.123, 61.999), (1, AVERAGE): (48, 52), (3, AVERAGE): (70, 71.5)}
    statistics = Said(records, marks=marks, bounds=bounds, standings={1: (1, 2, "ab")})
    assert lines(write_wide(records, tmp_path / "wide.csv", statistics, marks)) == [
        "method,backbone,budget,seeds,unique_triplets,unique_instruct,unique_pairs,unique_text,"
        'A,B,"Mean(A,B)",A_low,A_high,B_low,B_high,"Mean(A,B)_low","Mean(A,B)_high",rank_low,rank_high,group,mark',
        "z,small-english,0,1,0,0,0,0,1.0000,2.0000,1.5000,,,,,,,,,,",
        "a,small-english,2000,2,2000,11,0,0,60.0000,40.0000,50.0000,58.12,62.00,,,48.00,52.00,1,2,ab,",
        "b,large,2000,1,2000,0,0,0,90.0000,90.0000,90.0000,,,,,,,,,,†",
        "x,,,1,,,,,70.0000,71.0000,70.5000,,,,,70.00,71.50,,,,",
    ]


def test_differences_have_a_line_for_every_comparison_of_every_contest(tmp_path: Path) -> None:
    records = [pair(name, score, 40, budget=budget) for budget in (2000, 500) for name, score in (("a", 60), ("b", 50))]
    records.append(free("z", 1, 2))
    # In table order: z, a at 500, a at 2000, b at 500, b at 2000.
    compared = [comparison(2, 4, 5.0, -0.004, 6.506, 0.000123456), comparison(1, 3, 5.0, 1.0, 9.0, 0.05)]
    statistics = Said(records, compared=compared)
    assert lines(write_differences(records, tmp_path / "differences.csv", statistics)) == [
        "budget,first,second,average,difference,low,high,p,p_holm,significant,improvement,improvement_low,improvement_high",
        '500,a,b,"Mean(A,B)",5.0000,1.00,9.00,0.025,0.05,no,0.7500,0.5000,1.0000',
        '2000,a,b,"Mean(A,B)",5.0000,0.00,6.51,6.17e-05,0.000123,yes,0.7500,0.5000,1.0000',
    ]
    value = pair_json("a", 1, 2)
    value["averages"] = []
    assert len(lines(write_differences([Record.from_json(value)], tmp_path / "none.csv"))) == 1


def test_costs_have_both_accounts_of_every_run_and_what_use_costs_at_the_end(tmp_path: Path) -> None:
    value = pair_json("a", 60, 40, instruct=656)
    value["costs"]["spent"] = value["costs"]["spent"] | {"optimizer_steps": 5}
    records = [saved(tmp_path / "a", value, inference(50.5)), pair("b", 0, 0, status="failed", reason="one\ntwo")]
    table = rows(write_costs(records, tmp_path / "costs.csv"))
    keys = ("method", "accounting", "unique_instruct", "optimizer_steps", "status", "reason")
    assert [tuple(row[key] for key in keys) for row in table] == [
        ("a", "attributed", "656", "83", "done", ""),
        ("a", "spent", "656", "5", "done", ""),
        ("b", "attributed", "0", "62", "failed", "one two"),
        ("b", "spent", "0", "62", "failed", "one two"),
    ]
    assert list(table[0])[-6:] == ["evaluation_seconds", "status", "reason", "sentences_per_second", "tokens_per_text",
                                   "flops_per_text"]  # fmt: skip
    assert [list(row.values())[-3:] for row in table] == [["50.5", "21.46", "400000000.0"]] * 2 + [["", "", ""]] * 2


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    records = [record("b", seed=seed) for seed in (1, 0)] + [record("a"), free("z", 1, 2)]
    for write in (write_scores, write_wide, write_differences, write_costs):
        both = [write(given, tmp_path / name).read_bytes() for given, name in ((records, "1"), (records[::-1], "2"))]
        assert both[0] == both[1]
