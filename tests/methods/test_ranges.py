"""Every hyper-parameter of every built-in method has a range, and what is outside of it is refused when it is set."""

from __future__ import annotations

import dataclasses
import math
import typing
from pathlib import Path

import pytest

from genembench.problem import Problem
from methods.ranges import allowed_of
from methods.registry import discover

ENTRIES = discover().entries

# A file as others write them: names that ours have too, and other meanings.
STRANGER = """
from dataclasses import dataclass
from methods.contract import hyper
from methods.registry import register
from methods.untrained import OneWordPrompt, Untrained

@register("strange", readout_kind="first")
@dataclass(frozen=True, kw_only=True)
class Strange(Untrained):
    presets = {}
    temperature: float = hyper(0.0, "0 takes the best one only")
    lora_rank: int = hyper(-1, "-1 is as large as can be")

    def readout(self, hidden_BLD, content_BL):
        return hidden_BLD[:, :1]

@register("half-strange")
@dataclass(frozen=True, kw_only=True)
class HalfStrange(OneWordPrompt):
    facts = Untrained.facts
    readout_kind: str = hyper("last", "of the contract's")
"""


@pytest.mark.parametrize("name", ENTRIES)
def test_every_number_has_a_range_and_every_preset_is_inside(name: str) -> None:
    cls = ENTRIES[name].cls
    types = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if types[field.name] in (int, float):
            allowed = allowed_of(cls, field)
            assert allowed is not None, f"{field.name} has no range: give it one in methods/ranges.py"
            assert not allowed.fits(math.nan)
            assert not allowed.fits(math.inf)
            assert not allowed.fits(-1)
    for preset in ("default", *cls.presets):
        values = ENTRIES[name].create(preset).config()
        for key, kind in types.items():
            if typing.get_origin(kind) is typing.Literal:
                assert values[key] in typing.get_args(kind)


@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        ("llm2vec", "readout_kind", "foo", "last, mean, weighted_mean"),
        # Its rows have as many tokens as their texts.
        ("llm2vec", "readout_kind", "marked", "last, mean, weighted_mean"),
        ("anchor-embedding", "readout_kind", "foo", "last, mean, weighted_mean"),
        ("autoregembed", "readout_kind", "foo", "last, mean, weighted_mean, marked"),
        ("infonce-mean", "lora_rank", "0", "1 or more"),
        ("infonce-mean", "lora_alpha", "-1", "1 or more"),
        ("infonce-mean", "lora_dropout", "1.0", "0 or more and below 1"),
        ("infonce-mean", "lora_dropout", "nan", "0 or more and below 1"),
        ("infonce-mean", "batch_size", "0", "1 or more"),
        ("infonce-mean", "epochs", "-1", "1 or more"),
        ("infonce-mean", "learning_rate", "inf", "above 0"),
        ("infonce-mean", "warmup", "1.5", "from 0 to 1"),
        ("infonce-mean", "weight_decay", "-0.1", "0 or more"),
        ("infonce-mean", "temperature", "0", "above 0"),
        ("infonce-mean", "hard_negatives", "-1", "0 or more"),
        ("untrained-mean", "max_length", "0", "1 or more"),
        ("anchor-embedding", "alpha", "1.1", "from 0 to 1"),
        ("anchor-embedding", "anchor_warmup", "-0.1", "from 0 to 1"),
        ("autoregembed", "compressed_tokens", "0", "1 or more"),
        ("autoregembed", "beta", "0", "above 0"),
        ("llm2vec", "max_text_length", "0", "1 or more"),
        ("llm2vec", "mask_probability", "0", "above 0 and at most 1"),
        # Of a stage that this name does not train.
        ("llm2vec", "simcse_dropout", "1", "0 or more and below 1"),
        ("llm2vec", "simcse_temperature", "-1", "above 0"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name_value_and_range(name: str, key: str, value: str, words: str) -> None:
    with pytest.raises(Problem) as caught:
        ENTRIES[name].create("small", {key: value})
    assert caught.value.what.startswith(f"{name}.{key}=")
    assert caught.value.what.endswith(": not a valid value")
    assert caught.value.hint == f"Allowed: {words}."


def test_the_ends_of_a_range_belong_to_it() -> None:
    ends = {"lora_rank": "1", "lora_dropout": "0", "warmup": "1", "hard_negatives": "0", "weight_decay": "0"}
    found = ENTRIES["infonce-mean"].create("small", ends).config()
    assert [found[key] for key in ends] == [1, 0.0, 1.0, 0, 0.0]
    assert ENTRIES["autoregembed"].create("small", {"readout_kind": "mean"}).readout_kind == "mean"


def test_names_bind_our_own_fields_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "strange.py"
    file.write_text(STRANGER)
    found = discover([file])
    values = found.get("strange").create("default", {"temperature": "-2"}).config()
    assert (values["readout_kind"], values["temperature"], values["lora_rank"]) == ("first", -2.0, -1)
    # What the class has from ours stays ours, and so does the way the contract reads out.
    with pytest.raises(Problem, match=r"strange\.max_length=0"):
        found.get("strange").create("default", {"max_length": "0"})
    with pytest.raises(Problem, match=r"half-strange\.readout_kind=first"):
        found.get("half-strange").create("default", {"readout_kind": "first"})
