"""What a run is charged for: examples, tokens, steps, model FLOPs, training seconds, peak memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass
class Costs:
    """What was consumed. ``model_flops`` exclude padding and recomputation; seconds exclude evaluation and warm-up."""

    unique_examples: dict[str, int] = field(default_factory=dict)
    examples_seen: dict[str, int] = field(default_factory=dict)
    real_tokens: int = 0
    padded_tokens: int = 0
    optimizer_steps: int = 0
    model_flops: float = 0.0
    training_seconds: float = 0.0
    peak_memory_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the costs as the record writes them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Costs:
        """Read them back."""
        return cls(**{f.name: values[f.name] for f in fields(cls)})


def total(costs: Iterable[Costs]) -> Costs:
    """Add costs up; memory is the largest. Unique examples of one kind count once: budgets are nested prefixes."""
    result = Costs()
    for one in costs:
        for kind, count in one.unique_examples.items():
            result.unique_examples[kind] = max(count, result.unique_examples.get(kind, 0))
        for kind, count in one.examples_seen.items():
            result.examples_seen[kind] = count + result.examples_seen.get(kind, 0)
        result.real_tokens += one.real_tokens
        result.padded_tokens += one.padded_tokens
        result.optimizer_steps += one.optimizer_steps
        result.model_flops += one.model_flops
        result.training_seconds += one.training_seconds
        result.peak_memory_bytes = max(result.peak_memory_bytes, one.peak_memory_bytes)
    return result


class Stopwatch:
    """Adds up the seconds spent inside `running`; on a GPU the device is waited for on both sides."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._device = device

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens inside."""
        self._wait()
        began = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            self.seconds += time.perf_counter() - began

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak so far, so that what is read next belongs to what ran since."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR.exists():
        _CLEAR.write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak: the device's allocations on a GPU, else this process's resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    # Without /proc only the peak since the process began can be had: bytes on macOS, kilobytes elsewhere.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
