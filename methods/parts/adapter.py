"""Adapters as peft publishes them (LoRA folders): read, held against the body they are for, and merged into it.

peft says nothing of tensors that it finds no place for, and leaves random numbers where tensors are missing. Here every
tensor of a folder is accounted for, or the folder is refused.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from genembench.problem import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter; transformers takes it for one too, whatever else lies there."""
    return (folder / CONFIG).is_file()


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        Problem: the file cannot be read, or holds something else.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Problem(f"{file} cannot be read: {error}", "Copy the folder again.") from error
    if not isinstance(found, dict):
        raise Problem(f"{file} holds a {type(found).__name__}, not an object", "Copy the folder again.")
    return found


def bare_body(base: Path) -> PreTrainedModel:
    """Build the body of a model without its weights (on torch's device ``meta``), to hold adapters against.

    Raises:
        Problem: transformers has no such model of its own (code that lies in the folder is not run), or its weights are
            damaged.
    """
    from transformers import AutoConfig, AutoModel

    for file in base.glob("*.safetensors"):
        try:
            with safe_open(file, "pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise Problem(f"{file} cannot be read: {_first_line(error)}", "Copy the file again.") from error
    try:
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
        with torch.device("meta"):
            body: PreTrainedModel = AutoModel.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise Problem(
            f"no model can be made from {base}: {_first_line(error)}",
            "Use a model type that this version of transformers has built in.",
        ) from error
    return body


def adapted(body: PreTrainedModel, folder: Path) -> Any:
    """Put the adapter of a folder on a body (in place) and return peft's model around it.

    The body may have no weights (`bare_body`): names and shapes are compared all the same. ``merge_and_unload`` of what
    is returned gives the body with the adapter merged, ``unload`` the body as it was.

    Raises:
        Problem: not a LoRA adapter, damaged, or of another model than ``body``.
    """
    # peft costs seconds to import, and nobody else here needs it.
    from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

    kind = read_object(folder / CONFIG).get("peft_type")
    if kind != "LORA":
        raise Problem(f"{folder} is an adapter of kind {kind}", "Only LoRA can be merged here.")
    if not (folder / WEIGHTS).is_file():
        raise Problem(
            f"{folder} has no {WEIGHTS}",
            "Copy the folder again; pickled weights (adapter_model.bin) are not loaded, peft can save them anew.",
        )
    try:
        stored = load_file(folder / WEIGHTS)
        config = LoraConfig.from_pretrained(str(folder))
        # Any task would have peft look for a head.
        config.task_type = None
        with warnings.catch_warnings():
            # peft asks transformers in a way that will not be understood one day.
            warnings.simplefilter("ignore", FutureWarning)
            model = PeftModel(body, config)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        raise Problem(f"the adapter in {folder} cannot be loaded: {_first_line(error)}", _of(folder)) from error
    _compare(folder, type(body).__name__, stored, get_peft_model_state_dict(model, save_embedding_layers=False))
    if body.device.type != "meta":
        set_peft_model_state_dict(model, stored)
        landed = get_peft_model_state_dict(model, save_embedding_layers=False)
        for name, tensor in stored.items():
            if not torch.equal(landed[name].cpu(), tensor.to(landed[name].dtype)):
                raise RuntimeError(f"peft did not load {name} of {folder}")
    return model


def _compare(folder: Path, body: str, stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Refuse tensors without a place, places without a tensor, and tensors of another shape."""
    strange, missing = stored.keys() - wanted.keys(), wanted.keys() - stored.keys()
    for names, what in ((strange, "tensors without a place"), (missing, "missing tensors")):
        if names:
            raise Problem(
                f"the adapter in {folder} does not fit {body}: {what}: {len(names)}, such as {min(names)}",
                _of(folder),
            )
    for name in sorted(stored):
        one, other = tuple(stored[name].shape), tuple(wanted[name].shape)
        if one != other:
            raise Problem(
                f"the adapter in {folder} is of another model: {name} has shape {one}, this {body} needs {other}",
                _of(folder),
            )


def _of(folder: Path) -> str:
    return f"It was trained on {read_object(folder / CONFIG).get('base_model_name_or_path')}: use it with that model."


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
