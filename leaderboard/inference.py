"""What using an encoder costs: ``inference.json`` of a run folder, measured by one probe for every encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass

from genembench.problem import Problem
from leaderboard.records import Record
from leaderboard.schema import parse

FILE = "inference.json"


@dataclass(frozen=True, kw_only=True)
class Inference:
    """One measurement (schema 1).

    Attributes:
        evaluation_address: Whose: the record's own.
        texts: Texts of one pass, the same ones for every encoder on a benchmark.
        sentences_per_second: Texts over the median pass.
        passes: Seconds of each timed pass.
        tokens_per_text: Real tokens, prompt included; None for a finished model, which does not say.
        padded_tokens_per_text: The same with padding.
        model_flops_per_text: Analytic; None for a finished model.
        dimensions: Length of a vector.
        device: Where, as the environment of a record names it.
        threads: Processor threads.
        precision: float32 or bfloat16.
    """

    schema: int
    evaluation_address: str
    texts: int
    sentences_per_second: float
    passes: tuple[float, ...]
    tokens_per_text: float | None
    padded_tokens_per_text: float | None
    model_flops_per_text: float | None
    dimensions: int
    device: str
    threads: int
    precision: str


def read_inference(record: Record) -> Inference | None:
    """Return a run's measurement, None where none was made of this very encoder.

    Raises:
        Problem: the file is damaged.
    """
    file = record.source.parent / FILE
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Problem(f"{file} is not readable JSON: {error}", "Delete it and run `genembench probe` again.") from None
    found = parse(Inference, value, file)
    return found if found.evaluation_address == record.evaluation_address else None
