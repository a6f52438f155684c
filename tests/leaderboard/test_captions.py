from __future__ import annotations

from pathlib import Path

from leaderboard.captions import averages_text, conditions, marks_text, probe_text, ranks, uncertainty
from leaderboard.comparable import Marks
from leaderboard.records import Record
from tests.leaderboard.made_up import record
from tests.leaderboard.small import AVERAGE, board, free, inference, outside, pair, pair_json, saved

ONE = {(0, AVERAGE): (1.0, 2.0)}
TWO = ONE | {(1, AVERAGE): (1.0, 2.0)}
PAIRS_ONLY = "test-pair uncertainty only: what another seed would change is not part of them."
SAMPLE = "± is the sample standard deviation over seeds, which says nothing of the test pairs."
LACK = "No confidence intervals: they need the predictions of every task of an average, which are not at hand."
COMPARED = "two by two on the same pairs, at the 5 % level after Holm's correction over all these comparisons."


def test_what_all_rows_share() -> None:
    assert conditions(
        board([pair("a", 1, 2), pair("b", 1, 2, budget=500, seed=1), pair("b", 1, 2, budget=500)]).rows
    ) == [
        "Backbone: small-english (5,112,064 parameters)",
        "Benchmark: two",
        "Metric: Spearman ×100 of the cosine",
        "Budget: 500 / 2,000",
        "Seeds: 1 to 2, see the column",
    ]
    assert conditions(board([outside("x", 1, 2)]).rows)[0] == "Backbone: none (finished models only)"


def test_marked_rows_are_not_asked_what_all_share_unless_there_are_no_others() -> None:
    records = [pair("a", 1, 2), pair("b", 1, 2, backbone="large")]
    marks = Marks({"b-2000-s0": "†"}, {"†": "differs in the backbone (large)"})
    assert conditions(board(records, marks).rows)[0] == "Backbone: small-english (5,112,064 parameters)"
    assert conditions(board(records[1:], marks).rows)[0] == "Backbone: large (5,112,064 parameters)"
    note = "† differs in the backbone (large): not comparable with the other rows, in no rank and no test."
    assert marks_text(board(records, marks)) == note
    assert marks_text(board(records[:1])) == ""


def test_one_seed_is_called_test_pair_uncertainty_only() -> None:
    begin = "In brackets: 95 % intervals from 2,000 resamples of each task's pairs"
    one = board([pair("a", 1, 2), pair("b", 1, 2)], bounds=TWO)
    assert uncertainty(one) == f"{begin}; with one seed they are {PAIRS_ONLY}"
    seeds = [pair(name, 1, 2, seed=seed) for name in "ab" for seed in (0, 1)]
    combined = "combined with a t-based component for the seeds; scores are means over seeds"
    assert uncertainty(board(seeds, bounds=TWO)) == f"{begin}, {combined}."
    mixed = f"{begin}. With several seeds they are {combined}; with one seed they are {PAIRS_ONLY}"
    assert uncertainty(board(seeds[:3], bounds=TWO)) == mixed


def test_rows_without_predictions_are_told_from_the_others() -> None:
    some = uncertainty(board([pair("a", 1, 2), pair("b", 1, 2)], bounds=ONE))
    assert some.endswith(f"{PAIRS_ONLY} Rows without brackets have no predictions.")
    seeds = [pair(name, 1, 2, seed=seed) for name in "ab" for seed in (0, 1)]
    assert uncertainty(board(seeds, bounds=ONE)).endswith(f"Rows without brackets have no predictions; {SAMPLE}")


def test_without_any_predictions_there_are_no_intervals_and_it_says_so() -> None:
    assert uncertainty(board([pair("a", 1, 2)])) == f"{LACK} A difference between neighbouring rows may be noise."
    several = uncertainty(board([pair("a", 1, 2), pair("a", 1, 2, seed=1)]))
    assert several == f"{LACK} Scores are means over seeds; {SAMPLE} Differences of that size may be noise."


def test_the_queries_of_retrieval_are_what_is_resampled() -> None:
    value = pair_json("a", 1, 2)
    value["scores"][1]["metric"] = "ndcg_at_10"
    text = uncertainty(board([Record.from_json(value)], bounds=ONE))
    assert "of each task's pairs (of retrieval, its queries); with one seed" in text


def test_bold_letters_and_underlining_are_explained_where_they_are_used() -> None:
    records = [pair("a", 1, 2), pair("b", 1, 2)]
    assert ranks(board(records[:1])) == ""
    assert ranks(board(records)) == "Bold is the best of a column."
    level = ranks(board(records, level={"A": {1}}))
    assert level == (
        "Bold is the best of a column, underlined is what is not significantly worse than it. "
        f"Compared are all rows, {COMPARED}"
    )
    assert ranks(board(records, standings={0: (1, 1, "a")})) == (
        f"Bold is the best of a column. Rank: the best and the worst place by {AVERAGE} that the comparisons leave "
        f"open; rows that share a letter cannot be told apart. Compared are all rows, {COMPARED}"
    )


def test_several_budgets_finished_models_and_marks_are_explained_too() -> None:
    records = [free("z", 1, 1), *(pair(name, 1, 2, budget=budget) for name in "ab" for budget in (500, 2000)),
               outside("x", 1, 2), pair("c", 1, 2, backbone="large")]  # fmt: skip
    marks = Marks({"c-2000-s0": "†"}, {"†": "differs"})
    assert ranks(board(records, marks, level={"A": {1}})) == (
        "Bold is the best of a column at its budget, finished models and marked rows aside, underlined is what is not "
        "significantly worse than it. Compared are all rows of one budget, and those that train nothing (in every "
        f"budget, so without a rank), {COMPARED}"
    )


def test_averages_are_named_with_their_tasks() -> None:
    text = averages_text(board([record()]))
    assert text.startswith("Avg(7): STS12, STS13, STS14, STS15, STS16, STS-B, SICK-R; Avg(9): BIOSSES, ")
    value = pair_json("a", 1, 2)
    value["averages"] = []
    assert averages_text(board([Record.from_json(value)])) == ""


def test_where_the_cost_of_use_was_measured_is_said_and_differences_are_warned_of(tmp_path: Path) -> None:
    begin = "Texts/s is the median of several passes, without loading the model; – was not measured. Measured: "
    a = saved(tmp_path / "a", pair_json("a", 1, 2), inference(5.0))
    b = saved(tmp_path / "b", pair_json("b", 1, 2), inference(5.0))
    c = saved(tmp_path / "c", pair_json("c", 1, 2), inference(5.0, "NVIDIA H200", 16))
    assert probe_text(board([pair("a", 1, 2)])) == ""
    assert probe_text(board([a, b])) == f"{begin}200 texts on x86_64 with 1 thread, float32."
    assert probe_text(board([a, b, c])) == (
        f"{begin}200 texts on x86_64 with 1 thread, float32 (a, b); 200 texts on NVIDIA H200 with 16 threads, "
        "float32 (c). Texts/s of rows that were measured in different ways cannot be compared."
    )
