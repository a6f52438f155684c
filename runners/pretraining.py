"""Pre-training a small backbone on text, with the one trainer: its meter, its checkpoints, its exact resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from benchmarks.training_data import TrainingData
from genembench.problem import Problem
from methods.contract import Example, Recipe, Stage, Start, Trainable
from methods.parts.adapt import unwrapped
from methods.parts.cross_entropy import computing_by
from methods.parts.head import Head
from methods.parts.ledger import charging
from methods.parts.losses import LossTerm
from methods.parts.next_token import next_token_loss
from methods.parts.tokens import TokenRow
from runners.addresses import address
from runners.engine import ENGINE_VERSION, Engine
from runners.new_backbone import Shape, learn_tokenizer, random_llama
from runners.output import write_json
from runners.progress import Progress, say
from runners.trainer import Trainer

# In a folder of its own: what lies beside the weights is part of the backbone's address, and seconds are not.
RECORD = "pretraining/record.json"
HELD_OUT = 0.01
"""Share of the texts that only measure the loss."""


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """What is pre-trained and how; with the texts it determines the weights."""

    shape: Shape
    learning_rate: float
    batch_size: int = 64
    epochs: int = 1
    seed: int = 0

    @property
    def recipe(self) -> Recipe:
        """AdamW with the settings that are usual for language models (Touvron et al. 2023, LLaMA, section 2.3)."""
        return Recipe(
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            epochs=self.epochs,
            schedule="cosine",
            warmup=0.05,
            weight_decay=0.1,
            betas=(0.9, 0.95),
        )

    def address(self, data: TrainingData, precision: str) -> str:
        """Hash what determines the weights."""
        return address({"engine": ENGINE_VERSION, "texts": data.address, "precision": precision, **asdict(self)})


class LanguageModel(nn.Module):
    """A causal language model whose ``forward`` is its loss on token rows."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model
        self.head = Head(model)

    def forward(self, rows: Sequence[TokenRow]) -> dict[str, LossTerm]:
        """Sum of next-token cross-entropies."""
        return {"next_token": next_token_loss(self.model.model, self.head, rows)}


