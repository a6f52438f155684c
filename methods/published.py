"""LLM2Vec models as their authors publish them: a base model, and the adapters that are merged into it one by one.

The way from text to vector is that of the package llm2vec 0.2.3 (MIT; BehnamGhader et al., arXiv 2404.05961), token by
token, which is not in all points that of our method ``llm2vec``: a finished model is measured as it is used. What
remains different:

- vectors are L2-normalised, the cosine is the same; adapters are merged in float32, whatever precision follows;
- one instruction stands before every query and symmetric text, the authors' of all STS tasks; they have one per task;
- attention is bidirectional, which is tried: the package's Qwen2 class stays causal (its issue 79);
- an empty text has a vector of its own, where the package reads padding; a single word that is longer than a text may
  be is cut, where the package drops it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from genembench.problem import Problem, unknown
from methods.contract import Method, Phase, Role, hyper
from methods.encoder import Encoder, encoder_address
from methods.parts.adapter import CONFIG, adapted, bare_body, read_object
from methods.parts.backbone import attention_kernel, load_model, load_tokenizer
from methods.parts.chat import WRAPPERS
from methods.parts.tokens import TokenRow, shortened, starting_token
from methods.registry import MethodEntry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SETTINGS = "llm2vec_config.json"
DEFAULTS = {"pooling_mode": "mean", "max_length": 512, "doc_max_length": 400, "skip_instruction": True}
_POOLING = {"mean": "mean", "weighted_mean": "weighted_mean", "eos_token": "last", "last_token": "last"}
_LLAMA_3 = "meta-llama/Meta-Llama-3-8B-Instruct"
# By exact name, as in the package: that is what its vectors were made with.
_TURNS = {
    _LLAMA_3: WRAPPERS["llama-3"],
    "mistralai/Mistral-7B-Instruct-v0.2": WRAPPERS["llama-2"],
    "meta-llama/Llama-2-7b-chat-hf": WRAPPERS["llama-2"],
    "google/gemma-2-9b-it": ("<bos><start_of_turn>user\n", "<end_of_turn>"),
    "Qwen/Qwen2-1.5B-Instruct": WRAPPERS["qwen"],
    "Qwen/Qwen2-7B-Instruct": WRAPPERS["qwen"],
}
_ENDS = {"llama": " </s>", "mistral": " </s>", "gemma": "<eos>", "qwen2": "<|endoftext|>"}


@dataclass(frozen=True)
class Parts:
    """The folders of a model, and the base's hub id where it came from there."""

    base: Path
    adapters: tuple[Path, ...] = ()
    hub_id: str = ""

    @property
    def first(self) -> Path:
        """The folder that the package would be given first: it takes tokenizer and name from there."""
        return self.adapters[0] if self.adapters else self.base

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer of the first adapter, or of the base if that has none."""
        names = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
        return load_tokenizer(self.first if any((self.first / name).is_file() for name in names) else self.base)

    def known_as(self) -> str:
        """Name by which the package would choose a chat wrapper, empty where none is recorded."""
        if not self.adapters and self.hub_id:
            return self.hub_id
        config = self.first / "config.json"
        name = read_object(config).get("_name_or_path") if config.is_file() else ""
        if not name and self.adapters:
            name = read_object(self.first / CONFIG).get("base_model_name_or_path")
        return str(name or "")


@dataclass(frozen=True, kw_only=True)
class Published(Method):
    """``{opening}{instruction} {text}{closing}``, read at as many last tokens as text and closing have alone."""

    causal = False

    instruction: str = hyper("Retrieve semantically similar text:", "before queries and symmetric texts")
    opening: str = hyper("", "what stands before the instruction")
    closing: str = hyper("", "what stands behind the text")
    max_text_length: int = hyper(400, "longest text in tokens, by itself")
    content: Literal["text", "row", "first"] = hyper("text", "what is read: the text, everything, or the first token")

    def tokenize(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], role: Role, phase: Phase
    ) -> list[TokenRow]:
        """Tokenise as the package does: the row is cut at its end, whatever stands there."""
        said = self.instruction.strip() if role != "document" else ""
        texts = [self._cut(tokenizer, text) for text in texts]
        if self.opening or self.closing:
            texts = [text.rstrip() for text in texts]
        # Of an empty text something must be left to read.
        tails = [(text + self.closing) or " " for text in texts]
        whole = [self.opening + (f"{said} " if said else "") + tail for tail in tails]
        rows = self._ids(tokenizer, whole, special=True)
        own = self._ids(tokenizer, tails)
        return [TokenRow(ids, self._read(len(ids), len(alone))) for ids, alone in zip(rows, own, strict=True)]

    def _read(self, length: int, own: int) -> list[bool]:
        if self.content == "first":
            return [True] + [False] * (length - 1)
        kept = length if self.content == "row" else min(max(own, 1), length)
        return [False] * (length - kept) + [True] * kept

    def _cut(self, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
        """Drop words from the end until the text is short enough, by the package's guesses of how many."""
        # A token is a byte or more, but for one that some tokenizers put in front.
        if len(text.encode()) < self.max_text_length:
            return text
        left = text
        while (length := len(self._ids(tokenizer, [left])[0])) > self.max_text_length:
            share, words = self.max_text_length / length, left.split()
            left = " ".join(words[: int(len(words) * share)])
        return left or shortened(tokenizer, [text], self.max_text_length)[0]

    def _ids(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, special: bool = False
    ) -> list[list[int]]:
        cut: dict[str, Any] = {"truncation": True, "max_length": self.max_length}
        found: list[list[int]] = tokenizer(list(texts), add_special_tokens=special, **cut)["input_ids"]
        return found


