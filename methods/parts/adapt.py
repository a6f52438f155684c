"""Which weights train: all of them, or low-rank adapters (LoRA) that are merged before anything is saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from genembench.problem import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Tuning = Literal["full", "lora"]


@dataclass(frozen=True)
class LoraShape:
    """LoRA on every linear layer of the body (q, k, v, o, gate, up and down in a Llama)."""

    rank: int
    alpha: int
    dropout: float


def trainable(model: nn.Module, tuning: Tuning, lora: LoraShape, *, new_tokens: Sequence[int] = ()) -> nn.Module:
    """Return ``model`` with exactly the weights of ``tuning`` requiring gradients, in training mode.

    ``new_tokens`` are ids that a method added: with adapters their embeddings train too, and no other rows.
    """
    if tuning == "full":
        model.requires_grad_(True)
        model.train()
        return model
    if tuning != "lora":
        raise Problem(f"unknown tuning '{tuning}'", "Allowed: full, lora.")
    # peft costs seconds to import; full fine-tuning does not pay for it.
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        trainable_token_indices={_embedding_name(model): list(new_tokens)} if new_tokens else None,
    )
    adapted: nn.Module = get_peft_model(model, config)
    return adapted.train()


def _embedding_name(model: nn.Module) -> str:
    embeddings = model.get_input_embeddings()  # type: ignore[operator]
    return next(str(name) for name, module in model.named_modules() if module is embeddings)


def save_merged(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    within: PreTrainedModel | None = None,
) -> None:
    """Write plain Hugging Face weights (adapters merged in) and the tokenizer to ``folder``.

    ``within`` is the language model whose body ``model`` is, where its head is to be written too.
    """
    plain: Any = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model  # type: ignore[operator]
    # Adapters are put into the body in place, so the model around it holds what they were merged into.
    whole = plain if within is None else within
    if within is not None:
        from transformers import GenerationConfig

        # How the backbone wants to sample is nobody's business here, and where that is contradictory nothing is saved.
        within.generation_config = GenerationConfig()
    with unwrapped():
        whole.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def unwrapped() -> Iterator[None]:
    """Have ``save_pretrained`` inside take a model as it is: none is wrapped in a trainer's module here.

    transformers would import DeepSpeed, where it is installed, to see: seconds, and a line on the terminal.
    """
    from transformers import modeling_utils

    found = modeling_utils.unwrap_model
    modeling_utils.unwrap_model = lambda model, **options: model  # type: ignore[assignment]
    try:
        yield
    finally:
        modeling_utils.unwrap_model = found
