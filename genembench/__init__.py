"""Public face of genembench: what a plug-in author or a notebook needs, loaded when it is asked for.

from genembench import Method, Stage, register, load_encoder, read_records
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genembench.problem import Problem
    from leaderboard.records import read_records
    from methods.contract import Example, Facts, Hyper, Method, Phase, Recipe, Role, Stage, Start, Trainable, hyper
    from methods.encoder import Encoder, load_encoder
    from methods.parts.adapt import LoraShape, save_merged, trainable
    from methods.parts.forward import run_body
    from methods.parts.losses import LossTerm, info_nce
    from methods.parts.tokens import TextTemplate, TokenRow
    from methods.registry import register

_HOME = {
    "Encoder": "methods.encoder",
    "Example": "methods.contract",
    "Facts": "methods.contract",
    "Hyper": "methods.contract",
    "LoraShape": "methods.parts.adapt",
    "LossTerm": "methods.parts.losses",
    "Method": "methods.contract",
    "Phase": "methods.contract",
    "Problem": "genembench.problem",
    "Recipe": "methods.contract",
    "Role": "methods.contract",
    "Stage": "methods.contract",
    "Start": "methods.contract",
    "TextTemplate": "methods.parts.tokens",
    "TokenRow": "methods.parts.tokens",
    "Trainable": "methods.contract",
    "hyper": "methods.contract",
    "info_nce": "methods.parts.losses",
    "load_encoder": "methods.encoder",
    "read_records": "leaderboard.records",
    "register": "methods.registry",
    "run_body": "methods.parts.forward",
    "save_merged": "methods.parts.adapt",
    "trainable": "methods.parts.adapt",
}

__all__ = [
    "Encoder",
    "Example",
    "Facts",
    "Hyper",
    "LoraShape",
    "LossTerm",
    "Method",
    "Phase",
    "Problem",
    "Recipe",
    "Role",
    "Stage",
    "Start",
    "TextTemplate",
    "TokenRow",
    "Trainable",
    "hyper",
    "info_nce",
    "load_encoder",
    "read_records",
    "register",
    "run_body",
    "save_merged",
    "trainable",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'genembench' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
