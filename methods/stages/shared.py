"""What the stages of this folder have in common: everything that they need stands in their fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from methods.contract import Method, Recipe, Stage
from methods.parts.adapt import LoraShape, Tuning, trainable


@dataclass(frozen=True)
class SharedStage(Stage):
    """A stage that several methods can use: its values are its own, of the method it uses the way to a vector.

    So names of one method class whose stages are equal train them once.
    """

    method: Method
    optimiser: Recipe
    tuning: Tuning
    lora: LoraShape

    @property
    def recipe(self) -> Recipe:
        """How the stage is optimised."""
        return self.optimiser

    @property
    def trains(self) -> str:
        """All weights, or adapters."""
        if self.tuning == "full":
            return "all weights"
        return f"adapters (LoRA, rank {self.lora.rank}) on every linear layer, merged"

    def identity(self) -> dict[str, Any]:
        """Return the stage's own values and the hyper-parameters that shape a text's way to its vector."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "method"}
        plain = {name: vars(value) if hasattr(value, "__dict__") else value for name, value in own.items()}
        return {"stage": self.name, **plain, "encoding": self.method.encoding_config()}

    def adapt(self, body: nn.Module, *, new_tokens: Sequence[int] = ()) -> nn.Module:
        """Make the body's weights, or adapters, trainable; ``new_tokens`` train in any case."""
        return trainable(body, self.tuning, self.lora, new_tokens=new_tokens)
