from __future__ import annotations

import pytest
import torch

from benchmarks.protocol import UnusableVectorsError
from genembench.problem import Problem
from runners.interrupt import Interrupted
from runners.trainer import Diverged
from runners.worker import classify


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Diverged("loss nan"), "diverged"),
        (UnusableVectorsError("all the same"), "diverged"),
        (Interrupted("on request"), "interrupted"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"), "out_of_memory"),
        (Problem("bad row", "mend it"), "failed"),
        (ZeroDivisionError("by zero"), "failed"),
    ],
)
def test_how_a_run_ended_is_told_from_its_error(error: Exception, status: str) -> None:
    found, reason = classify(error)
    assert found == status
    assert reason
    assert "\n" not in reason
