"""Loading models and tokenizers: attention kernel, direction of attention, and a clear error where it can't be done."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.import_utils import is_flash_attn_2_available

from genembench.problem import Problem
from methods.parts.direction import ask_for_direction, ensure_direction


@cache
def attention_kernel(device_type: str, precision: str) -> str:
    """Name the fastest attention that is really there: flash-attn on a GPU where installed, else torch's ``sdpa``.

    flash-attn computes in half precision only, so float32 runs keep ``sdpa``.
    """
    flash = device_type == "cuda" and precision == "bfloat16" and is_flash_attn_2_available()
    return "flash_attention_2" if flash else "sdpa"


def load_model(
    folder: Path | str, *, device: torch.device, head: bool = False, causal: bool = True, attention: str = "sdpa"
) -> PreTrainedModel:
    """Load float32 weights: the body, or with ``head`` the causal language model.

    ``causal=False`` makes the backbone bidirectional; either direction is tried on a few tokens (`ensure_direction`).

    Raises:
        Problem: the folder holds no model that transformers can load, or attention has another direction than asked.
    """
    kind = AutoModelForCausalLM if head else AutoModel
    try:
        config = AutoConfig.from_pretrained(folder)
        ask_for_direction(config, causal=causal)
        loaded: Any = kind.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            # None: sdpa, or eager where the architecture cannot be computed with it (Gemma 2's soft-capping).
            attn_implementation=None if attention == "sdpa" or attention.startswith("flash") else attention,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError) as error:
        raise Problem(
            f"no model could be loaded from {folder}: {_first_line(error)}",
            "Give a folder with config.json and safetensors weights, or a hub id.",
        ) from error
    model: PreTrainedModel
    model, report = loaded
    # transformers fills what is missing with random numbers.
    absent = sorted(set(report["missing_keys"]) | {key for key, *_ in report["mismatched_keys"]})
    if absent:
        raise Problem(
            f"the weights in {folder} lack {len(absent)} tensors of the model, the first is {absent[0]}",
            "config.json and the weights do not belong together: copy the model again.",
        )
    # Not every architecture has a flash path; those that do not keep sdpa.
    if attention.startswith("flash") and getattr(model, "_supports_flash_attn", False):
        model.set_attn_implementation(attention)
    # Token by token caches are for generation; here they would only hold memory.
    model.config.use_cache = False
    model.to(device)  # type: ignore[arg-type]  # the stubs of a decorated method lose its self
    ensure_direction(model, causal=causal)
    return model


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """Load the tokenizer that stands with a model.

    Raises:
        Problem: the folder holds none.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise Problem(
            f"no tokenizer could be loaded from {folder}: {_first_line(error)}",
            "The folder needs tokenizer.json and tokenizer_config.json.",
        ) from error
    return tokenizer


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
