"""DeepSpeed's ZeRO: optimizer state (1), gradients (2) and weights (3) divided among the processes.

Rajbhandari et al. 2020, arXiv 1910.02054. DeepSpeed is an extra and is imported here only. The trainer computes losses,
says which backward pass is the last of a step, and writes checkpoints of its own, whole ones, so that a training goes
on with any number of processes; of DeepSpeed it wants the division and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from genembench.problem import Problem
from methods.parts.forward import undivided
from runners.parallel.group import Group
from runners.parallel.strategy import Strategy, of_parameter

PRESETS = Path(__file__).parent / "presets"
# What the trainer decides; in a file of the user's own it would change what is compared, or be ignored.
OURS = (
    "optimizer",
    "scheduler",
    "fp16",
    "bf16",
    "amp",
    "torch_autocast",
    "gradient_clipping",
    "gradient_accumulation_steps",
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
)


def read_config(given: str) -> dict[str, Any]:
    """Read a preset (``zero1``, ``zero2``, ``zero3``) or a DeepSpeed configuration of the user's own.

    Raises:
        Problem: there is none of that name, it cannot be read, or it sets what the trainer decides.
    """
    names = sorted(file.stem for file in PRESETS.glob("*.json"))
    file = PRESETS / f"{given}.json" if given in names else Path(given)
    allowed = f"Give {', '.join(names)}, or a DeepSpeed configuration in JSON with zero_optimization in it."
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Problem(f"--deepspeed {given} cannot be read: {error}", allowed) from error
    if not isinstance(config, dict) or not isinstance(config.get("zero_optimization"), dict):
        raise Problem(f"--deepspeed {given} has no zero_optimization", allowed)
    if config["zero_optimization"].get("stage") not in (1, 2, 3):
        raise Problem(f"--deepspeed {given}: stage {config['zero_optimization'].get('stage')}", "Allowed: 1, 2, 3.")
    taken = [name for name in OURS if name in config]
    if taken:
        raise Problem(
            f"--deepspeed {given} sets {', '.join(taken)}",
            "Methods and --precision, --micro-batch say that, the same for every method: leave it out.",
        )
    return config


class Zero(Strategy):
    """A module whose training state is divided among the processes.

    Args:
        module: What is trained, with weights as training starts from.
        parameters: Those of it that train, by name.
        optimizer: An optimizer over them; DeepSpeed puts its divided parameters in their place.
        group: The processes; they must have met (`runners.parallel.group.join`), be it one alone.
        config: From `read_config`.
        clip_norm: Largest gradient norm; 0 leaves gradients alone.
        precision: Of forward passes; weights and state are float32.
        device: Where the module is.

    Raises:
        Problem: nobody has met, or the module cannot be divided so.
    """

    autocasts_itself = True

    def __init__(
        self,
        module: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        group: Group,
        *,
        config: Mapping[str, Any],
        clip_norm: float,
        precision: str,
        device: torch.device,
    ) -> None:
        super().__init__(parameters, precision, device)
        self._group = group
        self._deepspeed = _deepspeed(device.type)
        self.stage = int(config["zero_optimization"]["stage"])
        self._module = module
        held = [m for m in module.modules() if isinstance(m, nn.ParameterDict) and any(True for _ in m.parameters())]
        if self.stage == 3 and held:
            raise Problem(
                "ZeRO-3 cannot divide new tokens that are trained beside adapters",
                "Take --deepspeed zero2, or train all weights: --set METHOD.tuning=full.",
            )
        if self._bfloat16:
            # Inside what the engine calls: DeepSpeed switches off an autocast that it finds around itself.
            module.forward = torch.autocast(device.type, torch.bfloat16)(module.forward)
        ours = {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": clip_norm,
            "steps_per_print": 2**31,
        }
        self._engine, *_ = self._deepspeed.initialize(
            model=module,
            optimizer=optimizer,
            model_parameters=list(parameters.values()),
            config={**config, **ours},
            dist_init_required=False,
        )

        if self.stage == 3:
            # Gathered for a whole pass: a tied head multiplies by embeddings outside the module that owns them, where
            # no hook would gather them, and a head is called once for each block of positions, of which processes
            # have different numbers.
            rows = {owner.num_embeddings for owner in module.modules() if isinstance(owner, nn.Embedding)}
            for owner in module.modules():
                if isinstance(owner, nn.Embedding) or (isinstance(owner, nn.Linear) and owner.out_features in rows):
                    self._deepspeed.zero.register_external_parameter(module, owner.weight)

    def _forward(self, batch: Any) -> Any:
        with undivided() if self.stage == 3 else contextlib.nullcontext():
            return self._engine(batch)

    @contextmanager
    def passing(self, *, last: bool) -> Iterator[None]:
        """Tell the engine whether this is the step's last backward pass."""
        self._engine.set_gradient_accumulation_boundary(last)
        yield

    def backward(self, loss: Tensor) -> None:
        """DeepSpeed takes the mean over processes: times their number it is the sum."""
        self._engine.backward(loss * self._group.world)

    def step(self, rate: float, clip_norm: float) -> float:
        """Step; the norm is known afterwards only. ``clip_norm`` was said in the beginning."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._engine.step()
        return float(self._engine.get_global_grad_norm())

    def forget(self) -> None:
        """Drop the gradients."""
        self._engine.zero_grad()

    def moments(self) -> dict[str, Tensor]:
        """Put each parameter's state together from all processes' parts; only the first process keeps it."""
        state = self._engine.optimizer.optimizer.state
        flats = [flat for flat in self._flat_partitions() if flat in state]
        if not flats:
            return {}
        found = {}
        for name, parameter in self.parameters.items():
            for key in ("exp_avg", "exp_avg_sq"):
                whole = self._assembled(parameter, key)
                if self._group.leads:
                    found[f"{name}/{key}"] = whole.cpu()
            found[f"{name}/step"] = torch.as_tensor(state[flats[0]]["step"]).detach().cpu().clone()
        return found

    def put_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Give every process its part."""
        state = self._engine.optimizer.optimizer.state
        step = next((value for key, value in moments.items() if key.endswith("/step")), None)
        if step is None:
            return
        for flat in self._flat_partitions():
            zeros = {key: torch.zeros_like(flat) for key in ("exp_avg", "exp_avg_sq")}
            state[flat] = {"step": step.clone().to(flat.device), **zeros}
        for name, parameter in self.parameters.items():
            for key, value in of_parameter(moments, name).items():
                if key != "step":
                    self._put(parameter, key, value)

    def whole(self) -> AbstractContextManager[None]:
        """Gather the weights that stage 3 has divided; what is written inside is not kept."""
        if self.stage < 3:
            return contextlib.nullcontext()
        gathered: AbstractContextManager[None] = self._deepspeed.zero.GatheredParameters(
            list(self._module.parameters()), modifier_rank=None
        )
        return gathered

    def release(self) -> None:
        """Give each parameter memory of its own again, and take DeepSpeed's hooks off the module."""
        with self.whole():
            values = {parameter: parameter.data.clone() for parameter in self._module.parameters()}
        self._engine.destroy()
        if self._bfloat16:
            del self._module.forward
        for parameter, value in values.items():
            parameter.data = value
            parameter.grad = None

    def _flat_partitions(self) -> list[Tensor]:
        optimizer = self._engine.optimizer
        flats: list[Tensor] = (
            optimizer.fp32_partitioned_groups_flat if self.stage == 3 else optimizer.single_partition_of_fp32_groups
        )
        return list(flats)

    def _assembled(self, parameter: nn.Parameter, key: str) -> Tensor:
        if self.stage == 3:
            whole: Tensor = self._engine.optimizer.get_full_hp_param(parameter, key)
            return whole
        buffer = torch.zeros(parameter.numel(), device=self._device)
        part = self._part(parameter)
        if part is not None:
            flat, own, there = part
            buffer[own] = self._engine.optimizer.optimizer.state[flat][key][there]
        dist.all_reduce(buffer)
        return buffer.view_as(parameter)

    def _put(self, parameter: nn.Parameter, key: str, value: Tensor) -> None:
        value = value.to(self._device)
        if self.stage == 3:
            self._engine.optimizer.set_full_hp_param(value, parameter, key)
            return
        part = self._part(parameter)
        if part is not None:
            flat, own, there = part
            self._engine.optimizer.optimizer.state[flat][key][there] = value.flatten()[own]

    def _part(self, parameter: Any) -> tuple[Tensor, slice, slice] | None:
        """Return this process's partition, and where in the parameter and in the partition the shared numbers lie."""
        mapping = parameter._hp_mapping
        if mapping is None:
            return None
        own, there = mapping.lp_fragment_address, mapping.hp_fragment_address
        flat = self._engine.optimizer.single_partition_of_fp32_groups[mapping.param_group_index]
        return flat, slice(own.start, own.start + own.numel), slice(there.start, there.start + there.numel)


def _deepspeed(device: str) -> Any:
    if not dist.is_initialized():
        raise Problem("--deepspeed: this training has no process group", "Start it with `genembench train` or compare.")
    if device == "cpu":
        # Before the import, which looks for a GPU otherwise.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    if device == "cpu":
        # Or it would compile an extension for collectives in shared memory, which takes a minute and a compiler; two
        # processes that do so at once may wait for each other for ever. gloo has those collectives.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
