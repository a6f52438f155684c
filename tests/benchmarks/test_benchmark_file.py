from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.benchmark_file import read_benchmark_file
from benchmarks.evaluate import evaluate
from benchmarks.lexical import TfidfEncoder
from benchmarks.suite import Benchmark, resolve_benchmark
from genembench.problem import Problem
from tests.conftest import write_lines

TICKETS = [("the pump leaks", "a leaking pump", 4.5), ("the pump leaks", "no invoice came", 0.0), ("a b", "a c", 2.0)]
WHOLE: Mapping[str, Any] = {
    "name": "support-desk",
    "tasks": ["STS16", "BIOSSES"],
    "data_dir": "sts",
    "pairs": {"tickets": "data/tickets.jsonl"},
    "averages": {"Public": ["STS16", "BIOSSES"], "All": ["STS16", "BIOSSES", "tickets"]},
}
TOML = """
name = "support-desk"
tasks = ["STS16", "BIOSSES"]
data_dir = "sts"
[pairs]
tickets = "data/tickets.jsonl"
[averages]
Public = ["STS16", "BIOSSES"]
All = ["STS16", "BIOSSES", "tickets"]
"""


@pytest.fixture
def folder(tmp_path: Path, tiny_sts: Path) -> Path:
    """A folder with everything that `WHOLE` names."""
    (tmp_path / "sts").symlink_to(tiny_sts)
    rows = [{"sentence1": one, "sentence2": two, "score": score} for one, two, score in TICKETS]
    write_lines(tmp_path / "data" / "tickets.jsonl", rows)
    (tmp_path / "mine.json").write_text(json.dumps(WHOLE))
    return tmp_path


def written(folder: Path, **changes: Any) -> Path:
    """Write the file with some keys changed, or (None) left out."""
    values = {key: value for key, value in {**WHOLE, **changes}.items() if value is not None}
    (folder / "mine.json").write_text(json.dumps(values))
    return folder / "mine.json"


def resolved(file: Path) -> Benchmark:
    return resolve_benchmark(str(file), tasks=None, data_dir=None)


def test_all_formats_describe_one_benchmark(folder: Path) -> None:
    (folder / "a.toml").write_text(TOML)
    (folder / "a.yaml").write_text(yaml.safe_dump(dict(WHOLE)))
    one, two, three = (resolved(folder / name) for name in ("a.toml", "a.yaml", "mine.json"))
    assert one == two == three
    assert one.address == two.address == three.address
    assert (one.name, one.tasks) == ("support-desk", ("STS16", "BIOSSES", "tickets"))


def test_paths_are_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "data")
    found = read_benchmark_file(Path("../mine.json"))
    assert found.data_dir == Path("../sts")
    assert found.pairs == {"tickets": Path("../data/tickets.jsonl")}
    resolved(Path("../mine.json")).check()
    absolute = read_benchmark_file(written(folder, data_dir=str(folder), pairs={"tickets": str(folder / "x.jsonl")}))
    assert (absolute.data_dir, absolute.pairs) == (folder, {"tickets": folder / "x.jsonl"})


def test_own_pairs_are_measured_beside_mtebs_tasks_and_averaged_as_asked(folder: Path) -> None:
    benchmark = resolved(folder / "mine.json")
    benchmark.check()
    seen: dict[str, list[float]] = {}
    scores = evaluate(
        TfidfEncoder(benchmark.texts()),
        benchmark,
        on_task=lambda score, predictions: seen.update({score.task: [each.score for each in predictions]}),
    )
    assert [(score.task, score.pairs) for score in scores] == [("STS16", 30), ("BIOSSES", 30), ("tickets", 3)]
    assert [score.metric for score in scores] == ["cosine_spearman"] * 3
    # In common are the rare "pump", nothing, and the frequent "a": the order of the gold scores 4.5, 0 and 2.
    assert seen["tickets"][0] > seen["tickets"][2] > 0.01
    assert seen["tickets"][1] == pytest.approx(0, abs=1e-6)
    assert scores[2].score == pytest.approx(100)
    by_task = {score.task: score.score for score in scores}
    public, everything = benchmark.average(by_task)
    assert (public.name, everything.name) == ("Public", "All")
    assert public.score == pytest.approx((by_task["STS16"] + by_task["BIOSSES"]) / 2)
    assert everything.score == pytest.approx(sum(by_task.values()) / 3)
    # Without one of its tasks an average is not there.
    assert [each.name for each in benchmark.average({"STS16": 1.0, "BIOSSES": 2.0})] == ["Public"]


def test_what_is_left_out_has_a_default(folder: Path) -> None:
    found = read_benchmark_file(written(folder, name=None, tasks=None, data_dir=None, averages=None))
    assert (found.name, found.tasks, found.data_dir, found.averages) == ("mine", ("tickets",), None, None)
    # Averages are then those of the STS tasks, or one mean.
    assert [each.name for each in resolved(folder / "mine.json").average({"a": 1.0, "b": 3.0})] == ["Mean(a,b)"]
    assert read_benchmark_file(written(folder, pairs=None, averages=None)).tasks == ("STS16", "BIOSSES")
    twice = read_benchmark_file(written(folder, tasks=["tickets", "STS16", "STS16"], averages={}))
    assert (twice.tasks, twice.averages) == (("tickets", "STS16"), {})


def test_the_command_line_chooses_among_the_tasks_and_names_another_folder(folder: Path, tiny_sts: Path) -> None:
    spec = str(folder / "mine.json")
    chosen = resolve_benchmark(spec, tasks=["tickets", "STS16"], skip_tasks=["STS16"], data_dir=tiny_sts)
    assert (chosen.tasks, chosen.data_dir) == (("tickets",), tiny_sts)
    with pytest.raises(Problem, match="unknown task 'ticket'") as caught:
        resolve_benchmark(spec, tasks=["ticket"], data_dir=None)
    assert "Did you mean tickets" in caught.value.hint


