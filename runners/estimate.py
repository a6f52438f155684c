"""Estimating a planned run's training cost before anything is loaded: tokens from a sample, FLOPs from the shapes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerBase

from methods.contract import Example, Method, Stage
from methods.parts.backbone import load_tokenizer
from methods.parts.flops import PassCost, attention_per_length_squared, matrices
from methods.parts.tokens import TokenRow
from methods.parts.vocabulary import add_tokens
from runners.backbones import Backbone
from runners.plan import Estimate
from runners.spec import RunSpec

SAMPLE = 64
"""Examples tokenised for an estimate."""


class Estimator:
    """Estimates runs that start from one backbone, as if all weights were trained and each token passed once."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        config = AutoConfig.from_pretrained(backbone.folder)
        with torch.device("meta"):
            model = AutoModel.from_config(config)
        linear = sum(2.0 * matrix.weight.numel() for matrix in matrices(model))
        self.cost = PassCost(3.0 * linear, 3.0 * attention_per_length_squared(model))

    def of(self, spec: RunSpec, method: Method) -> dict[str, Estimate]:
        """Estimate each stage of the run, by its training address."""
        tokenizer = load_tokenizer(self.backbone.folder)
        add_tokens(tokenizer, method.new_tokens)
        found = {}
        for stage, address in zip(method.stages(), spec.stage_addresses, strict=True):
            data = spec.data[stage.data]
            lengths = _lengths(stage, data.rows[:SAMPLE], tokenizer)
            seen = len(data.rows) * stage.recipe.epochs / max(1, min(SAMPLE, len(data.rows)))
            found[address] = Estimate(seen * sum(lengths), seen * self.cost.of(lengths))
        return found


def _lengths(stage: Stage, rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return [len(row) for row in _token_rows(stage.collate(rows, tokenizer))]


def _token_rows(value: object) -> list[TokenRow]:
    """Every token row anywhere in a collated batch, whatever its shape."""
    if isinstance(value, TokenRow):
        return [value]
    if isinstance(value, dict):
        return [row for inner in value.values() for row in _token_rows(inner)]
    if isinstance(value, list | tuple):
        return [row for inner in value for row in _token_rows(inner)]
    return [row for inner in vars(value).values() for row in _token_rows(inner)] if hasattr(value, "__dict__") else []
