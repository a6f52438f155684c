"""The hyper-parameters that every trained method has: how weights are adapted, and how learning rates fall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from methods.contract import Method, Recipe, hyper
from methods.parts.adapt import LoraShape, Tuning


@dataclass(frozen=True, kw_only=True)
class TrainedMethod(Method):
    """A method with stages; what they share of optimisation is said here once."""

    schedule: Literal["constant", "linear", "cosine"] = hyper("linear", "how learning rates fall after warm-up")
    warmup: float = hyper(0.05, "fraction of a training spent on warm-up")
    weight_decay: float = hyper(0.0, "AdamW's weight decay")
    tuning: Tuning = hyper("lora", "full: all weights; lora: low-rank adapters, merged at the end")
    lora_rank: int = hyper(32, "rank of the adapters")
    lora_alpha: int = hyper(64, "scale of the adapters, over the rank")
    lora_dropout: float = hyper(0.1, "dropout in front of the adapters")

    @property
    def lora(self) -> LoraShape:
        """Shape of the adapters, where there are any."""
        return LoraShape(self.lora_rank, self.lora_alpha, self.lora_dropout)

    def recipe(self, learning_rate: float, batch_size: int, epochs: int, *, warmup: float | None = None) -> Recipe:
        """Return how a stage is optimised; ``warmup`` where it is not that of the other stages."""
        return Recipe(
            learning_rate=learning_rate,
            batch_size=batch_size,
            epochs=epochs,
            schedule=self.schedule,
            warmup=self.warmup if warmup is None else warmup,
            weight_decay=self.weight_decay,
        )
