from __future__ import annotations

import re
from pathlib import Path

import pytest

from leaderboard.comparable import Marks
from leaderboard.markdown import escape, markdown
from leaderboard.records import Record
from leaderboard.rows import build_rows
from leaderboard.statistics import Statistics
from tests.leaderboard.made_up import measured, record
from tests.leaderboard.small import AVERAGE, Said, comparison, free, outside, pair

PAGE = """\
# Leaderboard

Backbone: small-english (5,112,064 parameters). Benchmark: two. Metric: Spearman ×100 of the cosine. Budget: 2,000. \
Seeds: 1.

In brackets: 95 % intervals from 2,000 resamples of each task's pairs; with one seed they are test-pair uncertainty \
only: what another seed would change is not part of them. Rows without brackets have no predictions.

| Method            |  Vol. |         A |                B |                     Mean(A,B) |     Rank |
| ----------------- | ----: | --------: | ---------------: | ----------------------------: | -------: |
| *Training-free*   |       |           |                  |                               |          |
| z                 |     0 |     30.00 | <ins>20.00</ins> |            25.00 [20.0, 30.0] |    3 (b) |
| *Contrastive*     |       |           |                  |                               |          |
| a                 | 2,000 | **60.00** |        **40.00** |        **50.00** [48.0, 52.0] |  1–2 (a) |
| a-b               | 2,000 |     50.00 |        **40.00** | <ins>45.00</ins> [43.0, 47.1] | 1–2 (ab) |
| *Finished models* |       |           |                  |                               |          |
| x                 |     – |     90.00 |            90.00 |                         90.00 |        – |

Bold is the best of a column, finished models aside, underlined is what is not significantly worse than it. \
Rank: the best and the worst place by Mean(A,B) that the comparisons leave open; rows that share a letter cannot be \
told apart. Compared are all rows, two by two on the same pairs, at the 5 % level after Holm's correction over all \
these comparisons.

Vol. is the number of unique training examples: triplets, and in brackets those of other kinds; 0 is training-free, \
– is unknown.

Mean(A,B): A, B

Finished models were trained elsewhere, on other data and at unknown cost: a reference, not a competitor.

## Not in the table

| Method | Budget | Seed | Status | Reason                    | Run       |
| ------ | -----: | ---: | ------ | ------------------------- | --------- |
| c      |  2,000 |    0 | failed | loss was nan \\| at step 3 | c-2000-s0 |

## Ablation

Each variant against the full method at the head of its group: difference of Mean(A,B), variant minus full, on the \
same pairs, with its 95 % interval (not adjusted for the number of comparisons). p is two-sided, adjusted by Holm over \
all comparisons of the rows that compete; * stands where it is below 0.05, – where predictions are missing. FLOPs are \
those of training, attributed.

| Method   |  Vol. |  FLOPs |          Mean(A,B) |             Difference |      p |
| -------- | ----: | -----: | -----------------: | ---------------------: | -----: |
| *a*      |       |        |                    |                        |        |
| a (full) | 2,000 | 2.00 T | 50.00 [48.0, 52.0] |                      – |      – |
| a-b      | 2,000 | 1.00 T | 45.00 [43.0, 47.1] | −5.00 [−6.50, −3.50] * | <0.001 |

## Efficiency

What each method costs by itself (attributed): a stage that several runs share is charged in full to each. Where this \
comparison spent something else on a row (a shared stage is trained once), that stands behind the slash. Unique and \
Seen count examples of all kinds, Tokens are without padding, FLOPs and Training without evaluation.

| Method |                     Mean(A,B) | Unique |  Seen | Tokens | Steps |  FLOPs | Training | Peak memory |
| ------ | ----------------------------: | -----: | ----: | -----: | ----: | -----: | -------: | ----------: |
| z      |            25.00 [20.0, 30.0] |      0 |     0 |      0 |     0 |      0 |      0 s |     0.90 GB |
| a      |        **50.00** [48.0, 52.0] |  2,000 | 4,000 |  100 k |    62 | 2.00 T |   20.0 s |     0.90 GB |
| a-b    | <ins>45.00</ins> [43.0, 47.1] |  2,000 | 4,000 |  100 k |    62 | 1.00 T |   10.0 s |     0.90 GB |
| x      |                         90.00 |      – |     – |      – |     – |      – |        – |           – |

## Quality and cost

![Quality over \\[cost\\]](pareto.png)
"""


def example() -> tuple[list[Record], Said]:
    """Everything at once; the failed run, which has no row, is the last record."""
    records = [
        free("z", 30, 20),
        pair("a", 60, 40, flops=2e12),
        pair("a-b", 50, 40),
        outside("x", 90, 90),
        pair("c", 0, 0, status="failed", reason="loss was nan |\nat step 3"),
    ]
    statistics = Said(
        records,
        bounds={(0, AVERAGE): (20, 30), (1, AVERAGE): (48.04, 52.0), (2, AVERAGE): (43, 47.1)},
        standings={0: (3, 3, "b"), 1: (1, 2, "a"), 2: (1, 2, "ab")},
        compared=[comparison(1, 2, 5.0, 3.5, 6.5, 0.0004)],
        level={"B": {0}, AVERAGE: {2}},
    )
    return records, statistics


