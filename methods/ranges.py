"""Every hyper-parameter of a method is held to its range when the method is made, not where it is first used.

Ranges go by name: a learning rate is above 0 whatever stage it is of. Names bind our own fields only; another's
``temperature`` is what its author makes of it, and his to check.

That the ranges stand here and not beside our fields has a reason: a trained stage is found again by the source files of
its method's classes (`methods.registry.stage_source`), and whoever touches those has everything trained again.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genembench.problem import Problem
from methods.contract import Method
from methods.parts.readout import READOUTS


@dataclass(frozen=True)
class Allowed:
    """The values that a hyper-parameter takes.

    Attributes:
        words: What is allowed, as it stands behind "Allowed: ".
        fits: Whether a value, of the field's type already, is one of them.
    """

    words: str
    fits: Callable[[Any], bool]


# Written so that a NaN, which compares with nothing, fits none of them.
_ABOVE_0 = Allowed("above 0", lambda value: 0 < value < math.inf)
_FROM_0 = Allowed("0 or more", lambda value: 0 <= value < math.inf)
_FROM_1 = Allowed("1 or more", lambda value: 1 <= value < math.inf)
_FRACTION = Allowed("from 0 to 1", lambda value: 0 <= value <= 1)
_SHARE = Allowed("above 0 and at most 1", lambda value: 0 < value <= 1)
_DROPOUT = Allowed("0 or more and below 1", lambda value: 0 <= value < 1)

BY_NAME: Mapping[str, Allowed] = {
    "max_length": _FROM_1,
    "max_text_length": _FROM_1,
    "max_target_length": _FROM_1,
    "compressed_tokens": _FROM_1,
    "learning_rate": _ABOVE_0,
    "batch_size": _FROM_1,
    "epochs": _FROM_1,
    "warmup": _FRACTION,
    "weight_decay": _FROM_0,
    "dropout": _DROPOUT,
    "lora_rank": _FROM_1,
    "lora_alpha": _FROM_1,
    "temperature": _ABOVE_0,
    "hard_negatives": _FROM_0,
    "mask_probability": _SHARE,
    "alpha": _FRACTION,
    "beta": _ABOVE_0,
}
"""Also for names that end so behind an underscore, the longest first: ``simcse_max_length``, ``anchor_warmup``."""


def check(name: str, cls: type[Method], values: Mapping[str, object]) -> None:
    """Hold every hyper-parameter to what is allowed.

    Args:
        name: What the method is registered as.
        cls: The method's class.
        values: Of its fields, each of the field's type, whoever gave them.

    Raises:
        Problem: one is out of its range.
    """
    for field in dataclasses.fields(cls):
        value, allowed = values[field.name], allowed_of(cls, field)
        if allowed is not None and not allowed.fits(value):
            raise Problem(f"{name}.{field.name}={value}: not a valid value", f"Allowed: {allowed.words}.")


def allowed_of(cls: type[Method], field: dataclasses.Field[object]) -> Allowed | None:
    """Return what a hyper-parameter of a method class may be; None where its type is all that is known."""
    if field.name == "readout_kind":
        return _readouts(cls)
    owner = next(base for base in cls.__mro__ if field.name in inspect.get_annotations(base))
    if not _ours(owner.__module__):
        return None
    fitting = [known for known in BY_NAME if field.name == known or field.name.endswith(f"_{known}")]
    return BY_NAME[max(fitting, key=len)] if fitting else None


def _readouts(cls: type[Method]) -> Allowed | None:
    if cls.readout is not Method.readout:
        # Whoever reads out in a way of his own may call it what he likes.
        return None
    # As many marks in every row: of our templates only those that put tokens of their own behind the text.
    unmarked = _ours(cls.tokenize.__module__) and cls.new_tokens is Method.new_tokens
    known = [kind for kind in READOUTS if not (unmarked and kind == "marked")]
    return Allowed(", ".join(known), known.__contains__)


def _ours(module: str) -> bool:
    return module.partition(".")[0] == "methods"
