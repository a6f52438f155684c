from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.demo.rows import ROWS
from benchmarks.kinds import KINDS, normalise
from benchmarks.sts_files import read_pairs
from benchmarks.suite import DEMO_STS, resolve_benchmark
from benchmarks.training_data import TrainingData, load_training_data
from genembench.__main__ import run_command
from methods.registry import discover
from runners import compare, demo_backbone, demo_files, train
from runners.backbones import resolve_backbone
from runners.cache import cache_folder
from runners.demo import DEFAULTS, fill_in
from runners.engine import Engine
from runners.new_backbone import Shape
from runners.options import parse
from runners.pretraining import Pretraining, read_pretraining

COMPARE, TRAIN = compare.parser, train.parser
DEMO_COMPARE = {
    "backbone": "demo",
    "benchmark": "demo",
    "triplets": "demo",
    "instruct": "demo",
    "pairs": "demo",
    "text": "demo",
    "preset": "demo",
    "methods": [
        "untrained-last",
        "untrained-mean",
        "infonce-mean",
        "infonce-inbatch-last",
        "infonce-inbatch-mean",
        "autoregembed",
        "llm2vec",
        "anchor-embedding",
    ],
    "budget": "500,2000",
    "output": Path("results/demo"),
}


def filled(parser: Any, arguments: list[str], **other: Any) -> tuple[Namespace, Namespace]:
    """Return the options as given, and as they are filled in."""
    options = parse(parser(), arguments)
    fill_in(options, **other)
    return parse(parser(), arguments), options


def changes(before: Namespace, after: Namespace) -> dict[str, Any]:
    return {key: value for key, value in vars(after).items() if value != getattr(before, key)}


def test_without_options_it_is_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert changes(*filled(COMPARE, [])) == DEMO_COMPARE
    assert "this is the embedded demo" in capsys.readouterr().err
    # What is filled in exists.
    assert set(DEFAULTS["methods"]) <= set(discover().entries)


