from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.budget import parse_budgets
from benchmarks.suite import resolve_benchmark
from benchmarks.training_data import load_training_data
from genembench.problem import Problem
from methods.registry import discover
from runners import compare, train
from runners.backbones import resolve_backbone
from runners.engine import Engine
from runners.finished import finished_model
from runners.options import parse
from runners.plan import Estimate, Planner, describe
from runners.prepare import choose_benchmark, make_engine, make_plan
from runners.records import make_record
from runners.spec import MethodChoice, RunSpec
from tests.conftest import write_lines


@pytest.fixture
def planner(tiny_backbone: Path, tiny_triplets: Path, tiny_sts: Path, tmp_path: Path) -> Planner:
    benchmark = resolve_benchmark("sts", tasks=["STS16"], data_dir=tiny_sts)
    data = {"triplets": load_training_data("triplets", tiny_triplets, mapping={}, seed=0, held_out=None)}
    return Planner(resolve_backbone(str(tiny_backbone), Engine()), data, benchmark, Engine(), tmp_path / "out", {})


def _runs(planner: Planner, *names: str, budgets: str = "20,40", finished: tuple[str, ...] = ()) -> list[RunSpec]:
    found = discover()
    chosen = [
        (MethodChoice(name=n, preset="small", overrides={}), found.get(n), found.get(n).create("small")) for n in names
    ]
    models = [finished_model(f"sentence-transformers:{path}") for path in finished]
    return planner.runs(chosen, models, parse_budgets([budgets]), [0])


def _finished(folder: Path) -> str:
    folder.mkdir(parents=True)
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Normalize"}]')
    return str(folder)


def test_a_stage_is_estimated_once_and_not_at_all_where_it_stands(planner: Planner) -> None:
    plan = _runs(planner, "untrained-mean", "infonce-mean")
    costs = {address: Estimate(100.0, 1e12) for spec in plan for address in spec.stage_addresses}
    assert len(costs) == 2
    assert "3 runs, 3 to do; training estimated at 2.00 TFLOPs" in describe(plan, costs)
    (planner.output / "stages" / plan[1].stage_addresses[0]).mkdir(parents=True)
    assert "3 runs, 3 to do; training estimated at 1.00 TFLOPs" in describe(plan, costs)
    assert "1 trained stage(s) reused" in describe(plan, costs)
    # The same stage twice in one plan is paid by the first.
    assert "2 runs, 2 to do; training estimated at 1.00 TFLOPs" in describe([plan[2], plan[2]], costs)


