"""What a stage is given and what it leaves for the record: its examples, its weights, its costs and who paid them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from methods.contract import Example
from runners.meter import Costs


@dataclass(frozen=True)
class StageData:
    """The examples of one kind that a run may consume, in order."""

    kind: str
    ids: tuple[str, ...]
    rows: tuple[Example, ...]


@dataclass(frozen=True)
class StageOutcome:
    """A trained stage: its weights and their `files_hash`, what it cost, and whether another run paid for it."""

    name: str
    address: str
    weights: Path
    content: str
    costs: Costs
    reused: bool

    def to_json(self) -> dict[str, Any]:
        """Return the stage as the record writes it."""
        return {"name": self.name, "address": self.address, "reused": self.reused, "costs": self.costs.to_json()}


def attributed(outcomes: Sequence[StageOutcome]) -> list[Costs]:
    """Costs of every stage the run stands on: what the method costs."""
    return [outcome.costs for outcome in outcomes]


def spent(outcomes: Sequence[StageOutcome]) -> list[Costs]:
    """Costs of the stages that this run trained itself: what this comparison paid."""
    return [outcome.costs for outcome in outcomes if not outcome.reused]
