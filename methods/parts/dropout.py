"""Dropout inside attention, which a backbone's own configuration usually has at 0."""

from __future__ import annotations

from torch import nn

from genembench.problem import Problem


def set_attention_dropout(model: nn.Module, probability: float) -> None:
    """Drop attention weights with this probability in training mode; the configuration, which is saved, stays.

    Raises:
        Problem: the architecture's attention has no dropout.
    """
    found = 0
    for module in model.modules():
        if isinstance(getattr(module, "attention_dropout", None), float | int):
            module.attention_dropout = probability  # type: ignore[assignment]  # read by every attention function
            found += 1
        elif hasattr(module, "attn_dropout") and hasattr(module.attn_dropout, "p"):
            # GPT-2 keeps it as a module.
            module.attn_dropout.p = probability
            found += 1
    if not found and probability:
        raise Problem(
            f"the attention of {type(model).__name__} has no dropout, and SimCSE's two views need one",
            "Use another backbone, or adapters (--set METHOD.tuning=lora) and --set METHOD.simcse_dropout=0.",
        )