def test_a_finished_model_is_called_by_its_folder_however_the_path_is_written(planner: Planner, tmp_path: Path) -> None:
    path = _finished(tmp_path / "models" / "minilm")
    (plain,) = _runs(planner, finished=(path,))
    (slash,) = _runs(planner, finished=(path + "/",))
    assert plain.run == slash.run
    assert plain.label == "minilm"
    (Path(path) / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    (changed,) = _runs(planner, finished=(path,))
    assert changed.run != plain.run


def test_two_finished_models_of_one_name_are_refused_before_anything_runs(planner: Planner, tmp_path: Path) -> None:
    paths = (_finished(tmp_path / "a" / "minilm"), _finished(tmp_path / "b" / "minilm"))
    with pytest.raises(Problem, match="two finished models are called 'minilm'"):
        _runs(planner, finished=paths)


def test_a_budget_above_the_data_or_without_the_kind_is_refused(planner: Planner) -> None:
    with pytest.raises(Problem, match="a budget of 121 triplets is above the 120 usable rows"):
        _runs(planner, "infonce-mean", budgets="121")
    with pytest.raises(Problem, match="has no cap for triplets, which infonce-mean trains on"):
        _runs(planner, "infonce-mean", budgets="pairs=3")


def test_a_method_edited_while_a_comparison_runs_is_not_trained_under_its_old_address() -> None:
    choice = MethodChoice(name="infonce-mean", preset="small", overrides={}, source="what it was")
    with pytest.raises(Problem, match="was changed while the comparison ran"):
        choice.resolve()


def test_sentences_of_tasks_that_were_not_chosen_are_held_out_too(tiny_sts: Path) -> None:
    one = resolve_benchmark("sts", tasks=["STS16"], data_dir=tiny_sts)
    all_three = resolve_benchmark("sts", tasks=["STS16", "STS17", "BIOSSES"], data_dir=tiny_sts)
    assert set(one.neighbourhood().texts()) == set(all_three.texts())
    assert len(set(all_three.texts())) > len(set(one.texts()))


def _planned(options: Namespace) -> list[RunSpec]:
    """Plan as the commands do."""
    names = options.methods if hasattr(options, "methods") else [options.method]
    benchmark = choose_benchmark(options)
    return make_plan(options, names, benchmark=benchmark, engine=make_engine(options), output=options.output)[0]


def _again(spec: RunSpec, folder: Path, *more: str) -> list[RunSpec]:
    """Plan from what a run's record holds and nothing else."""
    record = {"schema": 1, "run": spec.run, "status": "done", "configuration": dict(spec.configuration)}
    (folder / "run.json").write_text(json.dumps(record))
    return _planned(parse(compare.parser(), [f"--config={folder / 'run.json'}", *more]))


@pytest.fixture
def many(tiny_backbone: Path, tiny_triplets: Path, tiny_sts: Path, tmp_path: Path) -> list[str]:
    """Options of a comparison of three methods and a finished model at two budgets with two seeds."""
    (tmp_path / "preset.json").write_text(
        json.dumps({"base": "small", "*": {"epochs": 2, "max_length": 64}, "infonce-mean": {"batch_size": 8}})
    )
    pair = {"sentence1": "today a b", "sentence2": "today c", "score": 1}
    write_lines(tmp_path / "own.jsonl", [pair, {**pair, "score": 2}])
    (tmp_path / "mine.json").write_text(
        json.dumps({"tasks": ["STS16"], "data_dir": str(tiny_sts), "pairs": {"own": "own.jsonl"}})
    )
    finished = _finished(tmp_path / "models" / "minilm")
    return [
        f"--methods=untrained-mean,sentence-transformers:{finished},infonce-mean,infonce-inbatch-last",
        f"--backbone={tiny_backbone}",
        f"--triplets={tiny_triplets}",
        "--map=query=query",
        "--budget=20,40",
        "--seeds=0,3",
        f"--preset={tmp_path / 'preset.json'}",
        "--set=infonce-inbatch-last.temperature=0.5",
        "--set=*.learning_rate=1e-3",
        f"--benchmark={tmp_path / 'mine.json'}",
        "--device=cpu",
        f"--output={tmp_path / 'out'}",
    ]


def test_the_record_of_every_run_of_a_comparison_repeats_just_this_run(many: list[str], tmp_path: Path) -> None:
    plan = _planned(parse(compare.parser(), many))
    # One untrained, one finished, two trained methods at two budgets with two seeds.
    assert len(plan) == len({spec.run for spec in plan}) == 1 + 1 + 2 * 2 * 2
    # In full: the preset's file is not needed any more.
    (tmp_path / "preset.json").unlink()
    for spec in plan:
        assert "preset.json" not in json.dumps(dict(spec.configuration))
        (same,) = _again(spec, tmp_path)
        assert same.run == spec.run
        assert same.stage_addresses == spec.stage_addresses
        assert (same.budget_label, same.seed, same.label) == (spec.budget_label, spec.seed, spec.label)
        if spec.method is not None and same.method is not None:
            assert same.method.resolve()[1] == spec.method.resolve()[1]
        # And so does the record of the repetition.
        assert same.configuration == _again(same, tmp_path)[0].configuration


def test_the_cross_entropy_is_recorded_repeated_and_no_part_of_an_address(
    many: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr("runners.engine.find_spec", lambda name: name)
    plain = _planned(parse(compare.parser(), many))[-1]
    liger = _planned(parse(compare.parser(), [*many, "--cross-entropy=liger"]))[-1]
    assert (liger.run, liger.stage_addresses) == (plain.run, plain.stage_addresses)
    for spec, name in ((plain, "torch"), (liger, "liger")):
        record = make_record(spec, status="failed", reason="", method={}, started="")
        assert record["engine"]["cross_entropy"] == record["configuration"]["cross_entropy"] == name
        assert _again(spec, tmp_path)[0].engine.cross_entropy == name
    # Records of before this option was there.
    earlier = {key: value for key, value in plain.configuration.items() if key != "cross_entropy"}
    assert _again(replace(plain, configuration=earlier), tmp_path)[0].engine == plain.engine


def test_of_what_was_set_a_record_holds_its_own_methods_values(many: list[str]) -> None:
    plan = {spec.label: spec.configuration for spec in _planned(parse(compare.parser(), many))}
    assert plan["untrained-mean"]["set"] == ["untrained-mean.max_length=64"]
    assert plan["minilm"]["set"] == []
    assert sorted(plan["infonce-mean 20 seed 3"]["set"]) == [
        "infonce-mean.batch_size=8",
        "infonce-mean.epochs=2",
        "infonce-mean.learning_rate=1e-3",
        "infonce-mean.max_length=64",
    ]
    facts = plan["infonce-inbatch-last 40 seed 0"]
    assert (facts["methods"], facts["budget"], facts["seeds"]) == (["infonce-inbatch-last"], "40", [0])
    assert facts["preset"] == "small"


def test_the_command_line_is_above_a_record(many: list[str], tmp_path: Path) -> None:
    spec = _planned(parse(compare.parser(), many))[-1]
    (other,) = _again(spec, tmp_path, "--seeds=7", "--set=infonce-inbatch-last.epochs=1")
    assert (other.seed, other.label) == (7, "infonce-inbatch-last 40 seed 7")
    assert other.method is not None
    assert other.method.resolve()[1].config()["epochs"] == 1
    assert other.method.resolve()[1].config()["temperature"] == 0.5


def test_a_budget_by_kind_is_repeated_as_it_is(many: list[str], tmp_path: Path) -> None:
    options = parse(compare.parser(), [*many, "--budget=triplets=30,pairs=5"])
    spec = _planned(options)[-1]
    assert spec.configuration["budget"] == "triplets=30,pairs=5"
    assert [same.run for same in _again(spec, tmp_path)] == [spec.run]


def test_the_record_of_a_training_repeats_it(many: list[str], tmp_path: Path) -> None:
    kept = [option for option in many if option.partition("=")[0] not in ("--methods", "--seeds", "--set", "--budget")]
    options = parse(train.parser(), ["--method=infonce-mean", "--seed=3", "--budget=20", *kept])
    (spec,) = _planned(options)
    (tmp_path / "run.json").write_text(json.dumps({"configuration": dict(spec.configuration)}))
    again = parse(train.parser(), [f"--config={tmp_path / 'run.json'}"])
    assert (again.method, again.seed, again.budget) == ("infonce-mean", 3, "20")
    assert [same.run for same in _planned(again)] == [spec.run]
    assert spec.run.startswith("infonce-mean-20-s3-")
