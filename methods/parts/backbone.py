"""Loading models and tokenizers: attention kernel, direction of attention, and a clear error where it can't be done."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.import_utils import is_flash_attn_2_available

from genembench.problem import Problem


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

    ``causal=False`` makes a Llama-like backbone bidirectional through its configuration (transformers 5).

    Raises:
        Problem: the folder holds no model that transformers can load.
    """
    kind = AutoModelForCausalLM if head else AutoModel
    try:
        model: PreTrainedModel = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation=attention,
            **({} if causal else {"is_causal": False}),
        )
    except (OSError, ValueError, KeyError) as error:
        raise Problem(
            f"no model could be loaded from {folder}: {_first_line(error)}",
            "Give a folder with config.json and safetensors weights, or a hub id.",
        ) from error
    # Token by token caches are for generation; here they would only hold memory.
    model.config.use_cache = False
    model.to(device)  # type: ignore[arg-type]  # the stubs of a decorated method lose its self
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
