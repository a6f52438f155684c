from __future__ import annotations

import json
from pathlib import Path

import pytest

from genembench.problem import Problem
from genembench.settings import read_settings
from runners.compare import parser
from runners.options import mappings, parse, resolved


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "methods: [infonce-mean, untrained-mean]\nbudget: 2000\nseeds: [0, 1]\npreset: small\ndry_run: true\n"
    )
    options = parse(parser(), ["--config", str(file), "--budget=500", "--seeds", "7"])
    assert options.methods == ["infonce-mean", "untrained-mean"]
    assert (options.budget, options.seeds, options.preset, options.dry_run) == ("500", [7], "small", True)
    assert (options.device, options.checkpoint_seconds, options.benchmark) == ("auto", 300.0, None)


def test_what_collects_is_joined_and_the_command_line_comes_last(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('map = ["positive=pos"]\n[set.infonce-mean]\nepochs = 2\nlearning_rate = 1e-5\n')
    options = parse(parser(), ["--config", str(file), "--set", "infonce-mean.epochs=3"])
    assert options.map == ["positive=pos"]
    assert options.set == ["infonce-mean.epochs=2", "infonce-mean.learning_rate=1e-05", "infonce-mean.epochs=3"]


def test_resolved_options_are_a_configuration_file(tmp_path: Path) -> None:
    arguments = ["--methods", "a,b", "--set", "a.x=1", "--seeds", "0,3", "--output", "out", "--keep-overlap"]
    options = parse(parser(), arguments)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(resolved(options)))
    again = parse(parser(), ["--config", str(file)])
    assert {**vars(again), "config": None} == {**vars(options), "config": None}


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", ""])
def test_a_file_that_holds_no_options_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(Problem, match=r"run\.yaml"):
        read_settings(file, "--config")


def test_a_field_goes_to_the_kinds_that_have_it_and_a_kind_can_be_named() -> None:
    assert mappings(["query=q", "positive=pos", "pairs.document=d"], ["triplets", "pairs"]) == {
        "triplets": {"query": "q", "positive": "pos"},
        "pairs": {"query": "q", "document": "d"},
    }
    with pytest.raises(Problem, match="no instruct were given"):
        mappings(["instruct.context=c"], ["triplets"])
    with pytest.raises(Problem, match="no data were given"):
        mappings(["query=q"], [])


@pytest.mark.parametrize("name", ["run.json", "run.yaml"])
def test_a_runs_own_record_is_a_configuration(tmp_path: Path, name: str) -> None:
    configuration = {"methods": ["infonce-mean"], "budget": "64", "seeds": [3], "preset": "small", "output": "there"}
    record = {
        "schema": 1,
        "run": "infonce-mean-64-s3-0123456789",
        "seed": 9,
        "scores": [],
        "configuration": configuration,
    }
    (tmp_path / name).write_text(json.dumps(record))
    # Command line over record over default.
    options = parse(parser(), [f"--config={tmp_path / name}", "--budget=32", "--output", "here"])
    assert (options.methods, options.seeds, options.preset) == (["infonce-mean"], [3], "small")
    assert (options.budget, options.output, options.checkpoint_seconds) == ("32", Path("here"), 300.0)


def test_a_record_without_a_configuration_is_read_as_options(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1, "configuration": "none"}))
    with pytest.raises(Problem, match=r"unknown option in .*run\.json: 'schema'"):
        parse(parser(), [f"--config={tmp_path / 'run.json'}"])


def test_a_record_of_another_command_is_refused_by_what_this_one_lacks(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"configuration": {"method": "infonce-mean", "seed": 1}}))
    with pytest.raises(Problem, match=r"unknown option in .*run\.json: 'method'") as caught:
        parse(parser(), [f"--config={tmp_path / 'run.json'}"])
    assert "Did you mean methods" in caught.value.hint
