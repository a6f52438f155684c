"""The files of a sentence-transformers folder: weights, tokenizer, and what says how they are put together."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from methods.contract import Role
from methods.encoder import Encoder
from methods.parts.adapt import unwrapped
from runners.exporting import templated_transformer
from runners.exporting.templated_transformer import Reading, TemplatedTransformer, read

Kind = Literal["library", "templated"]
"""Of the library's modules alone, or with a module of its own that travels in the folder."""

MODULE_FILE = Path(templated_transformer.__file__).name
SHARD = "5GB"
_TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
_POOLING = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
_NORMALIZE = "sentence_transformers.base.modules.normalize.Normalize"
# What loading leaves in a tokenizer's settings and is true of this machine only.
_LOCAL = ("name_or_path", "_name_or_path", "is_local", "local_files_only")


def library_suffices(
    tokenizer: PreTrainedTokenizerBase,
    readings: Mapping[Role, Reading],
    pooling: str,
    longest: int,
    texts: Iterable[str],
) -> bool:
    """Whether the library's own modules read texts as the readings do: nothing behind the text, all of it read."""
    if any(how.suffix or how.tail or how.blank or how.longest_text or how.longest for how in readings.values()):
        return False
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        return False
    for how in readings.values():
        for text in texts:
            try:
                ((ids, marks),) = read(tokenizer, [text], how, longest)
            except ValueError:
                continue
            plain = tokenizer(how.prefix + text, truncation=True, max_length=longest, verbose=False)["input_ids"]
            if plain != ids or not (all(marks) or (pooling == "lasttoken" and marks[-1])):
                return False
    return True


def write_weights(encoder: Encoder, folder: Path) -> None:
    """Write the body in float32 and its configuration, the direction of attention included."""
    with unwrapped():
        encoder.body.save_pretrained(folder, max_shard_size=SHARD)
    _without_local(folder / "config.json")
    mask = os.umask(0)
    os.umask(mask)
    for file in folder.glob("*.safetensors"):
        # It is written as a temporary file first, which nobody else may read.
        file.chmod(0o666 & ~mask)


def write_tokenizer(encoder: Encoder, folder: Path) -> None:
    """Write the tokenizer so that the library pads and cuts as we do: on the right, at ``max_length``."""
    tokenizer = encoder.tokenizer
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    tokenizer.model_max_length = encoder.method.max_length
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        # Never looked at, but the library does not pad without.
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    _without_local(folder / "tokenizer_config.json")


def write_modules(
    folder: Path,
    kind: Kind,
    readings: Mapping[Role, Reading],
    *,
    pooling: str,
    dimension: int,
    longest: int,
) -> None:
    """Write which modules there are and what each is told, over those of another kind that stand there."""
    templated = kind == "templated"
    first = f"{MODULE_FILE.removesuffix('.py')}.{TemplatedTransformer.__name__}" if templated else _TRANSFORMER
    types = {"": first, "1_Pooling": _POOLING, "2_Normalize": _NORMALIZE}
    _write(
        folder / "modules.json",
        [{"idx": i, "name": str(i), "path": path, "type": each} for i, (path, each) in enumerate(types.items())],
    )
    _write(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            # Said, or a tokenizer with a chat template would be given chats.
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "module_output_name": "token_embeddings",
            # Said, or the library would keep to the positions that the backbone was trained with.
            "processor_kwargs": {"model_max_length": longest},
        }
        | (
            {"unpad_inputs": False, "readings": {role: asdict(how) for role, how in readings.items()}}
            if templated
            else {}
        ),
    )
    _write(
        folder / "1_Pooling" / "config.json",
        {"embedding_dimension": dimension, "pooling_mode": pooling, "include_prompt": True},
    )
    _write(folder / "2_Normalize" / "config.json", {"module_input_name": "sentence_embedding"})
    _write(folder / "config_sentence_transformers.json", _settings(kind, readings, pooling))
    if templated:
        shutil.copyfile(templated_transformer.__file__, folder / MODULE_FILE)


def requirements(pooling: str) -> dict[str, str]:
    """Return the oldest versions that give these vectors; the library refuses to load the folder with older ones."""
    # In 6.0 weights counted from the start of the row, and not from the first token that is read.
    library = ">=6.2" if pooling == "weightedmean" else ">=6.0"
    # is_causal in a configuration was passed over before.
    return {"sentence-transformers": library, "transformers": ">=5.2"}


def _settings(kind: Kind, readings: Mapping[Role, Reading], pooling: str) -> dict[str, Any]:
    prefixes = {role: how.prefix for role, how in readings.items()}
    prompts = {} if not any(prefixes.values()) else {role: prefixes[role] for role in ("query", "document")}
    default = None
    if prompts and kind == "library":
        # The module of our own knows its prompt by itself.
        default = "symmetric"
        prompts[default] = prefixes["symmetric"]
    named = {"sentence_transformers": "sentence-transformers", "transformers": "transformers", "pytorch": "torch"}
    return {
        "model_type": "SentenceTransformer",
        "__version__": {name: version(package) for name, package in named.items()},
        "requirements": requirements(pooling),
        "prompts": prompts,
        "default_prompt_name": default,
        "similarity_fn_name": "cosine",
    }


def _without_local(file: Path) -> None:
    values = json.loads(file.read_text(encoding="utf-8"))
    _write(file, {key: value for key, value in values.items() if key not in _LOCAL})


def _write(file: Path, value: object) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