@pytest.mark.parametrize(
    "world",
    [
        ["--backbone=b"],
        ["--benchmark=sts"],
        *([kind.flag, "f.jsonl"] for kind in KINDS.values()),
        ["--data-dir=d"],
        ["--tasks=STS12"],
        ["--skip-tasks=STS12"],
        ["--map=query=q"],
    ],
    ids=lambda world: world[0],
)
def test_who_names_a_world_of_his_own_gets_nothing_of_the_demo(
    world: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert changes(*filled(COMPARE, world)) == {}
    assert changes(*filled(COMPARE, [*world, "--methods=infonce-mean", "--output=out"])) == {}
    assert changes(*filled(TRAIN, [*world, "--method=infonce-mean"], budget="4000", output=None)) == {}
    assert capsys.readouterr().err == ""


def test_a_world_in_a_configuration_file_counts_too(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('backbone = "b"\n')
    assert changes(*filled(COMPARE, [f"--config={tmp_path / 'mine.toml'}"])) == {}


@pytest.mark.parametrize(
    ("given", "survives"),
    [
        (["--methods=untrained-mean"], "methods"),
        (["--budget=500"], "budget"),
        (["--output=out"], "output"),
        (["--preset=small"], "preset"),
    ],
)
def test_what_was_said_stays(given: list[str], survives: str) -> None:
    before, after = filled(COMPARE, given)
    assert changes(before, after) == {key: value for key, value in DEMO_COMPARE.items() if key != survives}


def test_options_that_name_no_world_stay_beside_the_demo() -> None:
    given = ["--set=infonce-mean.epochs=2", "--seeds=3,4", "--device=cpu", "--keep-overlap", "--dry-run"]
    before, after = filled(COMPARE, given)
    assert changes(before, after) == DEMO_COMPARE
    assert (after.set, after.seeds, after.keep_overlap) == (["infonce-mean.epochs=2"], [3, 4], True)


def test_train_has_a_budget_of_its_own_and_no_folder() -> None:
    before, after = filled(TRAIN, ["--method=infonce-mean"], budget="4000", output=None)
    expected = {**DEMO_COMPARE, "budget": "4000"}
    del expected["methods"], expected["output"]
    assert changes(before, after) == expected
    assert after.output is None
    before, after = filled(TRAIN, ["--method=a", "--output=out", "--budget=50"], budget="4000", output=None)
    assert (after.output, after.budget, after.benchmark) == (Path("out"), "50", "demo")


def test_the_files_of_the_demo_are_what_is_trained_and_measured_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "deep" / "files"
    assert run_command(demo_files.main, [f"--output={folder}"]) == 0
    names = {path.name for path in folder.iterdir()}
    tasks = [f"{task}.test.jsonl" for task in (*DEMO_STS, "DemoDev")]
    retrieval = ["DemoRetrieval.queries.jsonl", "DemoRetrieval.corpus.jsonl"]
    assert names == {*(f"{kind}.jsonl" for kind in KINDS), *tasks, *retrieval}
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(names)
    assert f"{folder / 'text'}.jsonl: 24,000 lines" in printed
    for kind in KINDS:
        lines = (folder / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) == ROWS[kind]
        normalise(kind, json.loads(lines[-1]), "last line")
    # As a source they are the demo, down to the address; as a benchmark they are its tasks.
    one, other = (
        load_training_data("pairs", source, mapping={}, seed=3, held_out=None)
        for source in (folder / "pairs.jsonl", "demo")
    )
    assert one.address == other.address
    own = {task: f"{task}.test.jsonl" for task in DEMO_STS}
    (folder / "again.json").write_text(json.dumps({"pairs": own}))
    again = resolve_benchmark(str(folder / "again.json"), tasks=None, data_dir=None)
    assert again.address == resolve_benchmark("demo", tasks=DEMO_STS, data_dir=None).address
    assert read_pairs(folder / "DemoDev.test.jsonl")
    queries = [json.loads(line) for line in (folder / "DemoRetrieval.queries.jsonl").read_text().splitlines()]
    corpus = [json.loads(line)["id"] for line in (folder / "DemoRetrieval.corpus.jsonl").read_text().splitlines()]
    assert {query["answer"] for query in queries} <= set(corpus)
    assert run_command(demo_files.main, [f"--output={folder}"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert run_command(demo_files.main, []) == 2
    assert "no --output was given" in capsys.readouterr().err


def test_what_can_be_made_again_is_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GENEMBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "genembench"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "genembench"
    monkeypatch.setenv("GENEMBENCH_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own"


TINY = Pretraining(
    shape=Shape(hidden=16, layers=1, heads=2, key_value_heads=1, intermediate=24, vocabulary=300, context=64),
    learning_rate=1e-2,
    batch_size=16,
)


@pytest.fixture
def few_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TrainingData:
    """Let the demo's backbone be a tiny one, of 40 texts, in a cache of its own."""
    few = load_training_data("text", "demo", mapping={}, seed=0, held_out=None).take(40)
    monkeypatch.setattr(demo_backbone, "load_training_data", lambda *_, **__: few)
    monkeypatch.setattr(demo_backbone, "PRETRAINING", TINY)
    monkeypatch.setenv("GENEMBENCH_CACHE", str(tmp_path / "cache"))
    return few


def test_the_demos_backbone_is_pre_trained_once(
    few_texts: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = resolve_backbone("demo", Engine())
    assert (first.name, first.given) == ("demo", "demo")
    assert first.folder.parent == tmp_path / "cache" / "backbones"
    record = read_pretraining(first.folder)
    assert record is not None
    assert first.folder.name == f"demo-{record['address'][:16]}"
    # Two lines of ours and none of a library's.
    begun, ended = capsys.readouterr().err.splitlines()
    assert begun == f"Pre-training the demo's backbone, once; it is kept in {first.folder}."
    assert ended.startswith("demo backbone: ")
    with monkeypatch.context() as patched:
        patched.setattr(demo_backbone, "pretrain", lambda *_: pytest.fail("trained again"))
        assert resolve_backbone("demo", Engine()) == first
    assert capsys.readouterr().err == ""
    # Other settings, texts or arithmetic are another backbone, beside the first.
    monkeypatch.setattr(demo_backbone, "PRETRAINING", replace(TINY, seed=1))
    other = resolve_backbone("demo", Engine())
    assert other.folder != first.folder
    assert other.address != first.address
    assert first.folder.is_dir()


def test_a_folder_called_demo_is_asked_for_with_its_path(
    few_texts: TrainingData, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").symlink_to(tiny_backbone)
    assert resolve_backbone("./demo", Engine()).folder.resolve() == tiny_backbone.resolve()
