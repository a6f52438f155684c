"""Reference scores: computed once before a stage, kept by row content, charged once, shared by all who need them."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.order import example_id
from genembench.problem import Problem
from methods.contract import Example, Stage, Trainable
from methods.registry import discover
from methods.stages.align import Align, AlignBatch
from runners import preparation
from runners.addresses import preparation_address
from runners.engine import Engine
from runners.interrupt import Interrupted
from runners.meter import total
from runners.outcomes import StageData, StageOutcome, attributed, spent
from runners.preparation import TENSORS, prepare
from runners.stages import FromFiles, train_stage
from tests.conftest import Command, sentence

ROWS = 10
CHUNK = 4


@pytest.fixture(scope="module")
def data() -> StageData:
    source = random.Random(3)
    rows = tuple(
        {
            "query": sentence(source, words=5 * i),
            "positive": sentence(source),
            "negative": [sentence(source), sentence(source, words=20)][: 1 + i % 2],
        }
        for i in range(ROWS)
    )
    return StageData("triplets", tuple(example_id("triplets", row) for row in rows), rows)


@dataclass(frozen=True)
class World:
    """Everything that a preparation takes; `prepare` computes it or takes what is there."""

    backbone: Path
    stages: Path
    data: StageData

    def stage(self, name: str = "autoregembed-align-only", **hyper: str) -> Align:
        values = {"hard_negatives": "2", "align_batch_size": "4", "align_epochs": "1", "align_learning_rate": "1e-3"}
        *_, stage = discover().get(name).create("small", values | hyper).stages()
        assert isinstance(stage, Align)
        return stage

    def trained(self, stage: Stage | None = None) -> Trainable:
        torch.manual_seed(0)
        return (stage or self.stage()).build(FromFiles(self.backbone, self.backbone, Engine()))

    def prepare(
        self,
        payer: str = "run-a",
        *,
        data: StageData | None = None,
        engine: Engine | None = None,
        address: str = "here",
        outcomes: list[StageOutcome] | None = None,
    ) -> tuple[tuple[Example, ...], StageOutcome]:
        outcomes = [] if outcomes is None else outcomes
        rows = prepare(
            self.stage(),
            self.trained(),
            address,
            label="test",
            data=data or self.data,
            engine=engine or Engine(),
            stages=self.stages,
            payer=payer,
            outcomes=outcomes,
        )
        (outcome,) = outcomes
        return rows, outcome

    def train(self, payer: str, address: str, **hyper: str) -> list[StageOutcome]:
        outcomes: list[StageOutcome] = []
        train_stage(
            self.stage(**hyper),
            address,
            label="test",
            start=FromFiles(self.backbone, self.backbone, Engine()),
            data=self.data,
            engine=Engine(),
            seed=0,
            stages=self.stages,
            payer=payer,
            outcomes=outcomes,
            preparation="here",
        )
        return outcomes


@pytest.fixture
def world(tiny_backbone: Path, tmp_path: Path, data: StageData, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(preparation, "EXAMPLES_AT_ONCE", CHUNK)
    return World(tiny_backbone, tmp_path, data)


Prepare = Callable[[Align, Trainable, Sequence[Example]], Mapping[str, Tensor]]


def instead(monkeypatch: pytest.MonkeyPatch, change: Callable[[Prepare], Prepare]) -> None:
    monkeypatch.setattr(Align, "prepare", change(Align.prepare))


def counting(monkeypatch: pytest.MonkeyPatch, dies_at: int | None = None) -> list[int]:
    """Note the size of every chunk; with ``dies_at`` the process is killed in that one."""
    sizes: list[int] = []

    def change(own: Prepare) -> Prepare:
        def noted(self: Align, trained: Trainable, examples: Sequence[Example]) -> Mapping[str, Tensor]:
            if len(sizes) == dies_at:
                raise KeyboardInterrupt
            sizes.append(len(examples))
            return own(self, trained, examples)

        return noted

    instead(monkeypatch, change)
    return sizes


def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(own: Prepare) -> Prepare:
        def refuse(self: Align, trained: Trainable, examples: Sequence[Example]) -> Mapping[str, Tensor]:
            raise AssertionError("it stands already")

        return refuse

    instead(monkeypatch, change)


def scores(rows: Sequence[Example]) -> Tensor:
    return torch.stack([row["reference_logp"] for row in rows])


def same(one: StageOutcome, other: StageOutcome) -> None:
    """Equal costs but for the clock and the memory, which are the machine's."""
    for name in ("unique_examples", "examples_seen", "real_tokens", "padded_tokens", "optimizer_steps"):
        assert getattr(one.costs, name) == getattr(other.costs, name), name
    assert one.costs.model_flops == pytest.approx(other.costs.model_flops)


