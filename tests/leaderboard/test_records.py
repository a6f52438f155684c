from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from genembench.problem import Problem
from leaderboard.records import Record, merge_records, read_records
from tests.leaderboard.made_up import run_json, write


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for seed in (1, 0):
        write(tmp_path, run_json(seed=seed))
    partial = tmp_path / "runs" / ".partial-abc"
    partial.mkdir()
    (partial / "run.json").write_text("{")
    return tmp_path


def test_a_run_a_runs_folder_and_an_output_folder_are_all_paths_to_records(output: Path) -> None:
    both = ["infonce-mean-2000-s0", "infonce-mean-2000-s1"]
    assert [record.run for record in read_records([output])] == both
    assert [record.run for record in read_records([output / "runs"])] == both
    assert [record.run for record in read_records([output / "runs" / both[1]])] == both[1:]
    assert [record.run for record in read_records([output / "runs" / both[1], output])] == both  # merged, sorted


def test_the_json_is_readable_as_attributes() -> None:
    record = Record.from_json(run_json(budget=2000, instruct=656, base=50.0))
    assert record.budget.asked == {"triplets": 2000, "instruct": 655}
    assert record.backbone is not None
    assert record.backbone.parameters == 5_112_064
    assert record.costs.stages[0].costs.unique_examples == {"triplets": 2000, "instruct": 656}
    assert record.costs.evaluation is not None
    assert record.costs.evaluation.texts == 35000
    assert record.task_scores()["STS12"] == 52.0
    # STS12-16 are 52..56, STS-B is 59, SICK-R is 51: together 380.
    assert record.average_scores()["Avg(7)"] == pytest.approx(380 / 7)


def test_subsets_of_a_task_count_as_their_mean() -> None:
    value = run_json()
    value["scores"] = [
        value["scores"][0] | {"subset": name, "score": score} for name, score in (("en", 10), ("de", 40))
    ]
    assert Record.from_json(value).task_scores() == {"BIOSSES": 25.0}


def test_equal_copies_of_a_run_merge_and_different_ones_do_not(output: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other, run_json(seed=0))
    assert len(read_records([output, other])) == 2
    changed = tmp_path / "changed"
    write(changed, run_json(seed=0, base=51.0))
    with pytest.raises(Problem, match=r"'infonce-mean-2000-s0' has two different records.*up to 1\.00 apart"):
        read_records([output, changed])


def test_merging_says_which_copy_counts(output: Path, tmp_path: Path) -> None:
    slower = run_json(seed=0, base=50.25)
    slower["costs"]["attributed"] = slower["costs"]["attributed"] | {"training_seconds": 99.0}
    write(tmp_path / "slower", slower)
    records, notes = merge_records([output, tmp_path / "slower"])
    assert [record.run for record in records] == ["infonce-mean-2000-s0", "infonce-mean-2000-s1"]
    assert records[0].costs.attributed.training_seconds == 10.0
    assert len(notes) == 1
    assert str(output / "runs" / "infonce-mean-2000-s0") in notes[0]
    assert "up to 0.2500 apart" in notes[0]
    assert merge_records([output, output])[1] == []


def test_of_two_copies_the_one_that_is_done_counts(tmp_path: Path) -> None:
    write(tmp_path / "a", run_json(status="failed", reason="no space left"))
    write(tmp_path / "b", run_json())
    for order in (["a", "b"], ["b", "a"]):
        records, notes = merge_records([tmp_path / name for name in order])
        assert [record.status for record in records] == ["done"]
        assert str(tmp_path / "b") in notes[0]
        assert "the other one is failed" in notes[0]


def test_two_copies_with_other_tasks_are_a_problem(tmp_path: Path) -> None:
    fewer = run_json()
    fewer["scores"] = fewer["scores"][:3]
    write(tmp_path / "a", run_json())
    write(tmp_path / "b", fewer)
    with pytest.raises(Problem, match="two different records"):
        merge_records([tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_a_path_without_records_is_a_problem_but_an_empty_runs_folder_is_not(tmp_path: Path, name: str) -> None:
    with pytest.raises(Problem, match="no run records"):
        read_records([tmp_path / name])
    (tmp_path / "runs").mkdir()
    assert read_records([tmp_path]) == []


def test_a_run_folder_without_its_record_is_named(output: Path) -> None:
    (output / "runs" / "stray").mkdir()
    with pytest.raises(Problem, match=r"stray holds no run\.json"):
        read_records([output])


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe\x00", b'{"schema": 1} x'])
def test_unreadable_json_names_the_file(tmp_path: Path, content: bytes) -> None:
    folder = write(tmp_path, run_json())
    (folder / "run.json").write_bytes(content)
    with pytest.raises(Problem, match=r"run\.json is not readable JSON"):
        read_records([tmp_path])


def _without(key: str, *path: Any) -> Any:
    value = json.loads(json.dumps(run_json()))
    del _at(value, path)[key]
    return value


def _with(new: object, *path: Any) -> Any:
    value = json.loads(json.dumps(run_json()))
    _at(value, path[:-1])[path[-1]] = new
    return value


def _at(value: Any, path: Sequence[Any]) -> Any:
    for key in path:
        value = value[key]
    return value


ATTRIBUTED = ("costs", "attributed")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"schema": 2, "everything": "else differs too"}, "field 'schema' is 2; this version of genembench reads 1"),
        ([run_json()], r"field '\(top\)' should be an object"),
        (_without("schema"), "field 'schema' is missing"),
        (_without("seed"), "field 'seed' is missing"),
        (_without("real_tokens", *ATTRIBUTED), "field 'costs.attributed.real_tokens' is missing"),
        (_with(1, "surprise"), "field 'surprise' is not one that a record has"),
        (_with(1, "scores", 2, "surprise"), r"field 'scores\[2\].surprise' is not one that a record has"),
        (_with("55", "scores", 1, "score"), r"field 'scores\[1\].score' should be a number, got '55'"),
        (_with(True, "seed"), "field 'seed' should be a whole number, got True"),
        (_with(1.5, *ATTRIBUTED, "unique_examples", "triplets"), "unique_examples.triplets' should be a whole number"),
        (_with(float("nan"), "averages", 0, "score"), r"field 'averages\[0\].score' should be a finite number"),
        (_with({}, "scores"), "field 'scores' should be a list"),
        (_with([], "data"), "field 'data' should be an object"),
        (_with(None, "benchmark"), "field 'benchmark' should be an object, got None"),
        (_with("finished", "status"), "field 'status' is 'finished', which is none of done"),
        (_with([], "scores"), "field 'scores' is empty although the run is done"),
        (run_json() | {"status": "failed", "reason": "why"}, "field 'scores' is not empty although the run is failed"),
        (run_json(status="failed", reason=" "), "field 'reason' is empty although the run is failed"),
    ],
)
def test_a_malformed_record_names_its_file_and_field(tmp_path: Path, value: Any, message: str) -> None:
    folder = tmp_path / "runs" / "x"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(value))
    with pytest.raises(Problem, match=message) as caught:
        read_records([tmp_path])
    assert str(folder / "run.json") in caught.value.what
