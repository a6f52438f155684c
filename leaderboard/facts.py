"""The parts of a run record, one dataclass per object of ``run.json`` (schema 1), fields named as there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """The method that ran, with its resolved hyper-parameters."""

    name: str
    family: str
    preset: str
    config: Mapping[str, Any]
    needs: tuple[str, ...]
    source: str


@dataclass(frozen=True, kw_only=True)
class BackboneFacts:
    """The backbone the run started from; the address hashes its files."""

    name: str
    given: str
    address: str
    parameters: int


@dataclass(frozen=True, kw_only=True)
class BudgetFacts:
    """What the run was allowed to consume; nothing was asked of training-free and finished rows."""

    label: str
    asked: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class BenchmarkFacts:
    """What the run was measured on, in the benchmark's own task order."""

    name: str
    address: str
    tasks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The examples of one kind that the run consumed."""

    path: str
    address: str
    unique: int
    read: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """One full account; which of the two it is (attributed or spent) is said by where it stands."""

    unique_examples: Mapping[str, int]
    examples_seen: Mapping[str, int]
    real_tokens: int
    padded_tokens: int
    optimizer_steps: int
    model_flops: float
    training_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """One stage the run stands on; reused when another run of the comparison had trained it."""

    name: str
    address: str
    reused: bool
    costs: Costs


@dataclass(frozen=True, kw_only=True)
class EvaluationCosts:
    """What measuring cost, never counted as training; a finished model's passes are not ours to count."""

    seconds: float
    texts: int | None
    tokens: int | None
    model_flops: float | None


@dataclass(frozen=True, kw_only=True)
class RunCosts:
    """Both accounts of a run: attributed is what the method costs, spent is what this comparison paid."""

    attributed: Costs
    spent: Costs
    stages: tuple[StageFacts, ...]
    evaluation: EvaluationCosts | None


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """One score, already on the 0-100 scale."""

    task: str
    subset: str
    split: str
    metric: str
    score: float
    pairs: int


@dataclass(frozen=True, kw_only=True)
class NamedAverage:
    """An average that the benchmark names, over the tasks that it lists."""

    name: str
    tasks: tuple[str, ...]
    score: float
