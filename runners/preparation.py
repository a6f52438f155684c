"""Work before a stage: what it needs to know of each example, computed once, kept by row content, and charged.

It stands in ``stages/prepared-ADDRESS``: the tensors with the id of each row (`benchmarks.order.example_id`, a hash of
its content), and what it cost. Stages of other runs with the same start, rows and declaration take it from there.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from genembench.problem import Problem
from leaderboard.files import write_atomically
from methods.contract import Example, Stage, Trainable
from methods.encoder import files_hash
from methods.parts.ledger import Ledger, charging
from runners import interrupt
from runners.engine import Engine
from runners.interrupt import Interrupted
from runners.meter import Costs, Stopwatch, peak_memory, reset_peak_memory
from runners.outcomes import StageData, StageOutcome
from runners.output import write_json
from runners.progress import Progress

EXAMPLES_AT_ONCE = 256
TENSORS = "model.safetensors"
"""A name that `files_hash` counts."""


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
) -> tuple[tuple[Example, ...], StageOutcome]:
    """Compute the stage's preparation into ``stages/prepared-ADDRESS`` or read it; return rows that carry it.

    A killed computation goes on where it last saved.

    Raises:
        Problem: what stands there is of other rows, or was changed.
    """
    final = _folder(stages, address)
    if not final.exists():
        partial = stages / f".partial-prepared-{address}"
        partial.mkdir(parents=True, exist_ok=True)
        costs = _compute(stage, trained, partial, label=label, data=data, engine=engine)
        record = {"stage": stage.name, "address": address, "content": files_hash(partial, [TENSORS]), "payer": payer}
        write_json(partial / "prepared.json", record | {"costs": costs.to_json()})
        if final.exists():
            shutil.rmtree(partial)
        else:
            partial.replace(final)
    outcome = prepared_before(stage, address, stages, payer)
    tensors = _read(final / TENSORS, data.ids)
    rows = tuple({**row, **{name: values[i] for name, values in tensors.items()}} for i, row in enumerate(data.rows))
    return rows, outcome


def prepared_before(stage: Stage, address: str, stages: Path, payer: str) -> StageOutcome:
    """Return the outcome of a preparation that stands: its cost, and whether another run has paid for it.

    Raises:
        Problem: it is not there, or is not what was computed.
    """
    folder = _folder(stages, address)
    try:
        record = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
        costs, expected, paid_by = Costs.from_json(record["costs"]), record["content"], record["payer"]
    except (OSError, ValueError, KeyError) as error:
        raise Problem(
            f"the preparation of stage {stage.name} in {folder} cannot be read: {error}",
            "Delete that folder, and stages that were trained on it, to compute them again.",
        ) from error
    if files_hash(folder, [TENSORS]) != expected:
        raise Problem(
            f"the tensors in {folder} are not those that were computed there",
            "Somebody changed them. Delete the folder; they are computed again.",
        )
    return StageOutcome(f"{stage.name}: preparation", address, folder, expected, costs, reused=paid_by != payer)


def _folder(stages: Path, address: str) -> Path:
    return stages / f"prepared-{address}"


def _compute(stage: Stage, trained: Trainable, folder: Path, *, label: str, data: StageData, engine: Engine) -> Costs:
    device = engine.torch_device
    costs, parts = _resume(folder, data.ids)
    done = len(next(iter(parts.values()))) if parts else 0
    before, ledger, watch = costs, Ledger(), Stopwatch(device)
    reset_peak_memory(device)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=engine.precision == "bfloat16")
    last = time.monotonic()
    trained.module.eval()
    with Progress(f"{label}: {stage.name}, preparation", len(data.rows), "example") as bar:
        bar.begin(len(data.rows), done)
        while done < len(data.rows):
            chunk = data.rows[done : done + EXAMPLES_AT_ONCE]
            with watch.running(), charging(ledger), torch.no_grad(), autocast:
                found = {name: values.float().cpu() for name, values in stage.prepare(trained, chunk).items()}
            _check(stage, found, len(chunk))
            parts = {name: torch.cat([parts[name], values]) if parts else values for name, values in found.items()}
            done += len(chunk)
            bar.to(done)
            costs = Costs(
                unique_examples={stage.data: done},
                examples_seen={},
                real_tokens=before.real_tokens + ledger.real_tokens,
                padded_tokens=before.padded_tokens + ledger.padded_tokens,
                model_flops=before.model_flops + ledger.model_flops,
                training_seconds=before.training_seconds + watch.seconds,
                peak_memory_bytes=max(before.peak_memory_bytes, peak_memory(device)),
            )
            stopping = interrupt.asked() and done < len(data.rows)
            if done == len(data.rows) or stopping or time.monotonic() - last >= engine.checkpoint_seconds:
                _save(folder, parts, data.ids[:done], costs)
                last = time.monotonic()
            if stopping:
                raise Interrupted(
                    f"stopped on request after preparing {done} examples; the same command goes on"
                )
    trained.module.train()
    return costs


def _check(stage: Stage, found: dict[str, Tensor], count: int) -> None:
    for name, values in found.items():
        if len(values) != count or not bool(values.isfinite().all()):
            raise ValueError(
                f"stage {stage.name}: prepare() returned {name} {list(values.shape)} of {count} examples, "
                f"finite: {bool(values.isfinite().all())}; it must be finite and one slice an example"
            )


def _save(folder: Path, tensors: dict[str, Tensor], ids: Sequence[str], costs: Costs) -> None:
    writing = folder / ".writing"
    metadata = {"costs": json.dumps(costs.to_json())}
    save_file({"row_ids": _as_tensor(ids), **tensors}, writing, metadata=metadata)
    write_atomically(folder / TENSORS, writing.read_bytes())
    writing.unlink()


def _resume(folder: Path, ids: Sequence[str]) -> tuple[Costs, dict[str, Tensor]]:
    file = folder / TENSORS
    if not file.exists():
        return Costs(), {}
    with safe_open(file, "pt") as stored:
        costs = Costs.from_json(json.loads(stored.metadata()["costs"]))
        count = len(stored.get_tensor("row_ids"))
    return costs, _read(file, ids[:count])


def _read(file: Path, ids: Sequence[str]) -> dict[str, Tensor]:
    """Read the tensors of exactly these rows, in this order."""
    try:
        with safe_open(file, "pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  # not a mapping
    except (OSError, SafetensorError) as error:
        raise Problem(f"{file} cannot be read: {error}", "Delete its folder; it is computed again.") from error
    found, expected = tensors.pop("row_ids"), _as_tensor(ids)
    if found.shape != expected.shape or not bool((found == expected).all()):
        wrong = int((found != expected).any(dim=1).sum()) if found.shape == expected.shape else len(ids)
        raise Problem(
            f"{file} was computed for other rows: {wrong} of {len(ids)} row ids do not match",
            "A row's id is a hash of its content. Delete its folder; it is computed again for the rows at hand.",
        )
    return tensors


def _as_tensor(ids: Sequence[str]) -> Tensor:
    return torch.tensor([list(bytes.fromhex(one)) for one in ids], dtype=torch.uint8)
