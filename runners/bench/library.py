"""The side of sentence-transformers: its own model, trainer, losses and `encode`, on the same weights."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import torch
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerModelCardData,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from torch import nn
from torch.utils.data import BatchSampler, SequentialSampler
from transformers import TrainerCallback
from transformers.utils.import_utils import is_flash_attn_2_available

from methods.contract import Method
from runners.bench.sides import OnStep, Trained, whole_batches
from runners.bench.subject import SEED, Subject
from runners.engine import Engine

DOES = (
    "SentenceTransformerTrainer with MultipleNegativesRankingLoss (with --micro-batch the cached one, as many texts in "
    "a pass as ours), hard negatives as columns: tokenising, forward, backward, clipping, AdamW; no saving, evaluation "
    "or reporting"
)
POOLINGS = {"mean": "mean", "last": "lasttoken"}


def unusable(method: Method) -> str:
    """Say why the library's own modules cannot encode as this method does, or ""."""
    if method.readout_kind not in POOLINGS or not method.causal or method.new_tokens or not hasattr(method, "prompt"):
        return "its modules have no such way from text to vector"
    return ""


def refusal(subject: Subject) -> str:
    """Say why sentence-transformers cannot train this subject, or ""."""
    stage: Any = subject.stage
    if not stage.in_batch:
        return "its loss always has in-batch negatives"
    if stage.tuning != "full":
        return "all weights are trained, and this preset trains adapters"
    if any(len(row["negative"]) < stage.hard_negatives for row in subject.rows):
        return f"it needs {stage.hard_negatives} hard negatives in every row"
    return unusable(subject.method)


class Suffixed(Transformer):
    """The library's transformer with the method's prompt behind every text; its own prompts stand in front."""

    suffix = ""

    def preprocess(
        self,
        inputs: Sequence[Any],
        prompt: str | None = None,
        processing_kwargs: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Tokenise texts with the prompt behind them."""
        found: dict[str, Any] = super().preprocess(
            [text + self.suffix for text in inputs], prompt, processing_kwargs, **kwargs
        )
        return found


def model_of(method: Any, folder: Path, engine: Engine) -> SentenceTransformer:
    """Load a model of the same weights, prompt and pooling."""
    # The fastest that the library's own users could name.
    flash = engine.device == "cuda" and engine.precision == "bfloat16" and is_flash_attn_2_available()
    kernel = "flash_attention_2" if flash else "sdpa"
    body = Suffixed(
        str(folder),
        model_kwargs={"dtype": torch.float32, "attn_implementation": kernel},
        max_seq_length=method.max_length,
        # Said, or a tokenizer with a chat template would be given chats.
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
    )
    body.suffix = method.prompt
    tokenizer: Any = body.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    pooling = Pooling(body.get_embedding_dimension(), POOLINGS[method.readout_kind])
    # No model card is written, so no examples for it are looked for.
    card = SentenceTransformerModelCardData()
    card.widget = [{"text": ""}]
    return SentenceTransformer(modules=[body, pooling, Normalize()], device=engine.device, model_card_data=card)


class _Steps(TrainerCallback):
    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._on_step(state.global_step)


def train(subject: Subject, steps: int, on_step: OnStep) -> Trained:
    """Train so many steps in the order of the rows, with one batch more in the data.

    Its data loader is a batch ahead of the step: without that batch the last step would have none to tokenise.
    """
    whole_batches(subject, steps)
    stage: Any = subject.stage
    engine, batch = subject.spec.engine, subject.spec.batch
    torch.manual_seed(SEED)
    model = model_of(subject.method, subject.start.folder, engine)
    scale = 1.0 / stage.temperature
    loss: nn.Module
    if engine.micro_batch is None:
        loss = MultipleNegativesRankingLoss(model, scale=scale)
    else:
        # Its passes take texts of one column; as many as ours takes of all columns.
        texts = engine.micro_batch * (2 + stage.hard_negatives)
        loss = CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_size=texts)
    found: list[torch.Tensor] = []
    loss.register_forward_hook(lambda _, __, output: found.append(output.detach()))
    rows = subject.spec.rows[: (steps + 1) * batch]
    columns = {name: [row[name] for row in rows] for name in ("query", "positive")}
    columns |= {f"negative_{i}": [row["negative"][i] for row in rows] for i in range(stage.hard_negatives)}
    with TemporaryDirectory() as folder, _quiet():
        trainer = SentenceTransformerTrainer(
            model=model,
            args=_arguments(subject, steps, folder),
            train_dataset=datasets.Dataset.from_dict(columns),
            loss=loss,
            callbacks=[_Steps(on_step)],
        )
        trainer.train()
    return Trained(losses=[each.item() for each in found])


def _arguments(subject: Subject, steps: int, folder: str) -> SentenceTransformerTrainingArguments:
    engine, recipe = subject.spec.engine, subject.stage.recipe
    in_order: Any = _in_order  # one of torch's, which the library's annotation does not name
    return SentenceTransformerTrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=subject.spec.batch,
        batch_sampler=in_order,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        weight_decay=recipe.weight_decay,
        adam_beta1=recipe.betas[0],
        adam_beta2=recipe.betas[1],
        adam_epsilon=recipe.eps,
        max_grad_norm=recipe.clip_norm,
        bf16=engine.precision == "bfloat16",
        activation_checkpointing=engine.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if engine.gradient_checkpointing else None,
        use_cpu=engine.device == "cpu",
        dataloader_pin_memory=engine.device == "cuda",
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=SEED,
    )


def _in_order(dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> BatchSampler:
    return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back bars, and the dictionary of its own speeds that the trainer prints at the end."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        if shown:
            datasets.enable_progress_bars()
