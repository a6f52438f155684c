"""Work before a stage: what it needs to know of each example, computed once, kept by row content, and charged.

It stands in ``stages/prepared-ADDRESS``: the tensors with the id of each row (`benchmarks.order.example_id`, a hash of
its content), and what it cost. Stages of other runs with the same start, rows and declaration take it from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from genembench.problem import Problem
from leaderboard.files import write_atomically
from methods.contract import Example, Stage, Trainable
from methods.encoder import files_hash
from methods.parts.ledger import Ledger, charging
from methods.parts.modes import evaluating
from runners import interrupt
from runners.engine import Engine
from runners.interrupt import Interrupted
from runners.meter import Costs, Stopwatch, peak_memory, reset_peak_memory
from runners.outcomes import StageData, StageOutcome
from runners.output import write_json
from runners.parallel.group import current
from runners.progress import Progress

EXAMPLES_AT_ONCE = 256
TENSORS = "prepared.safetensors"
ROW_IDS = "row_ids"


def prepare(
    stage: Stage,
    trained: Trainable,
    address: str,
    *,
    label: str,
    data: StageData,
    engine: Engine,
    stages: Path,
    payer: str,
    outcomes: list[StageOutcome],
) -> tuple[Example, ...]:
    """Compute the stage's preparation into ``stages/prepared-ADDRESS`` or read it; return rows that carry it.

    A killed computation goes on where it last saved. The outcome is appended to ``outcomes``, that of a computation
    that fails too, with what it cost until then.

    Raises:
        Problem: what stands there is of other rows, or was changed.
    """
    group, final = current(), stages / f"prepared-{address}"
    if group.tell(final.exists()):
        outcomes.append(_reuse(stage, address, final, payer))
    else:
        partial = stages / f".partial-prepared-{address}"
        partial.mkdir(parents=True, exist_ok=True)
        work = _Work(stage, trained, partial, data, engine)
        try:
            work.go(f"{label}: {stage.name}, preparation")
        except Exception:
            outcomes.append(StageOutcome(_name(stage), address, partial, "", work.costs, reused=False))
            raise
        content = ""
        if group.leads:
            content = files_hash(partial, [TENSORS])
            record = {"stage": stage.name, "address": address, "content": content, "payer": payer}
            write_json(partial / "prepared.json", record | {"costs": work.costs.to_json()})
            partial.replace(final)
        content = group.tell(content)
        outcomes.append(StageOutcome(_name(stage), address, final, content, work.costs, reused=False))
    tensors = _read(final / TENSORS, data.ids)
    return tuple({**row, **{name: values[i] for name, values in tensors.items()}} for i, row in enumerate(data.rows))


def _name(stage: Stage) -> str:
    return f"{stage.name}: preparation"


def _reuse(stage: Stage, address: str, folder: Path, payer: str) -> StageOutcome:
    try:
        record = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
        costs, expected, paid_by = Costs.from_json(record["costs"]), record["content"], record["payer"]
    except (OSError, ValueError, KeyError) as error:
        raise Problem(
            f"the preparation of stage {stage.name} in {folder} cannot be read: {error}",
            "Delete the folder; it is computed again.",
        ) from error
    if files_hash(folder, [TENSORS]) != expected:
        raise Problem(
            f"the tensors in {folder} are not those that were computed there",
            "Somebody changed them. Delete the folder; they are computed again.",
        )
    return StageOutcome(_name(stage), address, folder, expected, costs, reused=paid_by != payer)


class _Work:
    """Computing a preparation, chunk by chunk, from where an earlier process saved it."""

    def __init__(self, stage: Stage, trained: Trainable, folder: Path, data: StageData, engine: Engine) -> None:
        self.stage = stage
        self.trained = trained
        self.file = folder / TENSORS
        self.data = data
        self.engine = engine
        self.group = current()
        self.costs = Costs()
        self.tensors: dict[str, Tensor] = {}
        self.done = 0
        if self.file.exists():
            self.costs, self.tensors = _resume(self.file, data.ids)
            self.done = len(next(iter(self.tensors.values())))

    def go(self, label: str) -> None:
        """Compute what is not there, and save it all."""
        rows, device, group = self.data.rows, self.engine.torch_device, self.group
        # Also has all of them read what an earlier process saved before the first one may move it.
        if len(set(group.gather(self.done))) > 1:
            raise Problem(
                f"processes find different parts of the preparation done in {self.file.parent}",
                "Its folder must be one that all of them see; start again.",
            )
        size = min(EXAMPLES_AT_ONCE, self.engine.micro_batch or EXAMPLES_AT_ONCE) * group.world
        before, ledger, watch = self.costs, Ledger(), Stopwatch(device)
        last = time.monotonic()
        with Progress(label, len(rows), "example", quiet=not group.leads) as bar, evaluating(self.trained.module):
            bar.begin(len(rows), self.done)
            if device.type == "cuda" and self.done < len(rows):
                # What only a GPU's first pass pays (kernel selection, allocation) is not charged.
                with charging(None):
                    self._chunk(rows[self.done : self.done + size])
            reset_peak_memory(device)
            while self.done < len(rows):
                with watch.running(), charging(ledger):
                    found = self._shared(rows[self.done : self.done + size])
                known = self.tensors
                self.tensors = {n: torch.cat([known[n], values]) if known else values for n, values in found.items()}
                self.done = min(self.done + size, len(rows))
                facts = group.gather((ledger, peak_memory(device), interrupt.asked(), time.monotonic() - last))
                self.costs = Costs(
                    unique_examples={self.stage.data: self.done},
                    real_tokens=before.real_tokens + sum(one.real_tokens for one, *_ in facts),
                    padded_tokens=before.padded_tokens + sum(one.padded_tokens for one, *_ in facts),
                    model_flops=before.model_flops + sum(one.model_flops for one, *_ in facts),
                    training_seconds=before.training_seconds + watch.seconds,
                    peak_memory_bytes=max(before.peak_memory_bytes, *(peak for _, peak, *_ in facts)),
                )
                bar.to(self.done)
                whole = self.done == len(rows)
                stop = any(asked for *_, asked, _ in facts)
                if whole or stop or facts[0][3] >= self.engine.checkpoint_seconds:
                    if group.leads:
                        self._save()
                    last = time.monotonic()
                if stop and not whole:
                    raise Interrupted(f"stopped on request after preparing {self.done} examples; run it again to go on")

    def _shared(self, rows: Sequence[Example]) -> dict[str, Tensor]:
        """Compute a part of the rows on each process; every process gets all of it."""
        rank, world = self.group.rank, self.group.world
        share = -(-len(rows) // world)
        own = rows[rank * share : (rank + 1) * share]
        if own:
            found = self._chunk(own)
        else:
            # Nothing is left for this process, but it has to know what the others' tensors look like.
            with charging(None):
                found = {name: values[:0] for name, values in self._chunk(rows[:1]).items()}
        return {name: torch.cat(self.group.gather_rows(values)) for name, values in found.items()}

    def _chunk(self, rows: Sequence[Example]) -> dict[str, Tensor]:
        device = self.engine.torch_device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.engine.precision == "bfloat16"):
            found = self.stage.prepare(self.trained, rows)
        tensors = {name: values.float().cpu().contiguous().clone() for name, values in found.items()}
        for name, values in tensors.items():
            if len(values) != len(rows) or not bool(values.isfinite().all()) or name in {ROW_IDS, *rows[0]}:
                raise ValueError(
                    f"stage {self.stage.name}: prepare() returned {name} {list(values.shape)} of {len(rows)} examples, "
                    f"finite: {bool(values.isfinite().all())}; it must be finite, one slice an example, and its name "
                    f"neither {ROW_IDS} nor a field of the row ({', '.join(rows[0])})"
                )
        return tensors

    def _save(self) -> None:
        tensors = {ROW_IDS: _as_tensor(self.data.ids[: self.done]), **self.tensors}
        write_atomically(self.file, save(tensors, metadata={"costs": json.dumps(self.costs.to_json())}))


def _resume(file: Path, ids: Sequence[str]) -> tuple[Costs, dict[str, Tensor]]:
    try:
        with safe_open(file, "pt") as stored:
            costs = Costs.from_json(json.loads(stored.metadata()["costs"]))
            count = len(stored.get_tensor(ROW_IDS))
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise _unreadable(file, error) from error
    return costs, _read(file, ids[:count])


def _read(file: Path, ids: Sequence[str]) -> dict[str, Tensor]:
    """Read the tensors of exactly these rows, in this order."""
    try:
        tensors = load_file(file)
        found = tensors.pop(ROW_IDS)
    except (OSError, SafetensorError, KeyError) as error:
        raise _unreadable(file, error) from error
    expected = _as_tensor(ids)
    if found.shape != expected.shape or not bool((found == expected).all()):
        wrong = int((found != expected).any(dim=1).sum()) if found.shape == expected.shape else len(ids)
        raise Problem(
            f"{file} was computed for other rows: {wrong} of {len(ids)} row ids do not match",
            "A row's id is a hash of its content. Delete its folder; it is computed again for the rows at hand.",
        )
    return tensors


def _unreadable(file: Path, error: Exception) -> Problem:
    return Problem(f"{file} cannot be read: {error}", "Delete its folder; it is computed again.")


def _as_tensor(ids: Sequence[str]) -> Tensor:
    return torch.tensor([list(bytes.fromhex(one)) for one in ids], dtype=torch.uint8)
