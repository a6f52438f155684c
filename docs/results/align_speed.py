"""How much faster an alignment step of AutoRegEmbed is than the released code's, on real triplets, same numbers.

The other side is ``tests/reference/autoregembed.py``: what the released code does in a step (the query encoded for each
of its two targets, every batch padded to its longest row, logits for the whole vocabulary at every position), written
plainly. Both start from the same weights and see the same batches with their token ids and reference scores ready-made;
a step is forward, backward and AdamW. Blocks of both sides alternate in one process, so that a machine that slows down
slows both.

    python docs/results/align_speed.py --backbone PATH --triplets FILE [--examples 512] [--batch 32] [--blocks 6]
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM

from benchmarks.training_data import load_training_data
from methods.autoregembed import AutoRegEmbed
from methods.contract import Stage, Trainable
from runners.engine import Engine
from runners.meter import peak_memory, reset_peak_memory
from runners.stages import FromFiles
from runners.worker import silence

# The plain implementation is part of the tests, which are not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.reference import autoregembed as plain

METHOD = AutoRegEmbed()
"""The paper's settings, which are the defaults: k = 5, β = τ = 0.1, one hard negative."""
LEARNING_RATE = 1e-6
"""Small, so that many steps on the same examples leave the work of a step as it is."""
AGREE = 1e-4
"""Relative: losses of both sides on the first batch, before any step."""


@dataclass
class Side:
    """One implementation: its loss, what it trains, its batches, and what was measured of it."""

    name: str
    loss: Callable[[Any], Tensor]
    body: torch.nn.Module
    batches: Sequence[Any]
    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    block_seconds: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Give it an optimizer of its own."""
        self.optimizer = torch.optim.AdamW(self.body.parameters(), lr=LEARNING_RATE, weight_decay=0.0)

    def step(self, batch: Any) -> None:
        """Forward, backward, AdamW."""
        self.optimizer.zero_grad()
        self.loss(batch).backward()
        self.optimizer.step()

    def block(self, device: torch.device) -> None:
        """Time every batch once."""
        give_memory_back()
        reset_peak_memory(device)
        before = peak_memory(device)
        seconds = []
        for batch in self.batches:
            began, processor_began = time.perf_counter(), time.process_time()
            self.step(batch)
            seconds.append(time.perf_counter() - began)
            self.processor_seconds.append(time.process_time() - processor_began)
        self.seconds += seconds
        self.block_seconds.append(sum(seconds))
        self.peaks.append(peak_memory(device) - before)


def give_memory_back() -> None:
    """Return freed memory to the system, or one side would work in what the other has left and show no peak."""
    gc.collect()
    # Of the C library of GNU only.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def batches_of(rows: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Split rows into whole batches."""
    return [rows[at : at + size] for at in range(0, len(rows) - size + 1, size)]


def ours(stage: Stage, trained: Trainable, rows: Sequence[Any], size: int) -> Side:
    """Train through the stage's module, as the trainer does."""
    with torch.no_grad():
        scores = stage.prepare(trained, rows)["reference_logp"]
    complete = [{**row, "reference_logp": score} for row, score in zip(rows, scores, strict=True)]
    batches = [stage.collate(batch, trained.tokenizer) for batch in batches_of(complete, size)]

    def loss(batch: Any) -> Tensor:
        (term,) = trained.module(batch).values()
        mean: Tensor = term.sum / term.weight
        return mean

    return Side("genembench", loss, trained.module, batches)


def released(start: FromFiles, tokenizer: Any, rows: Sequence[Any], size: int) -> Side:
    """Train as the released code does."""
    body = AutoModel.from_pretrained(start.folder, dtype=torch.float32).train()
    decoder = AutoModelForCausalLM.from_pretrained(start.backbone, dtype=torch.float32).eval().requires_grad_(False)
    marks = plain.compressed_token_ids(tokenizer, METHOD.compressed_tokens)

    def prepared(batch: Sequence[Any]) -> dict[str, Any]:
        queries = [plain.training_ids(tokenizer, row["query"], METHOD.prompt) for row in batch]
        positives = [plain.training_ids(tokenizer, row["positive"], METHOD.prompt) for row in batch]
        positive_targets = [plain.target_ids(tokenizer, row["positive"]) for row in batch]
        negative_targets = [[plain.target_ids(tokenizer, row["negative"][0]) for row in batch]]
        reference = plain.reference_logp(body, decoder, queries, positive_targets, negative_targets, marks)
        ids = (queries, positives, positive_targets, negative_targets)
        return {"ids": ids, "reference": reference}

    def loss(batch: dict[str, Any]) -> Tensor:
        scores = plain.alignment_logp(body, decoder, *batch["ids"], marks)
        return plain.alignment_loss(*scores, batch["reference"], beta=METHOD.beta, temperature=METHOD.temperature)

    return Side("released step", loss, body, [prepared(batch) for batch in batches_of(rows, size)])


def report(a: Side, b: Side, examples: int) -> None:
    """Print medians of both sides and how much faster the second is.

    Where other programs use the machine too, the processor's time says more than the clock's.
    """
    print("| step | s/step | processor s/step | examples/s | peak above rest, MiB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for side in (a, b):
        rate = examples / statistics.median(side.block_seconds)
        # 0 where this system tells no peak apart from the one before.
        peak = f"{max(side.peaks) / 2**20:.0f}" if max(side.peaks) else "-"
        wall, processor = statistics.median(side.seconds), statistics.median(side.processor_seconds)
        print(f"| {side.name} | {wall:.3f} | {processor:.3f} | {rate:.1f} | {peak} |")
    ratios = [one / other for one, other in zip(a.block_seconds, b.block_seconds, strict=True)]
    print(
        f"\n{b.name} is {statistics.median(ratios):.2f} times as fast "
        f"({len(ratios)} pairs of blocks: {min(ratios):.2f} to {max(ratios):.2f})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", required=True, type=Path)
    parser.add_argument("--triplets", required=True)
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=6, help="blocks of each side; a block sees every example once")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; its own choice by default")
    options = parser.parse_args()
    silence()
    if options.threads:
        torch.set_num_threads(options.threads)
    engine = Engine()
    count = options.examples // options.batch * options.batch
    rows = load_training_data("triplets", options.triplets, mapping={}, seed=0, held_out=None).take(count).rows
    stage = next(stage for stage in METHOD.stages() if stage.name == "align")
    with tempfile.TemporaryDirectory() as folder:
        # The k new rows are drawn at random, so they are drawn once and both sides read them from files.
        torch.manual_seed(0)
        fresh = stage.build(FromFiles(options.backbone, options.backbone, engine))
        stage.finish(fresh, Path(folder))
        start = FromFiles(options.backbone, Path(folder), engine)
        trained = stage.build(start)
        sides = released(start, trained.tokenizer, rows, options.batch), ours(stage, trained, rows, options.batch)
        first = [side.loss(side.batches[0]).item() for side in sides]
        if not abs(first[0] - first[1]) <= AGREE * abs(first[0]):
            sys.exit(f"losses differ on the first batch: {sides[0].name} {first[0]}, {sides[1].name} {first[1]}")
        for side in sides:
            side.step(side.batches[0])
        for _ in range(options.blocks):
            for side in sides:
                side.block(engine.torch_device)
    print(
        f"{count} triplets in batches of {options.batch}, {options.blocks} blocks a side, "
        f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}"
    )
    print(f"loss of the first batch: {first[0]:.6f} and {first[1]:.6f}\n")
    report(*sides, count)


if __name__ == "__main__":
    main()
