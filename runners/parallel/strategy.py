"""How a module is trained on the processes at hand: alone, or in step with the others by PyTorch's DDP.

DeepSpeed's ZeRO is in `runners.parallel.zero`. The trainer divides a loss by the weight of the whole global batch, so
what it wants over processes is the sum of gradients, not their mean.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from runners.parallel.group import Group


class Strategy(ABC):
    """What the trainer asks of whatever holds the module and its optimizer.

    Attributes:
        parameters: What trains, by name.
        can_start_over: Whether a step may be given up half-way (`forget`) and computed again.
        autocasts_itself: Whether the module computes in the precision of the run without being told.
    """

    can_start_over = False
    autocasts_itself = False

    def __init__(self, parameters: Mapping[str, nn.Parameter], precision: str, device: torch.device) -> None:
        self.parameters = parameters
        self._bfloat16 = precision == "bfloat16"
        self._device = device

    def forward(self, batch: Any) -> Any:
        """Run the module in the precision of the run; floating-point tensors of a joint stage come back in float32."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16 and not self.autocasts_itself):
            found = self._forward(batch)
        if not self._bfloat16:
            return found
        return {
            name: one.float() if isinstance(one, Tensor) and one.is_floating_point() else one
            for name, one in found.items()
        }

    @abstractmethod
    def _forward(self, batch: Any) -> Any: ...

    @abstractmethod
    def passing(self, *, last: bool) -> AbstractContextManager[None]:
        """Surround a forward pass and its backward pass; ``last`` says that no other follows in this step."""

    @abstractmethod
    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients; after the last one of a step they are the sums over all processes."""

    @abstractmethod
    def step(self, rate: float, clip_norm: float) -> float:
        """Let the optimizer step, forget the gradients, and return their norm before clipping (0: no clipping).

        A norm that is not finite may or may not have been stepped with: training is over then.
        """

    @abstractmethod
    def forget(self) -> None:
        """Forget the gradients, those of a step that failed half-way among them."""

    @abstractmethod
    def moments(self) -> dict[str, Tensor]:
        """Return the optimizer's state as ``PARAMETER/KEY``, whole on the first process. All must call it."""

    @abstractmethod
    def put_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Put back what `moments` returned, on any number of processes."""

    def whole(self) -> AbstractContextManager[None]:
        """Have all weights at hand inside. All processes must come here."""
        return nullcontext()

    def release(self) -> None:  # noqa: B027  # most have nothing to take off
        """Give the module back as `Stage.build` made it but for its weights. All processes must call it."""


class Together(Strategy):
    """One process, or several with the same weights by DDP."""

    def __init__(
        self,
        module: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        group: Group,
        *,
        precision: str,
        device: torch.device,
    ) -> None:
        super().__init__(parameters, precision, device)
        self.optimizer = optimizer
        self._group = group
        self._module = module
        self.can_start_over = group.world == 1
        if group.world > 1:
            with warnings.catch_warnings():
                # What takes its place is not in every version that we run with.
                warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
                # Buffers are constants here (rotary frequencies).
                self._module = nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)

    def _forward(self, batch: Any) -> Any:
        return self._module(batch)

    @contextmanager
    def passing(self, *, last: bool) -> Iterator[None]:
        """Only the last backward pass of a step sends gradients."""
        if isinstance(self._module, nn.parallel.DistributedDataParallel) and not last:
            with self._module.no_sync():
                yield
        else:
            yield

    def backward(self, loss: Tensor) -> None:
        """DDP takes the mean over processes: times their number it is the sum."""
        (loss * self._group.world if self._group.world > 1 else loss).backward()

    def step(self, rate: float, clip_norm: float) -> float:
        """Step where the norm is finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = float(nn.utils.clip_grad_norm_(self.parameters.values(), clip_norm or math.inf))
        if math.isfinite(norm):
            self.optimizer.step()
        self.forget()
        return norm

    def forget(self) -> None:
        """Drop the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def moments(self) -> dict[str, Tensor]:
        """Each process has them all."""
        return {
            f"{name}/{key}": torch.as_tensor(value).detach()
            for name, parameter in self.parameters.items()
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }

    def put_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Each process takes them all."""
        fused = bool(self.optimizer.param_groups[0].get("fused"))
        for name, parameter in self.parameters.items():
            # Only the fused kernel keeps its step count on the device.
            self.optimizer.state[parameter] = {
                key: value if key == "step" and not fused else value.to(parameter.device)
                for key, value in of_parameter(moments, name).items()
            }


def of_parameter(moments: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return one parameter's part of `Strategy.moments`."""
    return {key.rpartition("/")[2]: value for key, value in moments.items() if key.rpartition("/")[0] == name}
