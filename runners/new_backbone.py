"""A backbone from nothing: a byte-level BPE tokenizer learnt from text, and a Llama with random weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from genembench.problem import Problem

BOS, EOS, PAD = SPECIAL = "<s>", "</s>", "<pad>"
_BYTES = 256


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of a Llama; ``context`` is its longest input in tokens, ``vocabulary`` at most so many tokens."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 4
    intermediate: int = 384
    vocabulary: int = 1024
    context: int = 512

    def __post_init__(self) -> None:
        """Refuse what is no transformer, or has no tokenizer.

        Raises:
            Problem: numbers that do not go together, or too small ones.
        """
        least = _BYTES + len(SPECIAL)
        if self.vocabulary < least:
            raise Problem(
                f"a vocabulary of {self.vocabulary} has no room for {_BYTES} bytes and {len(SPECIAL)} special tokens",
                f"Take at least {least}.",
            )
        if self.context < 2:
            raise Problem(f"a context of {self.context} has no room for a token behind {BOS}", "Take at least 2.")
        if self.hidden % self.heads or (self.hidden // self.heads) % 2:
            raise Problem(
                f"hidden={self.hidden} cannot be shared by {self.heads} heads",
                "Rotary positions need an even number of dimensions per head: hidden = heads × 2n.",
            )
        if self.heads % self.key_value_heads:
            raise Problem(
                f"{self.heads} heads cannot share {self.key_value_heads} key-value heads", "The first is a multiple."
            )


def learn_tokenizer(texts: Iterable[str], shape: Shape) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE tokenizer that puts ``<s>`` in front of a text and can spell every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    start = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS}:1 $B:1", special_tokens=[(BOS, start)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, model_max_length=shape.context
    )


def random_llama(tokenizer: PreTrainedTokenizerFast, shape: Shape, seed: int) -> LlamaForCausalLM:
    """Make a Llama with random weights and tied embeddings; the same for the same seed."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
