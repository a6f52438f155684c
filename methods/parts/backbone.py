"""Loading models and tokenizers: attention kernel, direction of attention, and a clear error where it can't be done."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from genembench.problem import Problem
from methods.parts.direction import ask_for_direction, ensure_direction
from methods.parts.packed_rows import NAME as PACKED

# transformers' models, and what is registered with them, are imported where a model is loaded: they take seconds, and
# most commands read about methods long before.
if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger("genembench")


@cache
def attention_kernel(device_type: str, precision: str) -> str:
    """Name the fastest attention that is really there, for any model: ``packed`` rows, or ``sdpa`` on padded ones.

    On a GPU the kernels for variable lengths (flash-attn's where installed, else torch's own) compute in half precision
    only, so float32 runs keep ``sdpa``. What a certain model got tells `attention_of`.
    """
    if device_type == "cpu":
        return PACKED if precision == "float32" else "sdpa"
    from methods.parts.packed_attention import variable_length_kernel

    fast = device_type == "cuda" and precision == "bfloat16" and variable_length_kernel() is not None
    return PACKED if fast else "sdpa"


def attention_of(model: PreTrainedModel, precision: str) -> str:
    """Name the attention that a loaded model runs, for the record: ``packed (torch varlen)``, ``sdpa``, ..."""
    from methods.parts.packed_attention import kernel_name

    kernel = str(model.config._attn_implementation)
    return f"{kernel} ({kernel_name(model.device.type, precision)})" if kernel == PACKED else kernel


def load_model(
    folder: Path | str,
    *,
    device: torch.device,
    head: bool = False,
    causal: bool = True,
    attention: str = "sdpa",
    insist: bool = False,
) -> PreTrainedModel:
    """Load float32 weights: the body, or with ``head`` the causal language model.

    Args:
        folder: Where weights and configuration lie, or a hub id.
        device: Where the weights go.
        head: Load the language model's head too.
        causal: False makes the backbone bidirectional; either direction is tried on a few tokens (`ensure_direction`).
        attention: ``sdpa``, ``eager``, ``packed`` or a flash-attn of transformers; what `attention_kernel` found.
        insist: Refuse a model that cannot run packed, instead of taking the best that it can.

    Raises:
        Problem: the folder holds no model that transformers can load, attention has another direction than asked, or
            the model cannot run packed and must.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    kind = AutoModelForCausalLM if head else AutoModel
    try:
        config = AutoConfig.from_pretrained(folder)
        ask_for_direction(config, causal=causal)
        loaded: Any = kind.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            # None: sdpa, or eager where the architecture cannot be computed with it (Gemma 2's soft-capping).
            attn_implementation=attention if attention == "eager" else None,
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
    # Token by token caches are for generation; here they would only hold memory.
    model.config.use_cache = False
    model.to(device)  # type: ignore[arg-type]  # the stubs of a decorated method lose its self
    if attention == PACKED:
        attention = _packed_or_not(model, insist=insist)
    # Not every architecture has a flash path; those that do not keep sdpa.
    if attention == PACKED or (attention.startswith("flash") and getattr(model, "_supports_flash_attn", False)):
        model.set_attn_implementation(attention)
    ensure_direction(model, causal=causal)
    return model


def _packed_or_not(model: PreTrainedModel, *, insist: bool) -> str:
    """Return the attention for a model that is wanted packed.

    Raises:
        Problem: packing is insisted on, and the model refuses.
    """
    from transformers.utils.import_utils import is_flash_attn_2_available

    from methods.parts.packing import packing_refusal

    kind = model.device.type
    # Who wants packed rows on a GPU runs in half precision (`attention_kernel`); the weights do not tell.
    refusal = packing_refusal(model, kind, "bfloat16" if kind == "cuda" else "float32")
    if refusal is None:
        return PACKED
    if insist:
        raise Problem(
            f"{type(model).__name__} cannot run on packed rows: {refusal}",
            "Leave the choice of attention to genembench (rows are then padded), or use another backbone.",
        )
    instead = "flash_attention_2" if kind == "cuda" and is_flash_attn_2_available() else "sdpa"
    logger.info("%s runs on padded rows: %s", type(model).__name__, refusal)
    return instead


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """Load the tokenizer that stands with a model.

    Raises:
        Problem: the folder holds none.
    """
    from transformers import AutoTokenizer

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