# ------------------------------------------------------------------------------------- computing and keeping


def test_scores_are_computed_in_chunks_and_belong_to_their_rows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = counting(monkeypatch)
    rows, _ = world.prepare()
    assert sizes == [4, 4, 2]
    for row, plain in zip(rows, world.data.rows, strict=True):
        assert {key: value for key, value in row.items() if key != "reference_logp"} == plain
    monkeypatch.undo()
    # One by one, in the opposite order, none of them padded.
    stage, trained = world.stage(), world.trained()
    trained.module.eval()
    with torch.no_grad():
        alone = [stage.prepare(trained, [row])["reference_logp"][0] for row in world.data.rows[::-1]]
    torch.testing.assert_close(scores(rows), torch.stack(alone[::-1]), atol=1e-3, rtol=1e-5)
    assert scores(rows).shape == (ROWS, 3)
    # Every second triplet has one negative only.
    assert (scores(rows)[:, 2] == 0).tolist() == [True, False] * 5
    assert len(scores(rows)[:, :2].unique()) == 2 * ROWS


def test_a_micro_batch_bounds_the_chunks_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = counting(monkeypatch)
    world.prepare(engine=Engine(micro_batch=3))
    assert sizes == [3, 3, 3, 1]


def test_what_is_kept(world: World) -> None:
    rows, outcome = world.prepare()
    folder = world.stages / "prepared-here"
    assert outcome.weights == folder
    assert sorted(path.name for path in world.stages.iterdir()) == ["prepared-here"]
    assert sorted(path.name for path in folder.iterdir()) == ["prepared.json", TENSORS]
    stored = load_file(folder / TENSORS)
    assert stored.keys() == {"row_ids", "reference_logp"}
    assert torch.equal(stored["reference_logp"], scores(rows))
    assert [bytes(one.tolist()).hex() for one in stored["row_ids"]] == list(world.data.ids)


def test_passes_are_charged(world: World) -> None:
    _, outcome = world.prepare()
    stage, trained = world.stage(), world.trained()
    batch: AlignBatch = stage.collate(world.data.rows, trained.tokenizer)
    # The query once through the encoder; behind its 5 vectors each document, whose last token is not fed.
    expected = sum(map(len, batch.queries)) + sum(5 + len(target) - 1 for target in batch.targets)
    costs = outcome.costs
    assert costs.real_tokens == expected
    # Rows go packed: nothing is padded.
    assert costs.padded_tokens == expected
    assert costs.model_flops > 2 * 20_000 * expected  # the tiny backbone has 20 thousand weights in its layers
    assert costs.training_seconds > 0
    assert costs.peak_memory_bytes > 0
    assert (costs.unique_examples, costs.examples_seen, costs.optimizer_steps) == ({"triplets": ROWS}, {}, 0)
    assert (outcome.name, outcome.reused) == ("align: preparation", False)


def test_it_is_read_again_and_not_computed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, first = world.prepare("run-a")
    refusing(monkeypatch)
    for payer, reused in (("run-a", False), ("run-b", True)):
        again, outcome = world.prepare(payer)
        assert torch.equal(scores(again), scores(rows))
        assert outcome.reused is reused
        assert outcome.costs == first.costs
    # Another address is another preparation.
    with pytest.raises(AssertionError, match="it stands already"):
        world.prepare(address="elsewhere")


def test_the_module_trains_on_as_it_was(world: World) -> None:
    stage = world.stage(tuning="lora", lora_dropout="0.5")
    trained = world.trained(stage)
    module: Any = trained.module
    with torch.no_grad():
        # A fresh adapter's B is zero and would hide every draw of dropout.
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    before = {name: part.training for name, part in module.named_modules()}
    assert {part.training for part in module.modules() if isinstance(part, torch.nn.Dropout)} == {True}
    found: list[StageOutcome] = []
    rows = [
        prepare(
            stage,
            trained,
            address,
            label="test",
            data=world.data,
            engine=Engine(),
            stages=world.stages,
            payer="run",
            outcomes=found,
        )
        for address in ("one", "two")
    ]
    # Dropout was off: two computations agree.
    assert torch.equal(scores(rows[0]), scores(rows[1]))
    assert {name: part.training for name, part in module.named_modules()} == before
    assert all(parameter.grad is None for parameter in module.parameters())


