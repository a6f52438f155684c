"""Tiny random backbones of several architectures, with tokenizers of several habits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from methods.parts.backbone import load_model, load_tokenizer

Bos = Literal["added", "known", "none"]
"""The tokenizer puts BOS in front by itself; it has one and does not; it has none."""

_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
}
_GEMMA = _SHAPE | {"head_dim": 8, "query_pre_attn_scalar": 8}
_WINDOW = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
# Caps and windows are small enough to matter in texts of a few tokens.
CONFIGURATIONS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "llama": (LlamaConfig, _SHAPE),
    "mistral": (MistralConfig, _SHAPE | {"sliding_window": 8}),
    "qwen2": (Qwen2Config, _SHAPE),
    "qwen3": (Qwen3Config, _SHAPE | {"head_dim": 8}),
    "gemma": (GemmaConfig, _SHAPE | {"head_dim": 8}),
    "gemma2": (Gemma2Config, _GEMMA | _WINDOW | {"final_logit_softcapping": 1.5, "attn_logit_softcapping": 2.0}),
    "gemma3": (Gemma3TextConfig, _GEMMA | _WINDOW),
    "gpt2": (
        GPT2Config,
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.15}
        | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    ),
}


@dataclass(frozen=True)
class Kind:
    """What a backbone is made like; ``spare`` is the number of embeddings that no token has."""

    architecture: str = "llama"
    tied: bool = True
    bos: Bos = "added"
    side: Literal["left", "right"] = "right"
    spare: int = 0

    def __str__(self) -> str:
        head = "tied" if self.tied else "untied"
        return f"{self.architecture}-{head}-bos_{self.bos}-{self.side}" + (f"-spare{self.spare}" if self.spare else "")

    def save(self, folder: Path, vocabulary: Path) -> Path:
        """Write it to ``folder``, with the vocabulary of another backbone's tokenizer."""
        tokenizer = self._tokenizer(vocabulary)
        make, settings = CONFIGURATIONS[self.architecture]
        config = make(
            **settings,
            vocab_size=len(tokenizer) + self.spare,
            tie_word_embeddings=self.tied,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(config)
            # Biases and norms too, or what is wrong with them would not show.
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    def _tokenizer(self, vocabulary: Path) -> PreTrainedTokenizerFast:
        data = json.loads((vocabulary / "tokenizer.json").read_text(encoding="utf-8"))
        if self.bos != "added":
            data["post_processor"] = None
        return PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(json.dumps(data)),
            bos_token=None if self.bos == "none" else "<s>",
            eos_token="</s>",
            # As many published tokenizers have it, and as the authors' own code sets it.
            pad_token="<pad>" if self.bos == "added" else "</s>",
            padding_side=self.side,
        )


@dataclass(frozen=True)
class Files:
    """A stage's start, on the CPU: ``folder`` is what the stage before left, or the backbone."""

    backbone: Path
    folder: Path

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer."""
        return load_tokenizer(self.folder)

    def model(self, *, head: bool = False, causal: bool = True) -> PreTrainedModel:
        """Load the weights."""
        return load_model(self.folder, device=torch.device("cpu"), head=head, causal=causal)

    def untouched(self) -> PreTrainedModel:
        """Load the backbone with its head."""
        return load_model(self.backbone, device=torch.device("cpu"), head=True)
