"""Two gloo processes compute what one does on the whole batch, for every trained stage, and go on where it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runners.contract_checks.subject import make_backbone
from runners.parallel.group import Group
from tests.runners.parallel.cases import SUBJECTS, Outcome, first_steps, make_starts, trained
from tests.runners.parallel.processes import on

pytest.importorskip("deepspeed", reason="the extra deepspeed is not installed")

ENGINES: dict[str, dict[str, Any]] = {
    "DDP, whole batch": {},
    "DDP, micro-batches": {"micro_batch": 2},
    "DDP, gradient caching": {"micro_batch": 2, "gradient_cache": True},
    "DDP, recomputed activations": {"micro_batch": 4, "gradient_cache": True, "gradient_checkpointing": True},
    "ZeRO-1, gradient caching": {"micro_batch": 2, "gradient_cache": True, "deepspeed": "zero1"},
    "ZeRO-2, whole batch": {"deepspeed": "zero2"},
    "ZeRO-2, gradient caching": {"micro_batch": 2, "gradient_cache": True, "deepspeed": "zero2"},
    "ZeRO-3, gradient caching": {"micro_batch": 2, "gradient_cache": True, "deepspeed": "zero3"},
}
STOPPED = 3
"""Of six steps: inside the second epoch."""
Course = tuple[Mapping[str, NDArray[np.float32]], Sequence[float], Mapping[str, Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A backbone, and a folder in which later stages' starts stand."""
    scratch = tmp_path_factory.mktemp("together")
    backbone = make_backbone(scratch / "backbone")
    make_starts(backbone, scratch)
    return backbone, scratch


@pytest.fixture(scope="module")
def alone(place: tuple[Path, Path]) -> Outcome:
    """What one process computes."""
    return first_steps(None, *place, {})


def _each_engine(group: Group, backbone: Path, scratch: Path) -> dict[str, Outcome]:
    return {name: first_steps(group, backbone, scratch, engine, _possible(engine)) for name, engine in ENGINES.items()}


def _possible(engine: Mapping[str, Any]) -> list[str]:
    """ZeRO-3 refuses new tokens beside adapters."""
    return [name for name in SUBJECTS if engine.get("deepspeed") != "zero3" or name != "autoregembed-js"]


@pytest.fixture(scope="module")
def together(place: tuple[Path, Path]) -> list[dict[str, Outcome]]:
    """What two processes compute, each as it sees it."""
    found: list[dict[str, Outcome]] = on(2, _each_engine, *place)
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_two_processes_give_the_loss_and_the_gradients_of_one(
    alone: Outcome, together: list[dict[str, Outcome]], engine: str
) -> None:
    for process in together:
        possible = [label for label in alone if label.partition("/")[0] in _possible(ENGINES[engine])]
        assert list(process[engine]) == possible
        assert len(possible) >= 9
        for label in possible:
            terms, gradients = alone[label]
            found_terms, found_gradients = process[engine][label]
            assert found_terms == pytest.approx(terms, rel=1e-5), label
            assert found_gradients.keys() == gradients.keys(), label
            # Relative to the stage's largest: some gradients are nothing but rounding.
            largest = max(float(np.abs(one).max()) for one in gradients.values())
            for name, gradient in gradients.items():
                assert np.abs(found_gradients[name] - gradient).max() < 1e-5 * largest, f"{label}: {name}"


@pytest.fixture(scope="module")
def courses(place: tuple[Path, Path]) -> dict[str, list[Course]]:
    """Trainings that two processes stopped half-way, by how they had divided the work."""
    found: dict[str, list[Course]] = on(2, _stopped, *place)[0]
    return found


NAME = "infonce-inbatch-mean"
DIVIDED: dict[str, dict[str, Any]] = {
    "DDP": {"micro_batch": 4, "gradient_cache": True},
    "zero1": {"deepspeed": "zero1"},
    "zero2": {"micro_batch": 4, "gradient_cache": True, "deepspeed": "zero2"},
    "zero3": {"micro_batch": 4, "gradient_cache": True, "deepspeed": "zero3"},
}


def _stopped(group: Group, backbone: Path, scratch: Path) -> dict[str, list[Course]]:
    found: dict[str, list[Course]] = {}
    for how, engine in DIVIDED.items():
        found[how] = [trained(group, backbone, scratch, NAME, engine, f"stopped-{how}", stop=STOPPED)]
    # Another two processes, which divide the work otherwise, go on from where the first two stopped.
    for how, after in (("zero1", "zero2"), ("zero2", "DDP"), ("DDP", "zero3"), ("zero3", "zero1")):
        folder = f"on-{how}"
        if group.leads:
            (scratch / NAME / f"{folder}-0").mkdir()
            for checkpoint in (scratch / NAME / f"stopped-{how}-0").glob("checkpoint-*"):
                _copy(checkpoint, scratch / NAME / f"{folder}-0" / checkpoint.name)
        group.wait()
        found[f"{how}, {after}"] = [trained(group, backbone, scratch, NAME, DIVIDED[after], folder)]
    return found


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


@pytest.fixture(scope="module")
def uninterrupted(place: tuple[Path, Path]) -> Course:
    return trained(None, *place, NAME, {}, "uninterrupted")


def _equal(found: Course, expected: Course, first: int) -> None:
    weights, losses, costs = found
    assert list(losses) == pytest.approx(list(expected[1])[first:], rel=2e-4)
    for name, weight in expected[0].items():
        # AdamW divides by the size of a gradient, be it rounding: six steps of 1e-3 are what may differ at most.
        assert np.abs(weights[name] - weight).mean() < 2e-5, name
    for what in ("examples_seen", "unique_examples", "optimizer_steps", "real_tokens"):
        assert costs[what] == expected[2][what], what
    assert costs["model_flops"] == pytest.approx(expected[2]["model_flops"])


@pytest.mark.parametrize("how", DIVIDED)
def test_one_process_goes_on_where_two_were_stopped(
    place: tuple[Path, Path], courses: dict[str, list[Course]], uninterrupted: Course, how: str
) -> None:
    assert list(courses[how][0][1]) == pytest.approx(list(uninterrupted[1])[:STOPPED], rel=2e-4)
    _equal(trained(None, *place, NAME, {}, f"stopped-{how}"), uninterrupted, STOPPED)


@pytest.mark.parametrize("how", ["zero1, zero2", "zero2, DDP", "DDP, zero3", "zero3, zero1"])
def test_two_processes_go_on_however_the_state_was_divided(
    courses: dict[str, list[Course]], uninterrupted: Course, how: str
) -> None:
    _equal(courses[how][0], uninterrupted, STOPPED)
