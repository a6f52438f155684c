"""How fast this machine multiplies matrices, now: what the model's speed is held against."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median_low

import torch
from torch import nn

from runners.engine import Engine

SQUARE = {"cpu": 2048, "cuda": 8192}
"""Side of the square product; large enough that a larger one is no faster."""
SECONDS = {"cpu": 0.3, "cuda": 0.1}
"""A rate is measured over at least so long."""
_PROBE = 2
"""Rows of the passes that only count FLOPs (`methods/parts/flops.py`)."""

Shape = tuple[int, int, int]
"""Rows, inputs and outputs of a linear layer."""


class Shapes:
    """Collects the shapes of the linear layers that a module runs."""

    def __init__(self) -> None:
        self.calls: Counter[Shape] = Counter()

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Watch while something is computed."""

        def seen(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            rows = output.numel() // output.shape[-1]
            if rows > _PROBE:
                self.calls[rows, inputs[0].shape[-1], output.shape[-1]] += 1

        hooks = [each.register_forward_hook(seen) for each in module.modules() if isinstance(each, nn.Linear)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def typical(self) -> dict[Shape, int]:
        """Return each weight's shape with the median number of rows, and how many of the calls have it."""
        if not self.calls:
            return {}
        rows = median_low(sorted(shape[0] for shape in self.calls.elements()))
        found: Counter[Shape] = Counter()
        for (_, inputs, outputs), count in self.calls.items():
            found[rows, inputs, outputs] += count
        return dict(found)


@dataclass(frozen=True)
class Rate:
    """FLOP/s by the clock, and on a CPU by the processor's own time, which other programs do not slow down."""

    clock: float
    processor: float | None


def square_rate(engine: Engine) -> Rate:
    """Rate of a large square product, in the precision of training."""
    size = SQUARE["cuda" if engine.device == "cuda" else "cpu"]
    return _rate({(size, size, size): 1}, engine, backward=False)


def own_rate(shapes: dict[Shape, int], engine: Engine) -> Rate:
    """Rate of products of these shapes: forward, and the two products of the backward pass; weighted by count."""
    return _rate(shapes, engine, backward=True)


def _rate(shapes: dict[Shape, int], engine: Engine, *, backward: bool) -> Rate:
    device = engine.torch_device
    dtype = torch.bfloat16 if engine.precision == "bfloat16" else torch.float32
    flops = seconds = busy = 0.0
    enough = SECONDS["cuda" if device.type == "cuda" else "cpu"] / len(shapes)
    for (rows, inputs, outputs), count in shapes.items():
        given = torch.randn(rows, inputs, device=device, dtype=dtype)
        weight = torch.randn(outputs, inputs, device=device, dtype=dtype)
        gradient = torch.randn(rows, outputs, device=device, dtype=dtype)

        def products(
            given: torch.Tensor = given, weight: torch.Tensor = weight, gradient: torch.Tensor = gradient
        ) -> None:
            given @ weight.T
            if backward:
                gradient @ weight
                gradient.T @ given

        products()
        wait(device)
        began, busy_then, times = time.perf_counter(), time.process_time(), 0
        while not times or time.perf_counter() - began < enough:
            # Waiting for a GPU after each product would time the waiting.
            for _ in range(10 if device.type == "cuda" else 1):
                products()
                times += 1
            wait(device)
        seconds += count * (time.perf_counter() - began) / times
        busy += count * (time.process_time() - busy_then) / times
        flops += count * 2.0 * rows * inputs * outputs * (3 if backward else 1)
    return Rate(flops / seconds, flops / busy if device.type == "cpu" else None)


def wait(device: torch.device) -> None:
    """Wait for what a GPU still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
