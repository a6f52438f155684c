from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.budget import parse_budgets
from benchmarks.suite import resolve_benchmark
from benchmarks.training_data import load_training_data
from genembench.problem import Problem
from methods.registry import discover
from runners.backbones import resolve_backbone
from runners.engine import Engine
from runners.plan import Estimate, Planner, describe
from runners.spec import MethodChoice, RunSpec


@pytest.fixture
def planner(tiny_backbone: Path, tiny_triplets: Path, tiny_sts: Path, tmp_path: Path) -> Planner:
    benchmark = resolve_benchmark("sts", tasks=["STS16"], data_dir=tiny_sts)
    data = {"triplets": load_training_data("triplets", tiny_triplets, mapping={}, seed=0, held_out=None)}
    return Planner(resolve_backbone(str(tiny_backbone)), data, benchmark, Engine(), tmp_path / "out", {})


def _runs(planner: Planner, *names: str, budgets: str = "20,40", finished: tuple[str, ...] = ()) -> list[RunSpec]:
    found = discover()
    chosen = [
        (MethodChoice(name=n, preset="small", overrides={}), found.get(n), found.get(n).create("small")) for n in names
    ]
    return planner.runs(chosen, finished, parse_budgets([budgets]), [0])


def _finished(folder: Path) -> str:
    folder.mkdir(parents=True)
    (folder / "modules.json").write_text("[]")
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
    (Path(path) / "modules.json").write_text("[ ]")
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
