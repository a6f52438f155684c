"""Chat wrappers by the chat template that stands with a tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from methods.llm2vec import LLM2Vec
from methods.parts.backbone import load_tokenizer
from methods.parts.chat import WRAPPERS, wrapper

# Each in the form in which its family publishes it, cut to what makes a user's turn.
TEMPLATES = {
    "llama-3": "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + "
    "m['content'] | trim + '<|eot_id|>' }}{% endfor %}",
    "qwen": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}",
    "gemma": "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m['role'] + '\n' + m['content'] | trim + "
    "'<end_of_turn>\n' }}{% endfor %}",
    "mistral": "{{ bos_token }}{% for m in messages %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endfor %}",
}
TURNS = {
    "llama-3": "<|start_header_id|>user<|end_header_id|>\n\nHELLO<|eot_id|>",
    "qwen": "<|im_start|>user\nHELLO<|im_end|>",
    "gemma": "<start_of_turn>user\nHELLO<end_of_turn>\n",
    "mistral": "[INST] HELLO [/INST]",
}
MARKS = {
    "llama-3": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "qwen": ["<|im_start|>", "<|im_end|>"],
    "gemma": ["<start_of_turn>", "<end_of_turn>"],
    "mistral": ["[INST]", "[/INST]"],
}


@pytest.fixture
def tokenizer(tiny_backbone: Path) -> Any:
    return load_tokenizer(tiny_backbone)


@pytest.mark.parametrize("family", TEMPLATES)
def test_the_wrapper_is_what_the_template_makes_of_a_turn(family: str, tokenizer: Any) -> None:
    tokenizer.chat_template = TEMPLATES[family]
    opening, closing = wrapper("auto", tokenizer)
    assert f"{opening}HELLO{closing}" == TURNS[family]
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "HELLO"}], tokenize=False)
    # A line break behind Qwen's turn belongs to what would follow.
    assert rendered.removeprefix("<s>").removesuffix("\n") == TURNS[family].removesuffix("\n")


@pytest.mark.parametrize("template", [None, "", "{% for m in messages %}### {{ m['content'] }}{% endfor %}"])
def test_without_a_template_that_is_known_there_is_no_wrapper(template: str | None, tokenizer: Any) -> None:
    tokenizer.chat_template = template
    assert wrapper("auto", tokenizer) == ("", "")


def test_a_wrapper_can_be_chosen_whatever_the_template(tokenizer: Any) -> None:
    for template in (None, TEMPLATES["qwen"]):
        tokenizer.chat_template = template
        assert wrapper("llama-3", tokenizer) == ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>")
        assert wrapper("llama-2", tokenizer) == ("[INST] ", " [/INST]")
        assert wrapper("none", tokenizer) == ("", "")
    assert set(WRAPPERS) == {"none", "llama-2", "llama-3", "qwen", "gemma"}


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_wrapped_query_is_one_string_of_special_tokens_instruction_and_text(family: str, tokenizer: Any) -> None:
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS[family]})
    tokenizer.chat_template = TEMPLATES[family]
    method = LLM2Vec(instruction="Say it:")
    query, document = (
        method.tokenize(tokenizer, ["a red ball"], role, "evaluate")[0] for role in ("query", "document")
    )
    for row, text in ((query, "Say it: a red ball"), (document, "a red ball")):
        assert row.ids == tokenizer(TURNS[family].replace("HELLO", text))["input_ids"]
        assert {tokenizer.convert_tokens_to_ids(mark) for mark in MARKS[family]} <= set(row.ids)
        read = [token for token, inside in zip(row.ids, row.content, strict=True) if inside]
        # What closes the turn is read as well; what opens it, and the instruction, is not.
        closing = TURNS[family].split("HELLO")[1]
        assert tokenizer.decode(read).removeprefix(" ") == f"a red ball{closing}"
        assert row.content == [False] * (len(row) - len(read)) + [True] * len(read)
