"""The encoder: text in, vectors out. Every method ends in one, and training's template and read-out are used again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from genembench.problem import Problem
from methods.contract import Method, Role
from methods.parts.backbone import attention_kernel, load_model, load_tokenizer
from methods.parts.forward import run_body
from methods.parts.tokens import TokenRow
from methods.registry import Registry, discover

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MANIFEST = "encoder.json"
ENCODING_VERSION = 1
"""Part of every address: raise it when the shared way from text to vector changes (`parts/`), and nothing is reused."""
TEXTS_AT_ONCE = 2048
"""Texts tokenised and encoded together; bounds the memory of token rows (two such lots) and read-outs (one)."""


class Encoder:
    """A trained, or untouched, backbone with its method's template, read-out and pooling.

    Attributes:
        name: The method's name.
        address: Hash of the weights, the tokenizer and everything that shapes a text's way to its vector.
        on_progress: Called with (texts done, texts in all) while `encode` runs.
        tokenizes_ahead: A thread tokenises while the body computes. Not on a CPU: there tokenising is a hundredth of
            the work even for a backbone of 5 M weights, and a thread only takes the processor from the body.
    """

    def __init__(
        self,
        name: str,
        address: str,
        method: Method,
        body: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        precision: str = "float32",
    ) -> None:
        self.name = name
        self.address = address
        self.method = method
        body.train(False).requires_grad_(False)
        self.body = body
        self.tokenizer = tokenizer
        self.precision = precision
        self.on_progress: Callable[[int, int], None] | None = None
        self.tokenizes_ahead = body.device.type != "cpu"

    @torch.inference_mode()
    def encode(
        self, texts: Sequence[str], role: Role = "symmetric", *, max_tokens: int | None = None
    ) -> NDArray[np.float32]:
        """Encode texts, in any order and any company the same: ``[len(texts), D]``, float32.

        Args:
            texts: The texts; equal ones are encoded as often as they occur.
            role: ``query``, ``document``, or ``symmetric`` where a task treats both sides alike.
            max_tokens: Padded tokens in one pass; speed and memory, not the result.
        """
        if not texts:
            return np.zeros((0, self.body.config.get_text_config().hidden_size), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        pieces, done = [], 0
        autocast = torch.autocast(self.body.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")
        with closing(self._tokenized([texts[i] for i in order], role)) as lots:
            for rows in lots:
                with autocast:
                    read_BkD = run_body(self.body, rows, self.method.readout, max_tokens=max_tokens)
                pieces.append(self.method.pool(read_BkD).float().cpu().numpy())
                done += len(rows)
                if self.on_progress is not None:
                    self.on_progress(done, len(order))
        vectors = np.empty((len(texts), pieces[0].shape[1]), dtype=np.float32)
        vectors[order] = np.concatenate(pieces)
        return vectors

    def _tokenized(self, texts: Sequence[str], role: Role) -> Generator[list[TokenRow]]:
        """Yield the token rows of each `TEXTS_AT_ONCE` texts; ahead, a thread makes the next while these are used.

        The caller has to close it: the thread ends with it, whatever ended the caller.
        """
        lots = [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]

        def tokenize(lot: Sequence[str]) -> list[TokenRow]:
            return list(self.method.tokenize(self.tokenizer, lot, role, "evaluate"))

        if len(lots) == 1 or not self.tokenizes_ahead:
            yield from map(tokenize, lots)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="tokenize") as thread:
            # One lot ahead and no more. In the caller's context, as if it were called here.
            ahead = thread.submit(copy_context().run, tokenize, lots[0])
            for following in lots[1:]:
                rows = ahead.result()
                ahead = thread.submit(copy_context().run, tokenize, following)
                yield rows
            yield ahead.result()


def write_manifest(folder: Path, *, name: str, method: Method, method_file: Path | None, weights: str) -> None:
    """Write what `load_encoder` needs: the method, its hyper-parameters, and where its weights lie.

    ``weights`` is relative to ``folder`` (an output folder can then be moved as a whole) or absolute.
    """
    manifest = {
        "format": 1,
        "method": name,
        "weights": weights,
        "config": method.config(),
        "method_file": str(method_file.resolve()) if method_file else None,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_encoder(
    folder: Path | str, *, device: str = "cpu", precision: str = "float32", registry: Registry | None = None
) -> Encoder:
    """Load a trained encoder from the folder that a run left.

    Raises:
        Problem: the folder is no encoder's, or its method is not to be found.
    """
    folder = Path(folder)
    # A run's folder is as good as the encoder inside it.
    inner = folder / "encoder" / MANIFEST
    manifest_file = inner if inner.is_file() else folder / MANIFEST
    if not manifest_file.is_file():
        raise Problem(
            f"{folder} is not a genembench encoder: it has no {MANIFEST}",
            "Give a folder that `genembench train` wrote, or sentence-transformers:PATH for another model.",
        )
    try:
        manifest: dict[str, Any] = json.loads(manifest_file.read_text(encoding="utf-8"))
        name, config, method_file = manifest["method"], manifest["config"], manifest["method_file"]
        weights = manifest_file.parent / manifest["weights"]
    except (ValueError, KeyError) as error:
        raise Problem(f"{manifest_file} cannot be read: {error}", "Train the encoder again.") from error
    if not (weights / "config.json").is_file():
        raise Problem(
            f"{folder}: its weights are not at {weights.resolve()}",
            "Copy the folders runs and stages together. A trial that lost a --tune has none: its stages are deleted.",
        )
    registry = registry or discover([Path(method_file)] if method_file else [])
    entry = registry.get(name)
    try:
        method = entry.cls(**config)
    except TypeError as error:
        raise Problem(
            f"{manifest_file}: method {name} has changed since this encoder was trained: {error}",
            "Train it again with this version.",
        ) from error
    return make_encoder(name, method, entry.source, weights, device=device, precision=precision)


def make_encoder(
    name: str,
    method: Method,
    source: str,
    weights: Path,
    *,
    content: str | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> Encoder:
    """Make the encoder of ``method`` from plain weights (a finished stage's, or the backbone's own).

    ``content`` is their `files_hash`, for who has it already: hashing a large model takes as long as loading it.
    """
    where = torch.device(device)
    return Encoder(
        name,
        encoder_address(content or files_hash(weights), method, source),
        method,
        load_model(weights, device=where, causal=method.causal, attention=attention_kernel(where.type, precision)),
        load_tokenizer(weights),
        precision=precision,
    )


def encoder_address(weights_hash: str, method: Method, source: str) -> str:
    """Hash weights, method source and the hyper-parameters that shape a text's way to its vector."""
    parts = [str(ENCODING_VERSION), weights_hash, source, json.dumps(method.encoding_config(), sort_keys=True)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


WEIGHT_FILES = ("model*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")


def files_hash(folder: Path, patterns: Iterable[str] = WEIGHT_FILES) -> str:
    """Hash the names and contents of a model folder's own files (weights, configuration, tokenizer), not its path."""
    digest = hashlib.sha256()
    names = sorted({path.name for pattern in patterns for path in folder.glob(pattern)} - {MANIFEST})
    for name in names:
        digest.update(f"{name}\0".encode())
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