def test_the_whole_page() -> None:
    records, statistics = example()
    figures = [("Quality and cost", "Quality over [cost]", "pareto.png")]
    assert markdown(records, statistics=statistics, figures=figures) == PAGE


def test_the_order_of_records_changes_nothing() -> None:
    records, statistics = example()
    assert markdown(records, statistics=statistics) == markdown(records[::-1], statistics=statistics)


def test_a_single_row_is_not_the_best_of_anything() -> None:
    page = markdown([pair("a", 60, 40)])
    assert "**" not in page
    assert "Bold" not in page
    assert "| a             | 2,000 | 60.00 | 40.00 |     50.00 |" in page


def test_without_a_done_run_there_is_a_sentence_and_the_reasons() -> None:
    assert markdown([]) == "# Leaderboard\n\nNo run is done yet: there is nothing to compare.\n"
    page = markdown([pair("a", 0, 0, status="failed", reason="no space left")])
    assert page.startswith("# Leaderboard\n\nNo run is done yet: there is nothing to compare.\n\n## Not in the table\n")
    assert "| a      |  2,000 |    0 | failed | no space left | a-2000-s0 |" in page
    assert "Efficiency" not in page


def test_a_marked_row_has_its_sign_and_its_note() -> None:
    records = [pair("a", 60, 40), pair("b", 90, 90, backbone="large")]
    marks = Marks({"b-2000-s0": "†"}, {"†": "differs in the backbone (large)"})
    page = markdown(records, marks=marks)
    assert "| b †           | 2,000 | 90.00 | 90.00 |     90.00 |" in page
    assert (
        "\n\n† differs in the backbone (large): not comparable with the other rows, in no rank and no test.\n" in page
    )


def test_several_budgets_and_seeds_have_columns_and_deviations() -> None:
    records = [pair("a", 60, 40, budget=budget, seed=seed) for budget, seed in ((500, 0), (2000, 0), (2000, 1))]
    page = markdown(records)
    lines = [line for line in page.splitlines() if line.startswith("| a ")][:2]
    assert lines == [
        "| a             |    500 |     1 |   500 | 60.00 | 40.00 |        50.00 |",
        "| a             |  2,000 |     2 | 2,000 | 60.00 | 40.00 | 50.00 ± 0.00 |",
    ]


def test_footnotes_follow_the_table_one_to_a_line() -> None:
    page = markdown([record("infonce-mean")])
    (published,) = [line for line in page.splitlines() if line.startswith("| InfoNCE-mean")]
    # Avg(7) as printed; Avg(9) by us: 75.65 + 78.92 + 74.12 + 84.17 + 80.00 + 85.63 + 83.28 + 85.65 + 86.27 = 733.69.
    assert published.split("|")[1].strip() == "InfoNCE-mean, Llama-2-7b<sup>1</sup>"
    assert [cell.strip() for cell in published.split("|")[-4:-1]] == ["81.77", "81.52<sup>2</sup>", "79.88"]
    assert (
        "\n\n<sup>1</sup> AutoRegEmbed paper (arXiv 2502.11401), Table 1<br>\n<sup>2</sup> Not printed there: computed "
        "by us as the mean of the task scores printed there.\n\n## Efficiency"
    ) in page
    assert "Published" not in markdown([record("infonce-mean")], published="none")
    assert "LLM2Vec-sup" in markdown([record("infonce-mean")], published="all")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a|b", r"a\|b"),
        ("one\n two", "one two"),
        ("*a* 2 * 3", r"\*a\* 2 * 3"),
        ("learning_rate=1 _x_", r"learning_rate=1 \_x\_"),
        ("<b> <0.001 <!--", r"\<b> <0.001 \<!--"),
        ("`x` [y](z)", r"\`x\` \[y\](z)"),
        ("&lt; a & b", r"\&lt; a & b"),
        ("~160 and ~a~ $1$", r"\~160 and \~a~ \$1$"),
        ("~160", "~160"),
        ("C:\\x", r"C:\\x"),
    ],
)
def test_what_a_run_wrote_is_never_markup(text: str, safe: str) -> None:
    assert escape(text) == safe


def test_real_predictions_give_intervals_and_ranks(tmp_path: Path) -> None:
    gold = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    # Right in every order there is, and wrong in every one: no resample of pairs can change that.
    records = [measured(tmp_path, "a", {"X": (gold, gold)}), measured(tmp_path, "b", {"X": (gold, gold[::-1])})]
    page = re.sub(" +", " ", markdown(records, statistics=Statistics(build_rows(records), resamples=200)))
    assert "| a | 2,000 | **100.00** | **100.00** [100.0, 100.0] | 1 (a) |" in page
    assert "| b | 2,000 | −100.00 | −100.00 [−100.0, −100.0] | 2 (b) |" in page
    assert "In brackets: 95 % intervals from 200 resamples of each task's pairs; with one seed" in page
