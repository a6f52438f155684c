"""Where the backbone is: a local folder or a hub id, resolved to files, a content address and a size."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

from genembench.problem import Problem
from methods.encoder import WEIGHT_FILES, files_hash
from runners.demo import DEMO
from runners.engine import Engine


@dataclass(frozen=True)
class Backbone:
    """A backbone on this machine.

    Attributes:
        name: Last part of the path or hub id, for tables.
        given: What the user wrote.
        folder: Its files.
        address: Hash of its files' names and contents, wherever they lie.
        parameters: Number of weights in its files.
    """

    name: str
    given: str
    folder: Path
    address: str
    parameters: int


def resolve_backbone(given: str, engine: Engine) -> Backbone:
    """Find the backbone's files, downloading them where a hub id is given.

    ``demo`` is the demo's backbone, pre-trained on ``engine`` if it is not there yet; a folder of that name is
    ``./demo``.

    Raises:
        Problem: neither a usable folder nor a model that the hub serves to us.
    """
    if given == DEMO:
        # Only here: it imports a model's class, and with that half of transformers.
        from runners.demo_backbone import demo_backbone

        return _described(given, given, demo_backbone(engine))
    folder = Path(given).expanduser()
    name = folder.resolve().name if folder.exists() else Path(given).name
    return _described(given, name, folder if folder.exists() else _download(given))


def _described(given: str, name: str, folder: Path) -> Backbone:
    if not (folder / "config.json").is_file():
        raise Problem(
            f"backbone {given}: the folder has no config.json", "Give the folder of a Hugging Face model, or a hub id."
        )
    weights = sorted(folder.glob(WEIGHT_FILES[0]))
    if not weights:
        raise Problem(
            f"backbone {given}: no safetensors weights ({WEIGHT_FILES[0]}) in {folder}",
            "Convert it (model.save_pretrained(folder) writes safetensors); pickled weights are not loaded.",
        )
    try:
        parameters = sum(_parameters(file) for file in weights)
    except (ValueError, KeyError, OSError) as error:
        raise Problem(f"backbone {given}: {error}", "The file is damaged or incomplete: copy it again.") from error
    _check_architecture(given, folder)
    return Backbone(name, given, folder, files_hash(folder), parameters)


def _check_architecture(given: str, folder: Path) -> None:
    """Refuse what transformers could not build, before anything else is done with it."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise Problem(
            f"backbone {given}: transformers does not know this model ({str(error).splitlines()[0]})",
            "Use a model type that this version of transformers has built in.",
        ) from error


def _parameters(file: Path) -> int:
    """Count weights from a safetensors header, without loading them."""
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if not 2 <= length <= file.stat().st_size - 8:
            raise ValueError(f"{file} is not a safetensors file")
        header = json.loads(handle.read(length))
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    if max((entry["data_offsets"][1] for entry in tensors), default=0) + 8 + length != file.stat().st_size:
        raise ValueError(f"{file} is cut short")
    return sum(prod(entry["shape"]) for entry in tensors)


def _download(given: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(given, allow_patterns=list(WEIGHT_FILES)))
    except HFValidationError as error:
        raise Problem(
            f"backbone {given}: no such folder, and not a hub id either", "A hub id looks like organisation/model."
        ) from error
    except HfHubHTTPError as error:
        raise Problem(
            f"backbone {given}: the hub refused it ({str(error).splitlines()[0]})",
            "Check the spelling; for a gated model log in with `hf auth login`.",
        ) from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise Problem(
            f"backbone {given}: no such folder here, and the hub is out of reach ({type(error).__name__})",
            "Give a local folder, or connect to the network; a proxy is set with HTTPS_PROXY.",
        ) from error
