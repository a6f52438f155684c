from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.budget import parse_budgets
from benchmarks.suite import Benchmark, resolve_benchmark
from benchmarks.training_data import load_training_data
from methods.registry import discover
from runners.addresses import evaluation_address, run_address, training_address
from runners.backbones import resolve_backbone
from runners.engine import Engine
from runners.plan import Planner
from runners.spec import MethodChoice, RunSpec

BASE: dict[str, Any] = {"start": "backbone", "data": "ids", "seed": 0, "precision": "float32", "source": "code"}


def _training(name: str = "infonce-mean", overrides: dict[str, str] | None = None, **changed: Any) -> str:
    (stage,) = discover().get(name).create("small", overrides or {}).stages()
    return training_address(stage, **(BASE | changed))


@pytest.mark.parametrize(
    "changed", [{"start": "other"}, {"data": "other"}, {"seed": 1}, {"precision": "bfloat16"}, {"source": "other"}]
)
def test_the_training_address_follows_what_determines_the_weights(changed: dict[str, Any]) -> None:
    assert _training(**changed) != _training()


@pytest.mark.parametrize("key", ["learning_rate", "batch_size", "epochs", "temperature", "max_length", "lora_rank"])
def test_the_training_address_follows_every_hyper_parameter(key: str) -> None:
    assert _training(overrides={key: "7"}) != _training()


def test_the_training_address_is_the_same_in_another_process_and_version_of_python_hashing() -> None:
    assert _training() == _training()
    assert len({_training(name) for name in ("infonce-mean", "infonce-last", "infonce-inbatch-mean")}) == 3


def test_the_engine_version_is_part_of_the_training_address(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _training()
    monkeypatch.setattr("runners.addresses.ENGINE_VERSION", 2)
    assert _training() != before


def test_the_run_address_follows_weights_benchmark_and_way_to_a_vector() -> None:
    method = discover().get("infonce-mean").create("small")
    other = discover().get("infonce-mean").create("small", {"max_length": "64"})
    base = run_address("w", method, "s", "b", "float32")
    assert run_address("w", method, "s", "b", "float32") == base
    assert run_address("x", method, "s", "b", "float32") != base
    assert run_address("w", method, "s", "c", "float32") != base
    assert run_address("w", other, "s", "b", "float32") != base
    assert evaluation_address("e", "b", "float32") != evaluation_address("e", "c", "float32")


def _plan(
    backbone: Path, triplets: Path, benchmark: Benchmark, engine: Engine, output: Path, budgets: str = "20,40"
) -> list[RunSpec]:
    data = {"triplets": load_training_data("triplets", triplets, mapping={}, seed=0, held_out=None)}
    planner = Planner(resolve_backbone(str(backbone), Engine()), data, benchmark, engine, output, {})
    found = discover()
    chosen = []
    for name in ("untrained-mean", "infonce-mean", "infonce-inbatch-mean"):
        entry = found.get(name)
        chosen.append((MethodChoice(name=name, preset="small", overrides={}), entry, entry.create("small")))
    return planner.runs(chosen, [], parse_budgets([budgets]), [0, 1])


def test_a_plan_gives_every_method_the_same_nested_examples(
    tiny_backbone: Path, tiny_triplets: Path, tiny_sts: Path
) -> None:
    benchmark = resolve_benchmark("sts", tasks=["STS16"], data_dir=tiny_sts)
    plan = _plan(tiny_backbone, tiny_triplets, benchmark, Engine(), Path("out"))
    assert [spec.method.name for spec in plan if spec.method].count("untrained-mean") == 1
    assert len(plan) == 1 + 2 * 2 * 2
    ids = {
        (spec.method.name, spec.budget_label, spec.seed): spec.data["triplets"].ids
        for spec in plan
        if spec.method and spec.data
    }
    for seed in (0, 1):
        assert ids["infonce-mean", "20", seed] == ids["infonce-inbatch-mean", "20", seed]
        assert ids["infonce-mean", "20", seed] == ids["infonce-mean", "40", seed][:20]
        assert len(set(ids["infonce-mean", "40", seed])) == 40
    assert ids["infonce-mean", "20", 0] != ids["infonce-mean", "20", 1]


def test_speed_memory_paths_and_the_benchmark_do_not_retrain(
    tiny_backbone: Path, tiny_triplets: Path, tiny_sts: Path, tmp_path: Path
) -> None:
    import shutil

    one = resolve_benchmark("sts", tasks=["STS16"], data_dir=tiny_sts)
    two = resolve_benchmark("sts", tasks=["STS16", "STS17"], data_dir=tiny_sts)
    moved = tmp_path / "another-name"
    shutil.copytree(tiny_backbone, moved)
    base = _plan(tiny_backbone, tiny_triplets, one, Engine(), tmp_path / "a")
    quick = Engine(micro_batch=2, gradient_cache=True, gradient_checkpointing=True)
    other = _plan(moved, tiny_triplets, one, quick, tmp_path / "b")
    assert [spec.stage_addresses for spec in base] == [spec.stage_addresses for spec in other]
    assert [spec.run for spec in base] == [spec.run for spec in other]
    wider = _plan(tiny_backbone, tiny_triplets, two, Engine(), tmp_path / "a")
    assert [spec.stage_addresses for spec in base] == [spec.stage_addresses for spec in wider]
    assert not {spec.run for spec in base} & {spec.run for spec in wider}
    half = _plan(tiny_backbone, tiny_triplets, one, Engine(precision="bfloat16"), tmp_path / "a")
    trained = [(a.stage_addresses, b.stage_addresses) for a, b in zip(base, half, strict=True) if a.stage_addresses]
    assert all(a != b for a, b in trained)
