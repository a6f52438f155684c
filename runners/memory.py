"""Running out of memory: how it shows, and what is tried next."""

from __future__ import annotations

import torch

SIGNS = ("out of memory", "can't allocate memory", "DefaultCPUAllocator")


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, a GPU's or the machine's."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in str(error) for sign in SIGNS)


def release_cached() -> None:
    """Give back what PyTorch keeps of a GPU's memory for later."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