# ------------------------------------------------------------------------------------- rows and files that are others


def test_other_rows_are_refused(world: World) -> None:
    world.prepare()
    rows, ids = world.data.rows, world.data.ids
    swapped = (ids[1], ids[0], *ids[2:])
    changed = {**rows[3], "positive": rows[3]["positive"] + "!"}
    others = {
        "2 of 10 row ids": StageData("triplets", swapped, (rows[1], rows[0], *rows[2:])),
        "9 of 9 row ids": StageData("triplets", ids[:9], rows[:9]),
        "1 of 10 row ids": StageData(
            "triplets", (*ids[:3], example_id("triplets", changed), *ids[4:]), (*rows[:3], changed, *rows[4:])
        ),
    }
    for message, data in others.items():
        with pytest.raises(Problem, match=f"was computed for other rows: {message} do not match"):
            world.prepare(data=data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: _edit(folder / TENSORS), "are not those that were computed there"),
        (lambda folder: _rewrite(folder / TENSORS), "are not those that were computed there"),
        (lambda folder: (folder / TENSORS).unlink(), "are not those that were computed there"),
        (lambda folder: (folder / "prepared.json").write_text("{"), r"cannot be read: .*\n.*it is computed again"),
        (lambda folder: (folder / "prepared.json").unlink(), r"cannot be read: .*\n.*it is computed again"),
    ],
    ids=["a byte", "a score", "gone", "half a record", "no record"],
)
def test_a_changed_file_is_refused_and_computed_again_once_deleted(
    world: World, damage: Callable[[Path], object], message: str
) -> None:
    rows, _ = world.prepare()
    damage(world.stages / "prepared-here")
    with pytest.raises(Problem, match=message):
        world.prepare()
    shutil.rmtree(world.stages / "prepared-here")
    again, _ = world.prepare()
    assert torch.equal(scores(again), scores(rows))


def _edit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _rewrite(file: Path) -> None:
    tensors = load_file(file)
    tensors["reference_logp"][4, 0] += 1
    save_file(tensors, file)


# ------------------------------------------------------------------------------------- killed in the middle


def test_a_killed_computation_goes_on_where_it_last_saved(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, expected = World(world.backbone, world.stages / "whole", world.data).prepare()
    with monkeypatch.context() as patch:
        sizes = counting(patch, dies_at=2)
        with pytest.raises(KeyboardInterrupt):
            world.prepare(engine=Engine(checkpoint_seconds=0))
        assert sizes == [4, 4]
    partial = world.stages / ".partial-prepared-here"
    assert len(load_file(partial / TENSORS)["reference_logp"]) == 8
    # What a process leaves that is killed while it writes.
    (partial / f".{TENSORS}.1234.tmp").write_bytes(b"half")
    sizes = counting(monkeypatch)
    rows, outcome = world.prepare()
    assert sizes == [2]
    assert torch.equal(scores(rows), scores(whole))
    same(outcome, expected)
    assert not partial.exists()


def test_what_was_not_saved_is_computed_again_and_charged_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _, expected = World(world.backbone, world.stages / "whole", world.data).prepare()
    with monkeypatch.context() as patch:
        counting(patch, dies_at=2)
        with pytest.raises(KeyboardInterrupt):
            world.prepare(engine=Engine(checkpoint_seconds=1e9))
    sizes = counting(monkeypatch)
    _, outcome = world.prepare()
    assert sizes == [4, 4, 2]
    same(outcome, expected)


def test_a_request_to_stop_is_heard_after_a_chunk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = counting(monkeypatch)
    monkeypatch.setattr("runners.interrupt._asked", True)
    for done in (4, 8):
        charged: list[StageOutcome] = []
        with pytest.raises(Interrupted, match=f"stopped on request after preparing {done} examples"):
            world.prepare(outcomes=charged)
        assert [(o.name, o.costs.unique_examples) for o in charged] == [("align: preparation", {"triplets": done})]
    # A request that comes during the last chunk finds all of it done.
    world.prepare()
    assert sizes == [4, 4, 2]


def test_what_a_killed_computation_saved_is_of_its_own_rows_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        counting(patch, dies_at=1)
        with pytest.raises(KeyboardInterrupt):
            world.prepare(engine=Engine(checkpoint_seconds=0))
    reversed_ = StageData("triplets", world.data.ids[::-1], world.data.rows[::-1])
    with pytest.raises(Problem, match="was computed for other rows: 4 of 4 row ids do not match"):
        world.prepare(data=reversed_)
    (world.stages / ".partial-prepared-here" / TENSORS).write_bytes(b"nothing")
    with pytest.raises(Problem, match="cannot be read"):
        world.prepare()


# ------------------------------------------------------------------------------------- what prepare() may not return


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda own: {"reference_logp": own[:-1]}, r"returned reference_logp \[3, 3\] of 4 examples"),
        (lambda own: {"reference_logp": torch.cat([own, own])}, r"returned reference_logp \[8, 3\] of 4 examples"),
        (lambda own: {"reference_logp": own.index_fill(0, torch.tensor(2), float("nan"))}, "finite: False"),
        (lambda own: {"reference_logp": own.index_fill(1, torch.tensor(0), float("-inf"))}, "finite: False"),
        (lambda own: {"row_ids": own}, "its name neither row_ids nor a field of the row"),
        (lambda own: {"positive": own}, r"nor a field of the row \(query, positive, negative\)"),
    ],
    ids=["too few", "too many", "nan", "infinite", "taken", "a field"],
)
def test_what_is_no_preparation_is_refused(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    returned: Callable[[Tensor], Mapping[str, Tensor]],
    message: str,
) -> None:
    def change(own: Prepare) -> Prepare:
        return lambda self, trained, examples: returned(own(self, trained, examples)["reference_logp"])

    instead(monkeypatch, change)
    charged: list[StageOutcome] = []
    with pytest.raises(ValueError, match=message):
        world.prepare(outcomes=charged)
    assert not (world.stages / "prepared-here").exists()
    # What it did is charged all the same: nothing of it was kept.
    assert [one.name for one in charged] == ["align: preparation"]


