"""How a run is executed on this machine: device, precision, micro-batch. None of it is part of what is compared."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import torch

from genembench.problem import Problem

Precision = Literal["float32", "bfloat16"]
ENGINE_VERSION = 1
"""Part of every training address: raise it when the trainer's arithmetic changes, and nothing old is reused."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Execution options. Only ``precision`` touches the numbers (and so the addresses); the rest is speed and memory.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: ``float32``, or ``bfloat16`` autocast over float32 master weights.
        micro_batch: Examples in one forward pass; None takes the whole batch at once.
        gradient_checkpointing: Recompute activations in the backward pass.
        gradient_cache: Joint losses: encode without gradients first, then again micro-batch by micro-batch with them,
            so that memory is a micro-batch's (Gao et al. 2021, arXiv 2101.06983).
        cross_entropy: ``torch``, or ``liger``, Liger's fused kernel: for cross-entropies over the vocabulary.
        checkpoint_seconds: Seconds between checkpoints.
        tensorboard: Also write TensorBoard events.
        processes: Processes that train a run together, each on a part of every batch.
        deepspeed: A preset of `runners.parallel.zero` or a file of one's own: divide the training state among them.
    """

    device: str = "cpu"
    precision: Precision = "float32"
    micro_batch: int | None = None
    gradient_checkpointing: bool = False
    gradient_cache: bool = False
    cross_entropy: Literal["torch", "liger"] = "torch"
    checkpoint_seconds: float = 300.0
    tensorboard: bool = False
    processes: int = 1
    deepspeed: str | None = None

    @property
    def torch_device(self) -> torch.device:
        """The device for torch."""
        return torch.device(self.device)


def choose_device(wanted: str) -> str:
    """Resolve ``auto``, ``cpu`` or ``cuda``.

    Raises:
        Problem: a GPU was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if available else "cpu"
    if wanted == "cuda" and not available:
        built = torch.version.cuda
        why = f"PyTorch {torch.__version__} sees none" if built else f"PyTorch {torch.__version__} is a CPU build"
        raise Problem(
            f"--device cuda: no GPU can be used ({why})",
            "Use --device cpu, or install a CUDA build of PyTorch and check `nvidia-smi`.",
        )
    return wanted


def choose_precision(wanted: str, device: str) -> Precision:
    """Resolve ``auto``: bfloat16 autocast on a GPU, float32 on the CPU (where bfloat16 products crawl)."""
    if wanted == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    return "bfloat16" if wanted == "bfloat16" else "float32"


def check_cross_entropy(kernel: str, device: str) -> None:
    """Refuse Liger's kernel where it cannot run.

    Raises:
        Problem: the device is no GPU (Triton's interpreter will do, ``TRITON_INTERPRET=1``), or Liger is missing.
    """
    if kernel != "liger":
        return
    if device != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise Problem(
            f"--cross-entropy liger: its Triton kernels need a GPU, and the device is {device}",
            "Use --cross-entropy torch, the default: the numbers are the same.",
        )
    if find_spec("liger_kernel") is None:
        raise Problem(
            "--cross-entropy liger: liger_kernel is not installed", "pip install -e '.[liger]' -c constraints.txt"
        )


def check_processes(processes: int, device: str, deepspeed: str | None) -> None:
    """Refuse what cannot be started.

    Raises:
        Problem: there are fewer GPUs than processes, or the DeepSpeed configuration or DeepSpeed itself is missing.
    """
    if device == "cuda" and processes > torch.cuda.device_count():
        raise Problem(
            f"--processes {processes}: this machine has {torch.cuda.device_count()} GPUs, and each process takes one",
            "Give as many as there are GPUs; for several machines start genembench with torchrun on each.",
        )
    if deepspeed is not None:
        from runners.parallel.zero import read_config

        read_config(deepspeed)
        if find_spec("deepspeed") is None:
            raise Problem("--deepspeed: deepspeed is not installed", "pip install -e '.[deepspeed]' -c constraints.txt")
