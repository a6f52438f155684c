from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import pytest

from genembench.problem import Problem
from leaderboard.published import FIELDS, Fact, published_rows, read_published

LINE = ["AutoRegEmbed", "Llama-2-7b", "7B", "STS12", "cosine_spearman_x100", "79.57", "50000 (16382)", "paper", "auto"]


def written(folder: Path, *lines: list[str], header: tuple[str, ...] = FIELDS) -> Path:
    text = io.StringIO()
    csv.writer(text).writerows([header, *lines])
    file = folder / "published.csv"
    file.write_text(text.getvalue(), encoding="utf-8")
    return file


def fact(dataset: str, value: float, method: str = "m", **change: str) -> Fact:
    fields = {"backbone": "b", "params": "7B", "metric": "cosine_spearman_x100", "training_samples": "0", "source": "s",
              "ours": ""}  # fmt: skip
    return Fact(method=method, dataset=dataset, value=value, **{**fields, **change})


def test_a_line_is_read_as_it_is_printed(tmp_path: Path) -> None:
    (read,) = read_published(written(tmp_path, LINE))
    assert read == Fact("AutoRegEmbed", "Llama-2-7b", "7B", "STS12", "cosine_spearman_x100", 79.57, "50000 (16382)",
                        "paper", "auto")  # fmt: skip
    assert not read.secondary


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("method", " ", "line 2 has no method"),
        ("source", "", "line 2 has no source"),
        ("params", "7 billion", "line 2 has params '7 billion'; allowed is a number of parameters such as 7B"),
        (
            "training_samples",
            "16382 PwC",
            r"line 2 has training_samples '16382 PwC'; allowed is such as 50000 \(16382\)",
        ),
        ("ours", "Auto", "line 2 has ours 'Auto'; allowed is the name of a method"),
        ("metric", "spearman", "line 2 has metric 'spearman'; allowed are cosine_spearman_x100, "),
        ("value", "+9%", r"line 2 has value '\+9%'; allowed is a number from -100 to 100"),
        ("value", "nan", "line 2 has value 'nan'"),
        ("value", "100.01", "line 2 has value '100.01'"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, field: str, value: str, message: str) -> None:
    line = [value if name == field else cell for name, cell in zip(FIELDS, LINE, strict=True)]
    with pytest.raises(Problem, match=message):
        read_published(written(tmp_path, line))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="line 3 has 8 fields instead of 9"):
        read_published(written(tmp_path, LINE, LINE[:-1]))
    with pytest.raises(Problem, match="line 3 repeats AutoRegEmbed on Llama-2-7b, STS12"):
        read_published(written(tmp_path, LINE, [*LINE[:5], "1.00", *LINE[6:]]))
    with pytest.raises(Problem, match="line 1 should name the columns method,backbone,"):
        read_published(written(tmp_path, header=("method",)))
    file = tmp_path / "broken.csv"
    file.write_bytes(",".join(FIELDS).encode() + b'\n"unended')
    with pytest.raises(Problem, match="line 2 is not readable as CSV"):
        read_published(file)


def test_scores_of_one_method_on_one_backbone_make_a_row_whatever_their_sources() -> None:
    rows = published_rows([fact("STS12", 1.0), fact("STS13", 2.0, source="t"), fact("STS12", 3.0, backbone="c")])
    assert [{name: it.value for name, it in row.facts.items()} for row in rows] == [
        {"STS12": 1.0, "STS13": 2.0},
        {"STS12": 3.0},
    ]
    assert rows[0].first.source == "s"


def test_secondary_numbers_other_metrics_and_other_data_make_no_row() -> None:
    other = [fact("STS12", 1.0, source="secondary: blog"), fact("STS12", 1.0, metric="nDCG@10_x100"), fact("NF", 1.0)]
    assert published_rows(other) == []


def test_a_row_of_averages_gives_way_to_the_same_experiment_with_tasks() -> None:
    detailed = fact("STS12", 1.0, ours="auto")
    same, more = (fact("avg10", 2.0, "again", ours="auto", training_samples=n) for n in ("0", "9"))
    elsewhere, unknown = fact("avg10", 2.0, "again", ours="auto", backbone="c"), fact("avg10", 2.0, "other")
    rows = published_rows([same, detailed, more, elsewhere, unknown])
    assert [next(iter(row.facts.values())) for row in rows] == [detailed, more, elsewhere, unknown]


def test_a_mean_needs_all_its_tasks_and_an_average_exactly_its_own() -> None:
    (row,) = published_rows([fact("STS12", 1.0), fact("STS13", 2.0), fact("avg7", 3.0)])
    seven = ["SICK-R", "STSBenchmark", "STS16", "STS15", "STS14", "STS13", "STS12"]
    assert row.mean(["STS12", "STS13"]) == pytest.approx(1.5)
    assert row.mean(seven) is None
    average = row.average(seven)
    assert average is not None
    assert average.value == 3.0
    assert row.average(seven[1:]) is None
    (row,) = published_rows([fact("MTEB-STS(10)", 4.0)])
    ten = row.average([*seven, "BIOSSES", "STS17", "STS22"])
    assert ten is not None
    assert ten.value == 4.0


def test_the_file_that_comes_with_this_package() -> None:
    facts = read_published()
    assert len(facts) == 738
    table1 = [it for it in facts if it.source == "AutoRegEmbed paper (arXiv 2502.11401), Table 1"]
    assert Counter(it.method for it in table1)["AutoRegEmbed"] == 36  # three rows of ten tasks and two averages
    (known,) = [it.value for it in table1 if (it.method, it.backbone, it.dataset, it.training_samples) ==
                ("AutoRegEmbed", "Llama-2-7b", "avg10", "50000 (16382)")]  # fmt: skip
    assert known == 83.07
    assert not any("seed" in it.source for it in facts)
    assert all(it.secondary for it in facts if "blog" in it.source or "quoted" in it.source)


def test_what_the_file_calls_ours_are_methods_of_this_project() -> None:
    from methods.registry import discover

    names = {it.ours for it in read_published() if it.ours}
    assert {"untrained-last", "infonce-inbatch-mean", "llm2vec", "autoregembed"} <= names
    assert names <= set(discover().entries)
