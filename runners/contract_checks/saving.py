"""What training leaves on disk makes the same vectors again, and other ones than before the training."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from methods.contract import Stage
from methods.encoder import load_encoder, write_manifest
from runners.contract_checks.encoding import ROLES, some_texts
from runners.contract_checks.subject import Broken, Case, Subject
from runners.engine import Engine
from runners.outcomes import StageOutcome
from runners.seeds import derive
from runners.stages import FromFiles, train_stage

TOLERANCE = 1e-6
MOVED = 1e-5
"""Two steps at the checks' learning rate change vectors by a hundred times this."""
EXAMPLES = 32
WATCHED = 4
"""Triplets on which the trainer watches the encoder, as in a run."""


def save(subject: Subject) -> str:
    """Train every stage through its files; then write and load the encoder as a run does."""
    stages = subject.method().stages()
    outcomes: list[StageOutcome] = []
    for number in range(len(stages)):
        _train(Case(subject, number, len(stages), outcomes[-1].weights if outcomes else subject.backbone), outcomes)
    weights = outcomes[-1].weights if outcomes else subject.backbone
    folder = subject.scratch / "encoder"
    folder.mkdir(exist_ok=True)
    encoder = subject.encoder(weights)
    write_manifest(
        folder,
        name=subject.entry.name,
        method=encoder.method,
        method_file=subject.method_file,
        weights=str(weights.resolve()),
    )
    loaded = load_encoder(folder)
    texts, worst = some_texts(subject), 0.0
    for role in ROLES:
        before, after = encoder.encode(texts, role), loaded.encode(texts, role)
        scale = max(1.0, float(np.abs(before).max()))
        difference = float(np.abs(after - before).max()) / scale if after.shape == before.shape else float("inf")
        worst = max(worst, difference)
        if not difference <= TOLERANCE:
            raise Broken(
                f"the loaded encoder's vectors differ by {difference:.1e} from those before saving (role {role})",
                "Whatever shapes a vector must be a hyper-parameter or one of the weights that finish writes; what an "
                "object keeps beside them is lost.",
            )
    if loaded.address != encoder.address:
        raise Broken(
            "the loaded encoder has another address than the saved one",
            "encoding_config must follow from the hyper-parameters alone.",
        )
    same = f"vectors differ by {worst:.0e}" if worst else "identical vectors"
    if not outcomes:
        return same
    moved = float(np.abs(encoder.encode(texts) - subject.encoder().encode(texts)).max())
    if not moved >= MOVED:
        raise Broken(
            f"after training, vectors differ by {moved:.1e} from the untrained ones",
            "finish must write the weights that were trained, adapters merged: save_merged(trained.module.body, …); "
            "and the loss must depend on the weights that the encoder uses.",
        )
    return f"{same}, {moved:.1g} away from the untrained ones"


def _train(case: Case, outcomes: list[StageOutcome]) -> None:
    stage = case.rehearsal()
    train_stage(
        cast(Stage, stage),
        f"stage-{case.number}",
        label="genembench check",
        start=FromFiles(case.subject.backbone, case.start, Engine()),
        data=case.data(EXAMPLES),
        engine=Engine(),
        seed=derive(0, "save"),
        stages=case.subject.scratch / "stages",
        payer="check",
        outcomes=outcomes,
        held_out=case.subject.rows["triplets"][-WATCHED:],
        preparation=None if stage.preparation() is None else f"stage-{case.number}",
    )
    _files(case, outcomes[-1].weights)


def _files(case: Case, weights: Path) -> None:
    for pattern, what in (
        ("config.json", "no config.json"),
        ("*.safetensors", "no safetensors weights"),
        ("tokenizer*", "no tokenizer"),
    ):
        if not list(weights.glob(pattern)):
            raise Broken(
                f"{case.label}finish left {what}",
                "save_merged(body, trained.tokenizer, folder) writes all that a next stage and the encoder need.",
            )
