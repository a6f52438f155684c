"""Learning-rate schedules over the fraction of a stage that is consumed."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, steps: int, schedule: str, warmup: float) -> float:
    """Factor on the peak learning rate at ``step`` (from 0) of ``steps``.

    The fraction is taken at the middle of the step, so neither the first nor the last step is wasted at rate 0.
    ``warmup`` is the fraction of the stage over which the rate rises linearly; the rest follows ``schedule``.
    """
    done = (step + 0.5) / steps
    if done < warmup:
        return done / warmup
    rest = (done - warmup) / (1.0 - warmup) if warmup < 1.0 else 1.0
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return 1.0 - rest
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * rest))
    raise ValueError(f"unknown schedule {schedule!r}: constant, linear or cosine")
