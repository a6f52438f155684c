"""Texts on which two ways of reading would differ, if they differ: all lengths, odd white space, odd characters."""

from __future__ import annotations

import random
from collections.abc import Iterator

from transformers import PreTrainedTokenizerBase

_WORDS = (
    *("river", "engine", "quiet", "seven", "paints", "behind", "the", "market", "of", "cold", "morning", "and", "a"),
    *("judge", "lifts", "wooden", "ladders", "because", "nobody", "carries", "lamps", "through", "empty", "gardens"),
)
_ODD = (
    *(".", "a", "?!", "7", " a", "a ", "   leading spaces", "trailing spaces   ", "\ttab", "a\nb", "\n\nlines\n\n"),
    *("line\r\nbreak.\r\n", "two  spaces", "MiXeD CaSe", "naïve café, déjà vu", "“quoted” – dashed…", "ﬁ ligature ½ ²"),
    *(
        "日本語の文章です。",
        "Привет, мир!",
        "مرحبا بالعالم",
        "नमस्ते दुनिया",
        "🙂 👩‍👩‍👧‍👦 🇪🇺",
        "e\u0301 combined",
        "a\u200bb",
        "\u00a0",
    ),
    *(
        "http://example.org/a?b=c&d=%20",
        "def f(x): return x ** 2",
        "<b>bold</b>",
        "x" * 60,
        "1,234.50 € (net)",
        "…",
        "- ",
    ),
)
BLANK = ("", " ", "\n", " \t ")
"""Not all methods read these."""


def sentence(source: random.Random, words: int) -> str:
    """Return so many words with a capital letter in front and a full stop behind."""
    return " ".join(source.choice(_WORDS) for _ in range(words)).capitalize() + "."


def probes(tokenizer: PreTrainedTokenizerBase, longest: int) -> list[str]:
    """Return some 70 texts, the last two of more than ``longest`` tokens; always the same ones."""
    source = random.Random(0)
    plain = [sentence(source, words) for words in (1, 2, 3, 4, 6, 8, 10, 12, 15, 20, 25, 30, 40, 60)]
    # What a text may spell and a template may be made of.
    special = [each for name in tokenizer.all_special_tokens[:6] for each in (f"ends in {name}", f"{name} in front")]
    too_long = [next(texts_of(tokenizer, longest + more)) for more in (3, 40)]
    return [*plain, *_ODD, *special, *BLANK, *too_long]


def texts_of(tokenizer: PreTrainedTokenizerBase, *lengths: int) -> Iterator[str]:
    """Yield a text for each number of tokens, counted without prompts (a token more or less where words merge)."""
    source = random.Random(1)
    text = sentence(source, max(lengths, default=0) + 1)
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    for length in lengths:
        yield text[: spans[length - 1][1]]
