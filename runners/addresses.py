"""Addresses: hashes of what determines a result, so that equal work is done once and unequal work never mixed up."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from methods.contract import Method, Stage
from methods.encoder import ENCODING_VERSION
from runners.engine import ENGINE_VERSION


def address(parts: Any) -> str:
    """Hash JSON-serialisable parts, whatever the order of keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def training_address(stage: Stage, *, start: str, data: str, seed: int, precision: str, source: str) -> str:
    """Address of a trained stage: what determines its weights, and nothing else.

    Paths, the micro-batch, the attention kernel and the method's name are not part of it.

    Args:
        stage: Gives its hyper-parameters (`Stage.identity`), global batch included.
        start: Address of the weights it starts from: the backbone's, or the previous stage's training address.
        data: Hash of the ids consumed, in order.
        seed: The run's seed.
        precision: float32 or bfloat16.
        source: Hash of the method's source.
    """
    declared = stage.preparation()
    return address(
        {
            "engine": [ENGINE_VERSION, ENCODING_VERSION],
            "start": start,
            "stage": stage.identity(),
            **({} if declared is None else {"preparation": dict(declared)}),
            "data": data,
            "seed": seed,
            "precision": precision,
            "source": source,
        }
    )


def preparation_address(stage: Stage, *, start: str, data: str, seed: int, precision: str, source: str) -> str | None:
    """Address of what the stage prepares of its examples (`Stage.preparation`), or None where it prepares nothing.

    The seed counts because building may draw the embeddings of new tokens.
    """
    declared = stage.preparation()
    if declared is None:
        return None
    return address(
        {
            "engine": [ENGINE_VERSION, ENCODING_VERSION],
            "start": start,
            "stage": stage.name,
            "preparation": dict(declared),
            "data": data,
            "seed": seed,
            "precision": precision,
            "source": source,
        }
    )


def run_address(weights: str, method: Method, source: str, benchmark: str, precision: str) -> str:
    """Address of a planned run: weights (by training address or content), the way to a vector, and the benchmark."""
    return address(
        {
            "version": ENCODING_VERSION,
            "weights": weights,
            "encoding": method.encoding_config(),
            "source": source,
            "benchmark": benchmark,
            "precision": precision,
        }
    )


def evaluation_address(encoder: str, benchmark: str, precision: str) -> str:
    """Address of a finished evaluation: the encoder's content, the benchmark with its data, the precision."""
    return address({"encoder": encoder, "benchmark": benchmark, "precision": precision})
