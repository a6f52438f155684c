"""The plain side: AutoRegEmbed's steps as the released code does them, written in ``tests/reference``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM

from genembench.problem import Problem
from methods.contract import Example
from methods.stages.align import Align
from runners.bench.sides import OnStep, Trained, whole_batches
from runners.bench.subject import Subject

DOES = (
    "tests/reference/autoregembed.py in a bare loop: tokenising, batches padded to their longest row, the query "
    "encoded for each of its targets, logits of the whole vocabulary at every position, backward, clipping, AdamW"
)
REFERENCE = Path(__file__).resolve().parents[2] / "tests" / "reference" / "autoregembed.py"
"""Part of the tests, so of a checkout and of no installation."""
_CHARACTERS_A_TOKEN = 2
"""A text with fewer characters a token than this is rare; one that may have been cut is not compared."""


def refusal(subject: Subject) -> str:
    """Say why the plain implementation cannot train this subject, or ""."""
    method: Any = subject.method
    stage: Any = subject.stage
    if stage.tuning != "full":
        return "it trains all weights, and this preset trains adapters"
    if getattr(stage, "scores", "sigmoid") != "sigmoid" or getattr(stage, "hard_negatives", 1) != 1:
        return "it is written for one hard negative and the scores of the paper"
    if any(len(row.get("negative", [""])) < 1 for row in subject.rows):
        return "it needs a hard negative in every row"
    longest = max((len(text) for row in subject.rows for text in _texts(row)), default=0)
    if longest > _CHARACTERS_A_TOKEN * min(method.max_length, stage.max_target_length):
        return f"it cuts no text, and the longest here has {longest:,} characters"
    return ""


def load_reference() -> Any:
    """Import the plain implementation.

    Raises:
        Problem: this is no checkout.
    """
    spec = spec_from_file_location("genembench_plain_autoregembed", REFERENCE) if REFERENCE.is_file() else None
    if spec is None or spec.loader is None:
        raise Problem(
            f"the plain implementation is not there: {REFERENCE}",
            "It is part of the tests, which only a checkout has: install one with `pip install -e .`.",
        )
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _texts(row: Example) -> list[str]:
    values = [each for value in row.values() for each in (value if isinstance(value, list) else [value])]
    return [value for value in values if isinstance(value, str)]


def train(subject: Subject, steps: int, on_step: OnStep) -> Trained:
    """Train so many steps in the order of the rows; what is prepared of them is prepared before the first."""
    whole_batches(subject, steps)
    engine, recipe, batch = subject.spec.engine, subject.stage.recipe, subject.spec.batch
    loss_of = _Losses(subject)
    optimizer = torch.optim.AdamW(
        loss_of.body.parameters(),
        lr=recipe.learning_rate,
        betas=recipe.betas,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    result = Trained()
    chunks = [subject.spec.rows[at : at + batch] for at in range(0, steps * batch, batch)]
    prepared = [loss_of.prepare(chunk) for chunk in chunks]
    for done, (chunk, reference) in enumerate(zip(chunks, prepared, strict=True), 1):
        size = engine.micro_batch or batch
        whole, total = loss_of.weight(chunk), 0.0
        for at in range(0, batch, size):
            part = chunk[at : at + size]
            share = loss_of.weight(part) / whole
            loss = share * loss_of(part, None if reference is None else reference[at : at + size])
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(loss_of.body.parameters(), recipe.clip_norm or float("inf"))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        result.losses.append(total)
        on_step(done)
    return result


class _Losses:
    """The losses of the two stages, from rows of text."""

    def __init__(self, subject: Subject) -> None:
        engine, start = subject.spec.engine, subject.start
        method: Any = subject.method
        self.method = method
        self.stage: Any = subject.stage
        self.code = load_reference()
        self.tokenizer = start.tokenizer()
        self.marks = self.code.compressed_token_ids(self.tokenizer, method.compressed_tokens)
        self.autocast = torch.autocast(engine.device, torch.bfloat16, enabled=engine.precision == "bfloat16")
        device: Any = engine.torch_device
        frozen = torch.bfloat16 if engine.precision == "bfloat16" else torch.float32
        self.body: Any = AutoModel.from_pretrained(start.folder, dtype=torch.float32).to(device).train()
        decoder: Any = AutoModelForCausalLM.from_pretrained(start.backbone, dtype=frozen).to(device)
        # It has no dropout, and recomputes in training mode only.
        self.decoder = decoder.requires_grad_(False).train(engine.gradient_checkpointing)
        if engine.gradient_checkpointing:
            for model in (self.body, self.decoder):
                model.activation_checkpointing_enable({"use_reentrant": False})

    def __call__(self, rows: Sequence[Example], reference: Tensor | None) -> Tensor:
        """Return the mean loss of rows."""
        with self.autocast:
            return self._compression(rows) if reference is None else self._alignment(rows, reference)

    def _compression(self, rows: Sequence[Example]) -> Tensor:
        ids = [self.code.training_ids(self.tokenizer, row["context"], row["instruction"]) for row in rows]
        targets = self._targets([row["target"] for row in rows])
        found: Tensor = self.code.compression_loss(self.body, self.decoder, ids, targets, self.marks)
        return found

    def _alignment(self, rows: Sequence[Example], reference: Tensor) -> Tensor:
        values = {"beta": self.stage.beta, "temperature": self.stage.temperature, "sign": self.stage.reference_sign}
        scores = self.code.alignment_logp(self.body, self.decoder, *self._ids(rows), self.marks)
        found: Tensor = self.code.alignment_loss(*scores, reference, **values)
        return found

    def weight(self, rows: Sequence[Example]) -> float:
        """Return what the mean of rows counts: rows in alignment, target tokens in compression."""
        if isinstance(self.stage, Align):
            return float(len(rows))
        return float(sum(map(len, self._targets([row["target"] for row in rows]))))

    def prepare(self, rows: Sequence[Example]) -> Tensor | None:
        """Return the reference scores of alignment."""
        if not isinstance(self.stage, Align):
            return None
        queries, _, positives, negatives = self._ids(rows)
        with self.autocast:
            found: Tensor = self.code.reference_logp(self.body, self.decoder, queries, positives, negatives, self.marks)
        return found

    def _ids(self, rows: Sequence[Example]) -> tuple[Any, Any, Any, Any]:
        sources = [
            [self.code.training_ids(self.tokenizer, row[side], self.method.prompt) for row in rows]
            for side in ("query", "positive")
        ]
        targets = self._targets([row["positive"] for row in rows])
        return sources[0], sources[1], targets, [self._targets([row["negative"][0] for row in rows])]

    def _targets(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.code.target_ids(self.tokenizer, text) for text in texts]
