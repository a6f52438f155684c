"""Chat wrappers: what stands around a user's turn for the families of instruction-tuned backbones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Chat = Literal["auto", "none", "llama-2", "llama-3", "qwen", "gemma"]

WRAPPERS: dict[str, tuple[str, str]] = {
    "none": ("", ""),
    "llama-3": ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
    "qwen": ("<|im_start|>user\n", "<|im_end|>"),
    "gemma": ("<start_of_turn>user\n", "<end_of_turn>\n"),
    "llama-2": ("[INST] ", " [/INST]"),
}
"""What opens and what closes a user's turn; Mistral's instruction-tuned models take that of Llama 2."""

_SIGNS = {"llama-3": "<|start_header_id|>", "qwen": "<|im_start|>", "gemma": "<start_of_turn>", "llama-2": "[INST]"}


def wrapper(chat: Chat, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """Return what opens and what closes a turn.

    ``auto`` reads it off the chat template that stands with the tokenizer, never off a model's name (LLM2Vec compares
    names, so that a copy in a local folder silently gets no wrapper). Without a template, or with one of another
    family, there is none.
    """
    if chat != "auto":
        return WRAPPERS[chat]
    template = str(tokenizer.chat_template or "")
    found = next((name for name, sign in _SIGNS.items() if sign in template), "none")
    return WRAPPERS[found]
