"""The inference probe around a run: an encoder is timed, what goes through it is counted, and a file says so."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from benchmarks.inference import probe, probe_texts
from benchmarks.protocol import TextEncoder
from benchmarks.suite import Benchmark
from leaderboard.inference import FILE, Inference
from methods.encoder import Encoder
from methods.parts.backbone import attention_kernel
from methods.parts.ledger import Ledger, charging
from runners.engine import Engine
from runners.output import write_json
from runners.records import environment

SCHEMA = 1


def measure(encoder: TextEncoder, benchmark: Benchmark, address: str, engine: Engine) -> Inference:
    """Probe an encoder with texts of a benchmark.

    Args:
        encoder: What is timed.
        benchmark: Whose texts are taken.
        address: The evaluation address that the measurement belongs to.
        engine: Where the encoder computes.
    """
    if isinstance(encoder, Encoder):
        encoder.on_progress = None
    ledger = Ledger()
    pace = probe(encoder, probe_texts(benchmark.texts()), counting=charging(ledger))
    facts = environment(attention_kernel(engine.device, engine.precision), engine.device)

    def each(total: float) -> float | None:
        # A model that is not ours passes by the ledger.
        return total / pace.texts if ledger.sequences else None

    return Inference(
        schema=SCHEMA,
        evaluation_address=address,
        texts=pace.texts,
        sentences_per_second=pace.sentences_per_second,
        passes=pace.passes,
        tokens_per_text=each(ledger.real_tokens),
        padded_tokens_per_text=each(ledger.padded_tokens),
        model_flops_per_text=each(ledger.model_flops),
        dimensions=pace.dimensions,
        device=facts["device"],
        threads=facts["threads"],
        precision=encoder.precision,
    )


def write(found: Inference, folder: Path) -> None:
    """Write a measurement into a run's folder, whole or not at all."""
    write_json(folder / FILE, asdict(found))


def probe_run(encoder: TextEncoder, benchmark: Benchmark, address: str, engine: Engine, folder: Path) -> None:
    """Probe the encoder of a run that has its scores; a probe that fails is logged, and leaves no file.

    The run does not fail with it: nothing of the record depends on how fast the encoder was.
    """
    log = logging.getLogger("genembench")
    (folder / FILE).unlink(missing_ok=True)
    try:
        found = measure(encoder, benchmark, address, engine)
        write(found, folder)
    except Exception:
        log.exception("the inference probe failed; the run has its scores, and no %s", FILE)
        return
    log.info("inference probe: %.1f texts a second, passes %s", found.sentences_per_second, found.passes)