@dataclass(frozen=True)
class NextToken(Stage):
    """Next-token prediction on texts; a text longer than the context becomes several rows."""

    name = "pretrain"
    data = "text"

    settings: Pretraining
    texts: tuple[str, ...]
    device: torch.device

    @property
    def loss_kind(self) -> Literal["additive", "joint"]:
        """A sum over tokens."""
        return "additive"

    @property
    def recipe(self) -> Recipe:
        """Optimiser settings."""
        return self.settings.recipe

    def build(self, start: Start | None = None) -> Trainable:
        """Learn the tokenizer and make the random model."""
        tokenizer: PreTrainedTokenizerFast = learn_tokenizer(self.texts, self.settings.shape)
        model: Any = random_llama(tokenizer, self.settings.shape, self.settings.seed)
        return Trainable(LanguageModel(model.to(self.device)).train(), tokenizer)

    def collate(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> list[TokenRow]:
        """Tokenise: BOS, text, EOS."""
        encoded = tokenizer([row["text"] for row in examples], add_special_tokens=False)["input_ids"]
        room = self.settings.shape.context - 1
        rows = []
        for ids in encoded:
            ended = [*ids, tokenizer.eos_token_id]
            for at in range(0, len(ended), room):
                piece = [tokenizer.bos_token_id, *ended[at : at + room]]
                rows.append(TokenRow(piece, [True] * len(piece)))
        return rows

    def weigh(self, batch: Sequence[TokenRow]) -> dict[str, float]:
        """Every token but BOS is predicted."""
        return {"next_token": float(sum(len(row) - 1 for row in batch))}

    def finish(self, trained: Trainable, folder: Path) -> None:
        """Write weights and tokenizer as transformers does."""
        assert isinstance(trained.module, LanguageModel)
        with unwrapped():
            trained.module.model.eval().save_pretrained(folder)
        trained.tokenizer.save_pretrained(folder)


def pretrain(settings: Pretraining, data: TrainingData, folder: Path, engine: Engine, label: str) -> None:
    """Pre-train a backbone into ``folder``, a Hugging Face model folder with `RECORD` beside the weights.

    It is written as ``.partial-<name>`` beside it and renamed when it is whole; a killed training goes on from its last
    checkpoint, and what another process trains here is waited for. The record holds settings, data, costs and the loss
    on the texts that were held out.

    Raises:
        Problem: a training of other settings or texts stands there, finished or not.
        Diverged: the loss stopped being finite.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{label}: another process is at it; waiting for it")
        lock.acquire()
    try:
        found = read_pretraining(folder)
        if found is None:
            with _quiet_transformers():
                _pretrain(settings, data, folder, engine, label)
        elif found["address"] != settings.address(data, engine.precision):
            raise Problem(f"{folder} was pre-trained with other settings or texts", "Choose another --output.")
    finally:
        lock.release()


def _pretrain(settings: Pretraining, data: TrainingData, folder: Path, engine: Engine, label: str) -> None:
    partial = folder.with_name(f".partial-{folder.name}")
    identity = settings.address(data, engine.precision)
    _claim(partial, identity)
    held_out = max(1, min(round(HELD_OUT * len(data)), 500)) if len(data) > 1 else 0
    trained_on, rest = data.take(len(data) - held_out), data.rows[len(data) - held_out :]
    stage = NextToken(settings, tuple(row["text"] for row in trained_on.rows), engine.torch_device)
    with computing_by(engine.cross_entropy):
        trained = stage.build()
    with Progress(label, 0, "step") as bar:

        def show(done: int, steps: int, loss: float) -> None:
            if bar.total == 0:
                bar.begin(steps, done - 1)
            bar.to(done, f"loss {loss:.3f}")

        trainer = Trainer(
            stage,
            trained,
            trained_on.ids,
            trained_on.rows,
            engine=engine,
            seed=settings.seed,
            folder=partial,
            on_step=show,
        )
        costs = trainer.train()
    loss = held_out_loss(stage, trained, rest) if rest else None
    weights = partial / "weights"
    shutil.rmtree(weights, ignore_errors=True)
    stage.finish(trained, weights)
    facts: Mapping[str, Any] = {
        "address": identity,
        "settings": asdict(settings),
        "texts": {"source": data.path, "address": data.address, "trained_on": len(trained_on), "held_out": len(rest)},
        "held_out_loss": loss,
        "precision": engine.precision,
        "device": engine.device,
        "costs": costs.to_json(),
    }
    write_json(weights / RECORD, facts)
    shutil.copy(partial / "metrics.jsonl", (weights / RECORD).parent)
    if engine.tensorboard:
        shutil.copytree(partial / "tensorboard", (weights / RECORD).parent / "tensorboard")
    weights.replace(folder)
    shutil.rmtree(partial)
    words = f"{loss:.3f} nats a token on held-out text, " if loss is not None else ""
    say(f"{label}: {words}{costs.training_seconds:.0f} s")


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hold back the bar of saving, and the remark that a text is longer than the context: it is split."""
    logging: Any = import_module("transformers.utils.logging")  # Its functions are not typed.
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def _claim(partial: Path, identity: str) -> None:
    """Make the partial folder, or go on with one of the same training."""
    marker = partial / "address"
    # Without a marker, or with an empty one, a process died before it had trained anything.
    if marker.is_file() and marker.read_text() not in ("", identity):
        raise Problem(
            f"{partial} holds an unfinished pre-training with other settings or texts",
            "Delete it, or choose another --output.",
        )
    partial.mkdir(exist_ok=True)
    marker.write_text(identity)


@torch.inference_mode()
def held_out_loss(stage: NextToken, trained: Trainable, rows: Sequence[Example]) -> float:
    """Mean cross-entropy in nats per token."""
    trained.module.eval()
    total, weight = torch.zeros(()), 0.0
    with charging(None):
        for at in range(0, len(rows), stage.settings.batch_size):
            batch = stage.collate(rows[at : at + stage.settings.batch_size], trained.tokenizer)
            term: LossTerm = trained.module(batch)["next_token"]
            summed: Tensor = term.sum.cpu()
            total, weight = total + summed, weight + term.weight
    return float(total) / weight


def read_pretraining(folder: Path) -> dict[str, Any] | None:
    """Return the record of a backbone that was pre-trained here, None for any other folder."""
    try:
        found: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
