"""One run in its own process: train or reuse the stages, encode, score, and leave a record whatever happens.

This module is what the fork server imports once, so that a run's process starts with the imports already paid.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mteb  # noqa: F401  # this and the next: seconds that the fork server pays once instead of every run
import sentence_transformers  # noqa: F401
import transformers

from benchmarks.protocol import TextEncoder, UnusableVectorsError
from genembench.problem import Problem
from methods.contract import Method
from methods.encoder import Encoder, make_encoder, write_manifest
from methods.parts.backbone import attention_kernel, attention_of
from runners import interrupt
from runners.addresses import evaluation_address
from runners.finished import finished_model
from runners.interrupt import Interrupted
from runners.memory import ran_out
from runners.outcomes import StageOutcome
from runners.parallel.encoding import SharedEncoder, on_all
from runners.parallel.failures import SECONDS_TO_HEAR, leave_failure, read_failure
from runners.parallel.group import Group, current, join, leave
from runners.parallel.seat import Seat
from runners.probing import probe_run
from runners.records import TaskResults, environment, make_record, method_facts, now, publish
from runners.scoring import Results, score_encoder
from runners.spec import RunSpec
from runners.stages import FromFiles, train_stage
from runners.trainer import Diverged


def execute(spec: RunSpec, seat: Seat | None = None) -> None:
    """Execute a run and publish its record. Called in a process of its own, or in each of several, with a seat.

    Of several processes the first one does all that one alone would; the others train with it and encode for it.
    """
    interrupt.listen()
    interrupt.die_with_parent()
    silence()
    try:
        if seat is None or seat.rank == 0:
            _execute(spec, seat)
        else:
            _assist(spec, seat)
    except OSError as error:
        # A full disk, or none: no log and no record can be written here, so one line has to do.
        raise SystemExit(f"{spec.label}: the record cannot be written: {error}") from None


def _execute(spec: RunSpec, seat: Seat | None) -> None:
    spec.partial.mkdir(parents=True, exist_ok=True)
    started = now()
    with run_log(spec.partial / "log.txt") as log:
        log.info("run %s%s", spec.run, f" on {seat.world} processes" if seat is not None else "")
        run = _Run(spec)
        try:
            if seat is not None:
                join(seat, spec.engine.device)
            run.go()
            status, reason = "done", ""
        except Exception as error:  # whatever a method or a library raises belongs in the record, not on the terminal
            status, reason = classify(error)
            if seat is not None and status == "failed" and not isinstance(error, Problem):
                # It may have failed because another process did, which knows why.
                status, reason = read_failure(spec.partial, patience=SECONDS_TO_HEAR) or (status, reason)
            log.error("%s: %s\n%s", status, reason, traceback.format_exc())
    publish(spec, run.record(status, reason, started))


def _assist(spec: RunSpec, seat: Seat) -> None:
    with run_log(spec.partial / f"log.{seat.rank}.txt") as log:
        log.info("run %s, process %d of %d", spec.run, seat.rank, seat.world)
        try:
            join(seat, spec.engine.device)
            _Run(spec).assist()
            leave()
        except Exception as error:
            status, reason = classify(error)
            log.error("%s: %s\n%s", status, reason, traceback.format_exc())
            if status != "interrupted":
                leave_failure(spec.partial, seat.rank, status, reason)
                raise SystemExit(1) from None


def classify(error: BaseException) -> tuple[str, str]:
    """Status and one-line reason of a run that ended in ``error``."""
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, Problem):
        return "failed", " ".join(str(error).split())
    # Vectors that are not numbers, or all the same, are a training that went wrong before its loss showed it.
    if isinstance(error, Diverged | UnusableVectorsError):
        return "diverged", str(error)
    if isinstance(error, Interrupted):
        return "interrupted", str(error)
    if ran_out(error):
        return "out_of_memory", reason.splitlines()[0] + " (a smaller --micro-batch needs less memory)"
    return "failed", reason.splitlines()[0]


class _Run:
    """The steps of one run, and what each left for the record."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self.method: Method | None = None
        self.source = ""
        self.stages: list[StageOutcome] = []
        self.address: str | None = None
        self.attention = attention_kernel(spec.engine.device, spec.engine.precision)
        self.results: Results = {}

    def go(self) -> None:
        spec = self.spec
        if spec.finished is not None:
            found = finished_model(spec.finished, trust_remote_code=spec.trust_remote_code)
            self._evaluate(found.load(spec.engine))
            return
        make = self._train()
        if spec.benchmark is not None:
            self._evaluate(make())

    def assist(self) -> None:
        """Do what a process other than the first does: train with it, then encode for it."""
        spec = self.spec
        if spec.finished is not None:
            return
        make = self._train()
        if spec.benchmark is not None:
            SharedEncoder(make(), current()).serve()

    def _train(self) -> Callable[[], Encoder]:
        """Train the stages and leave the encoder's manifest; return what loads the encoder."""
        spec = self.spec
        assert spec.method is not None
        assert spec.backbone is not None
        entry, self.method = spec.method.resolve()
        self.source = entry.source
        weights, content = spec.backbone.folder, spec.backbone.address
        stages = zip(self.method.stages(), spec.stage_addresses, spec.preparations, strict=True)
        for stage, address, preparation in stages:
            train_stage(
                stage,
                address,
                preparation=preparation,
                held_out=spec.held_out,
                label=spec.label,
                start=FromFiles(spec.backbone.folder, weights, spec.engine),
                data=spec.data[stage.data],
                engine=spec.engine,
                seed=spec.seed,
                stages=spec.output / "stages",
                payer=spec.run,
                outcomes=self.stages,
                evaluate_every=spec.evaluate_every,
            )
            weights, content = self.stages[-1].weights, self.stages[-1].content
        if current().leads:
            self._write_manifest(entry.origin, weights)
        return partial(
            make_encoder,
            spec.method.name,
            self.method,
            self.source,
            weights,
            content=content,
            device=spec.engine.device,
            precision=spec.engine.precision,
        )

    def _write_manifest(self, origin: str, weights: Path) -> None:
        assert self.spec.method is not None
        assert self.method is not None
        folder = self.spec.partial / "encoder"
        folder.mkdir(exist_ok=True)
        files = self.spec.method.method_files
        write_manifest(
            folder,
            name=self.spec.method.name,
            method=self.method,
            method_file=next((file for file in files if str(file.resolve()) == origin), None),
            weights=f"../../../stages/{self.stages[-1].address}/weights" if self.stages else str(weights.resolve()),
        )

    def _evaluate(self, encoder: TextEncoder) -> None:
        spec = self.spec
        assert spec.benchmark is not None
        if isinstance(encoder, Encoder):
            self.attention = attention_of(encoder.body, encoder.precision)
        self.address = evaluation_address(encoder.address, spec.benchmark.address, encoder.precision)
        # A finished model is loaded by this process only.
        group = current() if spec.finished is None else Group()
        with on_all(encoder, group) as shared:
            self.results = score_encoder(shared, spec.benchmark, TaskResults(spec.partial, self.address), spec.label)
        probe_run(encoder, spec.benchmark, self.address, spec.engine, spec.partial)

    def record(self, status: str, reason: str, started: str) -> dict[str, Any]:
        return make_record(
            self.spec,
            status=status,
            reason=reason,
            method=method_facts(self.spec, self.method, self.source),
            started=started,
            stages=self.stages,
            evaluation_address=self.address,
            results=self.results,
            environment_facts=environment(self.attention, self.spec.engine.device),
        )


@contextmanager
def run_log(file: Path) -> Iterator[logging.Logger]:
    """Log of one run; libraries' warnings go there too."""
    # A log that cannot be written is not worth a traceback for every line of it.
    logging.raiseExceptions = False
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("genembench")
    logger.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for target in (logger, logging.getLogger("py.warnings")):
        target.addHandler(handler)
        target.propagate = False
    try:
        yield logger
    finally:
        for target in (logger, logging.getLogger("py.warnings")):
            target.removeHandler(handler)
        handler.close()


def silence() -> None:
    """Keep libraries' own bars and advice off the terminal; errors still come through."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