def read_method(parts: Parts, tokenizer: PreTrainedTokenizerBase) -> Published:
    """Read how the last part wants texts to be read, and by the recorded name what stands around them.

    Raises:
        Problem: a file is damaged, or asks for what is not known here.
    """
    file = [parts.base, *parts.adapters][-1] / SETTINGS
    found = read_object(file) if file.is_file() else {}
    settings: dict[str, Any] = DEFAULTS | found
    for key, value in found.items():
        if key not in DEFAULTS:
            raise unknown(f"setting in {file}:", key, DEFAULTS)
        if type(value) is not type(DEFAULTS[key]) or (type(value) is int and value < 1):
            raise Problem(f"{file}: {key} is {value!r}", f"It should be something like {DEFAULTS[key]!r}.")
    pooling = settings["pooling_mode"]
    if pooling not in (*_POOLING, "bos_token"):
        raise unknown(f"pooling_mode in {file}:", pooling, (*_POOLING, "bos_token"))
    if pooling == "bos_token" and not starting_token(tokenizer):
        raise Problem(f"{file} reads the BOS token, and the tokenizer puts none before a text", "Copy the files again.")
    name = parts.known_as()
    opening, closing = _TURNS.get(name, ("", ""))
    # The package leaves Llama 3's turn as it is, and goes on with every other.
    if pooling == "eos_token" and name != _LLAMA_3:
        kind = str(read_object(parts.base / "config.json").get("model_type"))
        closing += "<|end_of_text|>" if name == "meta-llama/Meta-Llama-3-8B" else _ENDS.get(kind, "")
    return Published(
        readout_kind=_POOLING.get(pooling, "last"),
        max_length=settings["max_length"],
        max_text_length=settings["doc_max_length"],
        opening=opening,
        closing=closing,
        content="first" if pooling == "bos_token" else "text" if settings["skip_instruction"] else "row",
    )


def check(parts: Parts) -> None:
    """Find out without loading weights whether the parts belong together.

    Raises:
        Problem: they do not, or a file is missing or damaged.
    """
    read_method(parts, parts.tokenizer())
    body = bare_body(parts.base)
    for folder in parts.adapters:
        body = adapted(body, folder).unload()


def load_published(
    name: str, parts: Parts, *, content: str, device: str = "cpu", precision: str = "float32"
) -> Encoder:
    """Load a published model; ``content`` is a hash of its files.

    Raises:
        Problem: as `check`, or a model that cannot be made bidirectional.
    """
    where = torch.device(device)
    tokenizer = parts.tokenizer()
    method = read_method(parts, tokenizer)
    body = load_model(parts.base, device=where, causal=False, attention=attention_kernel(where.type, precision))
    for folder in parts.adapters:
        body = adapted(body, folder).merge_and_unload()
    return Encoder(name, published_address(content, method), method, body, tokenizer, precision=precision)


def published_address(content: str, method: Published) -> str:
    """Hash the files' hash, the settings and the code that shapes a text's way to its vector."""
    return encoder_address(content, method, MethodEntry("", Published, {}, __name__).source)
