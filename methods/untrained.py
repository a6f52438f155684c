"""The backbone as it is: last token or mean of all tokens. What every trained method has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from methods.contract import Facts, Hyper, Method, Phase, Role, hyper
from methods.parts.tokens import TextTemplate, TokenRow
from methods.registry import register

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ONE_WORD = "\nThis sentence means in one word: “"
"""The prompt of AutoRegEmbed's own baselines, after the text; the last token is the opening quotation mark."""


@dataclass(frozen=True, kw_only=True)
class OneWordPrompt(Method):
    """A method whose text is ``{text}\\nThis sentence means in one word: “`` on every side and in every phase."""

    prompt: str = hyper(ONE_WORD, "what follows the text", encodes=True)

    def tokenize(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], role: Role, phase: Phase
    ) -> list[TokenRow]:
        """Tokenise text and prompt as one string; the mean runs over all tokens, BOS and prompt included."""
        return TextTemplate(suffix=self.prompt).rows(tokenizer, texts, self.max_length)


_AS_PUBLISHED = {
    "max_length": Hyper(512, "authors' code"),
    "prompt": Hyper(ONE_WORD, "authors' code"),
}


@register("untrained-last", readout_kind="last")
@register("untrained-mean", readout_kind="mean")
@dataclass(frozen=True, kw_only=True)
class Untrained(OneWordPrompt):
    """The untouched backbone (rows LLaMA2-L and LLaMA2-M "without training" of AutoRegEmbed's Table 1)."""

    facts = Facts(
        family="Training-free",
        paper="arXiv 2502.11401, Table 1",
        summary="hidden states of the untouched backbone",
        deviations=("The text is truncated, never the prompt; the authors' code cuts the prompt off long texts.",),
        parity="No recording; nothing is trained, and hidden states are the backbone's own.",
    )
    presets = {"paper": _AS_PUBLISHED, "small": _AS_PUBLISHED}
