"""What quality is paid with, one entry of a registry per kind of cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from leaderboard.facts import Costs
from leaderboard.figures.axes import amount, data_size, duration
from leaderboard.figures.entries import Entry
from leaderboard.inference import Inference, read_inference
from leaderboard.pareto import Direction


@dataclass(frozen=True, kw_only=True)
class Paid:
    """One cost of all rows that it is known of.

    Attributes:
        name: What the axis says.
        values: The cost by the row's place in the table, mean over seeds.
        direction: Which end is the good one.
        exact: Mark the costs themselves on the axis, not round numbers, where they are few.
        write: How a tick's number is written.
        notes: What the axis says in brackets.
    """

    name: str
    values: Mapping[int, float]
    direction: Direction = Direction.LOWER
    exact: bool = False
    write: Callable[[float], str] = amount
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Kind:
    """How one training cost is read off an account and shown."""

    name: str
    of: Callable[[Costs], float]
    exact: bool = False
    write: Callable[[float], str] = amount


HEADLINE = (
    _Kind("Unique training examples", lambda costs: sum(costs.unique_examples.values()), exact=True),
    _Kind("Training FLOPs", lambda costs: costs.model_flops),
)
OTHERS = (
    _Kind("Training tokens, without padding", lambda costs: costs.real_tokens),
    _Kind("Training time", lambda costs: costs.training_seconds, write=duration),
    _Kind("Peak memory in training", lambda costs: costs.peak_memory_bytes, write=data_size),
)


def training_costs(entries: Sequence[Entry], kinds: Sequence[_Kind]) -> list[Paid]:
    """Return the training costs that anybody has measured."""
    found = [Paid(name=it.name, values=_values(entries, it.of), exact=it.exact, write=it.write) for it in kinds]
    return [paid for paid in found if paid.values]


def _values(entries: Sequence[Entry], of: Callable[[Costs], float]) -> dict[int, float]:
    """Return one cost by row; a run that trained and yet paid nothing was not measured."""
    values = {}
    for entry in entries:
        cost, trained = entry.row.cost(of), entry.row.cost(lambda costs: sum(costs.unique_examples.values()))
        if cost is not None and (cost > 0 or not trained):
            values[entry.at] = cost
    return values


def inference_cost(entries: Sequence[Entry]) -> Paid | None:
    """Return what using the encoders costs: FLOPs where every probed row has them, else the speed that was measured.

    Speeds count only where all were measured alike: on one device, with as many threads, in one precision.
    """
    measured = {entry.at: found for entry in entries if (found := _probes(entry))}
    missing = sum(entry.at not in measured for entry in entries)
    notes = (f"{missing} not measured",) if missing else ()
    if not measured:
        return None
    flops = {
        at: fmean(known)
        for at, found in measured.items()
        if len(known := [it.model_flops_per_text for it in found if it.model_flops_per_text is not None]) == len(found)
    }
    if len(flops) == len(measured):
        return Paid(name="FLOPs to embed a text", values=flops, notes=notes)
    conditions = {(it.device, it.threads, it.precision, it.texts) for found in measured.values() for it in found}
    if len(conditions) > 1:
        return None
    speeds = {at: fmean(it.sentences_per_second for it in found) for at, found in measured.items()}
    return Paid(name="Sentences embedded per second", values=speeds, direction=Direction.HIGHER, notes=notes)


def _probes(entry: Entry) -> list[Inference]:
    """Return the probe of every seed; nothing unless all were probed."""
    found = [probe for record in entry.row.records if (probe := read_inference(record))]
    return found if len(found) == len(entry.row.records) else []