# ------------------------------------------------------------------------------------- who pays


def _summed(outcomes: Sequence[StageOutcome]) -> tuple[int, int]:
    """Tokens attributed and tokens spent."""
    return total(attributed(outcomes)).real_tokens, total(spent(outcomes)).real_tokens


def test_two_runs_share_a_preparation_that_one_of_them_paid(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.train("run-a", "sigmoid")
    refusing(monkeypatch)
    second = world.train("run-b", "steeper", beta="0.3")
    assert [(one.name, one.reused) for one in first] == [("align: preparation", False), ("align", False)]
    assert [(one.name, one.reused) for one in second] == [("align: preparation", True), ("align", False)]
    shared, align = first[0].costs.real_tokens, first[1].costs.real_tokens
    assert second[0].costs == first[0].costs
    assert second[1].costs.real_tokens == align
    assert shared > 0
    assert _summed(first) == (shared + align, shared + align)
    assert _summed(second) == (shared + align, align)
    # Once more, from what stands: the same, however often, and for somebody else nothing is left to pay.
    for payer, expected in (("run-a", first), ("run-b", second)):
        again = world.train(payer, expected[1].address, beta="0.3" if payer == "run-b" else "0.1")
        assert [(one.name, one.reused, one.costs) for one in again] == [
            (one.name, one.reused, one.costs) for one in expected
        ]
    third = world.train("run-c", "steeper", beta="0.3")
    assert [one.reused for one in third] == [True, True]
    assert _summed(third) == (shared + align, 0)


def test_scores_that_were_read_train_as_those_that_were_computed(world: World) -> None:
    world.train("run-a", "one")
    world.train("run-b", "other")
    losses = [
        [json.loads(line)["loss"] for line in (world.stages / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "other")
    ]
    assert len(losses[0]) == 3
    assert losses[0] == losses[1]


def test_a_trained_stage_stands_without_its_preparation(world: World) -> None:
    first = world.train("run-a", "one")
    shutil.rmtree(world.stages / "prepared-here")
    again = world.train("run-a", "one")
    assert [one.to_json() for one in again] == [one.to_json() for one in first]
    assert not (world.stages / "prepared-here").exists()


def test_a_training_without_its_scores_is_an_error(world: World) -> None:
    stage, trained = world.stage(), world.trained()
    with pytest.raises(ValueError, match="has no reference scores"):
        trained.module(stage.collate(world.data.rows[:2], trained.tokenizer))


# ------------------------------------------------------------------------------------- under which address

FACTS: dict[str, Any] = {"start": "backbone", "data": "ids", "seed": 0, "precision": "float32", "source": "code"}


def _address(name: str = "autoregembed", overrides: Mapping[str, str] | None = None, **facts: Any) -> str | None:
    *_, stage = discover().get(name).create("small", overrides or {}).stages()
    return preparation_address(stage, **(FACTS | facts))


@pytest.mark.parametrize("name", ["infonce-mean", "autoregembed-compress-only", "autoregembed-kl", "autoregembed-js"])
def test_what_declares_nothing_has_no_preparation(name: str) -> None:
    assert _address(name) is None
    *_, stage = discover().get(name).create("small").stages()
    if not isinstance(stage, Align):
        with pytest.raises(TypeError, match=rf"stage {stage.name} declares a preparation: it must define prepare"):
            stage.prepare(Trainable(torch.nn.Identity(), None), [])  # type: ignore[arg-type]


@pytest.mark.parametrize("changed", [{"start": "other"}, {"data": "other"}, {"seed": 1}, {"precision": "bfloat16"}])
def test_the_address_follows_start_rows_seed_and_precision(changed: dict[str, Any]) -> None:
    assert _address(**changed) != _address()
    assert _address(source="other") != _address()


@pytest.mark.parametrize("key", ["compressed_tokens", "max_length", "max_target_length", "prompt", "hard_negatives"])
def test_the_address_follows_what_makes_a_score(key: str) -> None:
    assert _address(overrides={key: "7"}) != _address()


@pytest.mark.parametrize(
    "overrides",
    [
        {"reference_sign": "released"},
        {"beta": "7"},
        {"temperature": "7"},
        {"align_learning_rate": "7"},
        {"align_batch_size": "7"},
        {"align_epochs": "7"},
        {"tuning": "lora"},
    ],
    ids=str,
)
def test_the_address_follows_nothing_else(overrides: dict[str, str]) -> None:
    assert _address(overrides=overrides) == _address()
    assert _address("autoregembed-log-sigmoid") == _address()


# ------------------------------------------------------------------------------------- from end to end

METHODS = ("autoregembed", "autoregembed-log-sigmoid", "autoregembed-compress-only", "autoregembed-align-only")


@dataclass(frozen=True)
class Comparison:
    """A comparison of four siblings; tests read what it left, or go on in a copy."""

    genembench: Command
    options: Mapping[str, str | Path]
    output: Path

    def run(self, *more: str, methods: Sequence[str] = METHODS) -> None:
        options = {**self.options, "methods": ",".join(methods), "output": self.output}
        result = self.genembench("compare", *(f"--{name}={value}" for name, value in options.items()), *more)
        assert result.returncode == 0, result.stderr
        assert f"{len(methods)} of {len(methods)} runs done" in result.stdout

    def records(self) -> dict[str, dict[str, Any]]:
        """Every run's record by the name of its method; of several runs of one method the last."""
        found = [json.loads(file.read_text()) for file in self.output.glob("runs/*/run.json")]
        return {record["method"]["name"]: record for record in sorted(found, key=lambda record: str(record["started"]))}

    def stages(self) -> dict[str, int]:
        return {
            str(path.relative_to(self.output)): path.stat().st_mtime_ns
            for path in (self.output / "stages").rglob("*")
            if path.is_file()
        }


@pytest.fixture(scope="module")
def compared(
    genembench: Command,
    tiny_backbone: Path,
    tiny_triplets: Path,
    tiny_instruct: Path,
    tiny_sts: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Comparison:
    options: dict[str, str | Path] = {
        "backbone": tiny_backbone,
        "triplets": tiny_triplets,
        "instruct": tiny_instruct,
        "budget": "triplets=16,instruct=16",
        "preset": "small",
        "data-dir": tiny_sts,
        "tasks": "STS17",
        "device": "cpu",
    }
    comparison = Comparison(genembench, options, tmp_path_factory.mktemp("prepared") / "out")
    comparison.run()
    return comparison


def _stages(record: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(stage["name"], stage["reused"]) for stage in record["costs"]["stages"]]


def test_siblings_share_compression_and_preparation(compared: Comparison) -> None:
    records = compared.records()
    assert {name: _stages(record) for name, record in records.items()} == {
        "autoregembed": [("compress", False), ("align: preparation", False), ("align", False)],
        "autoregembed-log-sigmoid": [("compress", True), ("align: preparation", True), ("align", False)],
        "autoregembed-compress-only": [("compress", True)],
        "autoregembed-align-only": [("align: preparation", False), ("align", False)],
    }
    # Trained once: one folder for each address, three alignments, one compression, two sets of scores.
    addresses = {s["address"]: s["name"] for record in records.values() for s in record["costs"]["stages"]}
    assert sorted(addresses.values()) == ["align"] * 3 + ["align: preparation"] * 2 + ["compress"]
    folders = sorted(path.name for path in (compared.output / "stages").iterdir())
    assert folders == sorted(
        f"prepared-{address}" if name == "align: preparation" else address for address, name in addresses.items()
    )


def test_what_is_shared_is_attributed_to_all_and_spent_once(compared: Comparison) -> None:
    records = compared.records()
    for record in records.values():
        stages = record["costs"]["stages"]
        for field in ("real_tokens", "padded_tokens", "model_flops", "training_seconds", "optimizer_steps"):
            assert record["costs"]["attributed"][field] == pytest.approx(sum(s["costs"][field] for s in stages))
            own = [s["costs"][field] for s in stages if not s["reused"]]
            assert record["costs"]["spent"][field] == pytest.approx(sum(own))
    once = {s["address"]: s["costs"] for record in records.values() for s in record["costs"]["stages"]}
    paid = [record["costs"]["spent"] for record in records.values()]
    assert sum(costs["real_tokens"] for costs in paid) == sum(costs["real_tokens"] for costs in once.values())
    assert sum(costs["model_flops"] for costs in paid) == pytest.approx(sum(c["model_flops"] for c in once.values()))
    assert all(costs["real_tokens"] > 0 and costs["model_flops"] > 0 for costs in once.values())
    # Examples are those of the budget, and what is prepared is not seen in training.
    both = records["autoregembed"]["costs"]["attributed"]
    assert both["unique_examples"] == {"instruct": 16, "triplets": 16}
    assert both["examples_seen"] == {"instruct": 2 * 16, "triplets": 16}
    with (compared.output / "costs.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert rows.keys() == set(METHODS)


def test_a_second_time_nothing_is_done(compared: Comparison) -> None:
    before, table = compared.stages(), (compared.output / "leaderboard.csv").read_bytes()
    compared.run()
    assert compared.stages() == before
    assert (compared.output / "leaderboard.csv").read_bytes() == table


def test_the_released_sign_shares_the_papers_compression_and_preparation(compared: Comparison, tmp_path: Path) -> None:
    copy = replace(compared, output=Path(shutil.copytree(compared.output, tmp_path / "copy")))
    before, paper = copy.stages(), copy.records()["autoregembed"]
    copy.run("--set=autoregembed.reference_sign=released", methods=["autoregembed"])
    released = copy.records()["autoregembed"]
    assert released["method"]["config"]["reference_sign"] == "released"
    assert _stages(released) == [("compress", True), ("align: preparation", True), ("align", False)]
    was, now = ([s["address"] for s in record["costs"]["stages"]] for record in (paper, released))
    assert was[:2] == now[:2]
    assert was[2] != now[2]
    # Nothing that stood was touched, and only the new alignment was added.
    after = copy.stages()
    assert {file: time for file, time in after.items() if file in before} == before
    assert {Path(file).parts[1] for file in after.keys() - before.keys()} == {now[2]}


def test_an_alignment_begins_at_its_reference(compared: Comparison) -> None:
    """θ is the reference in the first step: every S2 is -σ(0), whatever the sign of S1's argument."""
    records = compared.records()
    for name in ("autoregembed", "autoregembed-align-only"):
        folder = compared.output / "stages" / records[name]["costs"]["stages"][-1]["address"]
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert lines[0]["diagnostic/S2"] == pytest.approx(-0.5, abs=1e-5)
        names = {re.sub(r"^diagnostic/", "", key) for key in lines[0] if key.startswith("diagnostic/")}
        logp = {"logp/query_to_positive", "logp/positive_to_positive", "logp/query_to_negative"}
        assert names == {"S1", "S2", *logp}
        for line in lines:
            assert -1 < line["diagnostic/S1"] <= -0.5
            assert -1 < line["diagnostic/S2"] < 0
            assert all(line[f"diagnostic/{one}"] < 0 for one in logp)