def test_own_pairs_may_take_the_place_of_a_task_of_mteb_and_stand_beside_the_demos(folder: Path) -> None:
    own = {"STS16": "data/tickets.jsonl"}
    benchmark = resolved(written(folder, tasks=["STS16", "DemoTopic"], pairs=own, averages=None, data_dir=None))
    benchmark.check()
    assert benchmark.tasks == ("STS16", "DemoTopic")
    assert list(benchmark.texts())[:2] == ["the pump leaks", "a leaking pump"]
    assert len(list(benchmark.texts())) == 6 + 800


def test_sentences_of_every_own_file_are_kept_out_of_training_whatever_tasks_are_chosen(folder: Path) -> None:
    file = written(folder, pairs={"tickets": "data/tickets.jsonl", "gone": "data/gone.jsonl"}, averages=None)
    one = resolve_benchmark(str(file), tasks=["BIOSSES"], data_dir=None)
    texts = set(one.neighbourhood().texts())
    assert {"the pump leaks", "no invoice came"} <= texts
    assert set(Benchmark("sts", ("STS16", "STS17", "BIOSSES"), folder / "sts").texts()) <= texts


def test_the_address_follows_the_pairs_and_not_the_file(folder: Path) -> None:
    before = resolved(folder / "mine.json").address
    (folder / "moved.jsonl").write_bytes((folder / "data" / "tickets.jsonl").read_bytes())
    file = written(folder, name="other", pairs={"tickets": "moved.jsonl"}, averages=None)
    assert resolved(file).address == before
    write_lines(folder / "moved.jsonl", [{"sentence1": "a", "sentence2": "b", "score": n} for n in range(2)])
    assert resolved(file).address != before


@pytest.mark.parametrize(
    ("changes", "what", "hint"),
    [
        ({"task": ["STS16"]}, "unknown key in {file}: 'task'", "Did you mean tasks"),
        ({"tasks": "STS16"}, "tasks in {file}: expected a list of task names, got 'STS16'", "For example"),
        ({"tasks": ["STS16", 3]}, "expected a list of task names, got ['STS16', 3]", "For example"),
        ({"tasks": ["STS16", ""]}, "expected a list of task names", "For example"),
        ({"tasks": [], "pairs": {}, "averages": None}, "{file} names no task", "For example"),
        ({"pairs": ["tickets.jsonl"]}, "pairs in {file}: expected a table, got ['tickets.jsonl']", "For example"),
        ({"pairs": {"tickets": 3}}, "the file of 'tickets' is not a path: 3", "For example"),
        ({"pairs": {"tickets": ""}}, "the file of 'tickets' is not a path: ''", "For example"),
        ({"pairs": {"../tickets": "x"}}, "'../tickets' cannot name a task", "Letters, digits"),
        ({"pairs": {"2tickets": "x"}}, "'2tickets' cannot name a task", "Letters, digits"),
        ({"pairs": {"my tickets": "x"}}, "'my tickets' cannot name a task", "Letters, digits"),
        ({"data_dir": ["sts"]}, "data_dir in {file} is not a path: ['sts']", "For example"),
        ({"averages": ["All"]}, "averages in {file}: expected a table", "For example"),
        ({"averages": {"All": "STS16"}}, "average All in {file}: expected a list of task names", "For example"),
        ({"averages": {"All": []}}, "average All in {file} has no task", "For example"),
        (
            {"averages": {"All": ["STS16", "ticket"]}},
            "unknown task of the average All in {file}: 'ticket'",
            "Did you mean tickets",
        ),
        ({"name": 3}, "name in {file} is no name: 3", "For example"),
        ({"name": " "}, "name in {file} is no name: ' '", "For example"),
    ],
)
def test_what_is_no_benchmark_is_refused(folder: Path, changes: dict[str, Any], what: str, hint: str) -> None:
    file = written(folder, **changes)
    with pytest.raises(Problem) as caught:
        resolved(file)
    assert what.format(file=file) in caught.value.what
    assert hint in caught.value.hint


@pytest.mark.parametrize("content", ["", "- STS16\n", "tasks: [STS16\n"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(Problem, match=r"--benchmark .*mine\.yaml"):
        resolved(tmp_path / "mine.yaml")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"none\.toml: .*No such file"):
        resolved(tmp_path / "none.toml")


def test_a_task_that_neither_mteb_nor_pairs_know_is_refused(folder: Path) -> None:
    with pytest.raises(Problem, match="mteb has no task 'ticktes'"):
        resolved(written(folder, tasks=["ticktes"], averages=None))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "tickets.jsonl cannot be read"),
        ("", "holds no sentence pairs"),
        ('{"sentence1": "a", "sentence2": "b", "score": 1}\n{"sentence1": "a", "score": 1}\n', "line 2: no field sent"),
        ('{"sentence1": "a", "sentence2": "b", "score": "high"}\n', "line 1: score is not a number: 'high'"),
        ('{"sentence1": "a", "sentence2": "b", "score": 1}\nhalf a li', "line 2: not JSON"),
        ('{"sentence1": "a", "sentence2": "b", "score": 1}\n', "tickets: the gold score of every pair is 1.0"),
    ],
)
def test_own_pairs_that_cannot_be_used_are_found_before_anything_is_trained(
    folder: Path, content: str | None, said: str
) -> None:
    file = folder / "data" / "tickets.jsonl"
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(Problem) as caught:
        resolved(folder / "mine.json").check()
    assert said in caught.value.what
