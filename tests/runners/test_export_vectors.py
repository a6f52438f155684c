"""Exported folders give our vectors: every method, several architectures and tokenizers, every way of reading."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from genembench.problem import Problem
from methods.encoder import load_encoder
from methods.parts.backbone import load_tokenizer
from methods.registry import MethodEntry, discover
from runners.contract_checks import Subject
from runners.contract_checks.subject import training_rows
from runners.exporting import exporter
from runners.exporting.check import Difference
from runners.new_method import write
from tests.methods.backbones import Kind
from tests.methods.test_chat import MARKS, TEMPLATES
from tests.runners.exporting import TEXTS, assert_same_vectors, encoded, export_to, loaded, plain, stand_alone

ENTRIES = sorted(discover().entries.values(), key=lambda entry: entry.name)
SHORT = {"max_length": "64", "max_text_length": "40"}

Backbones = Callable[[Kind], Path]


@pytest.fixture(scope="module")
def backbone(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Backbones:
    folder = tmp_path_factory.mktemp("backbones")

    def of(kind: Kind) -> Path:
        path = folder / str(kind)
        return path if path.exists() else kind.save(path, tiny_backbone)

    return of


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is compared by the export itself: what it hands out is compared here, and in no process of its own."""
    monkeypatch.setattr(exporter, "compare", lambda *_, **__: Difference(0.0, "symmetric", "", True, 1))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_method_exports(
    entry: MethodEntry, backbone: Backbones, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fields = entry.cls.__dataclass_fields__
    subject = Subject(
        entry=entry,
        backbone=backbone(Kind("llama")),
        rows=training_rows(),
        scratch=tmp_path_factory.mktemp("weights"),
        preset="small",
        overrides={name: value for name, value in SHORT.items() if name in fields},
    )
    encoder = stand_alone(tmp_path / "encoder", entry, subject.method(), subject.starts[-1])
    export_to(encoder, tmp_path / "out")
    assert_same_vectors(encoder, tmp_path / "out")


KINDS = [
    Kind("llama", bos="none", side="left"),
    Kind("llama", bos="known", tied=False),
    Kind("qwen2", bos="none", side="left"),
    Kind("mistral"),  # a sliding window of 8 tokens
    Kind("gemma", side="left"),
    Kind("gemma2"),  # attention that only eager computes
    Kind("gpt2", bos="known", side="left"),  # positions are embedded: the side of padding moves them
]
WAYS = [
    ("untrained-mean", {}),
    ("untrained-last", {"prompt": ""}),
    ("llm2vec", {"max_text_length": "40"}),
    ("anchor-embedding", {"max_text_length": "40"}),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_on_other_architectures_and_tokenizers(kind: Kind, backbone: Backbones, tmp_path: Path) -> None:
    for name, overrides in WAYS:
        encoder = plain(tmp_path / name / "encoder", name, backbone(kind), overrides)
        export_to(encoder, tmp_path / name / "out")
        assert_same_vectors(encoder, tmp_path / name / "out")


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("llm2vec", {"content": "released"}),
        ("llm2vec", {"readout_kind": "weighted_mean", "max_text_length": "40"}),
        ("llm2vec", {"instruction": ""}),
        ("llm2vec", {"max_length": "30"}),  # less than max_text_length: the row is what is cut
        ("anchor-embedding", {"content": "released", "readout_kind": "mean"}),
        ("anchor-embedding", {"max_length": "30"}),
        ("untrained-mean", {"prompt": " </s>"}),
    ],
    ids=str,
)
def test_settings_that_change_the_reading(
    name: str, overrides: dict[str, str], backbone: Backbones, tmp_path: Path
) -> None:
    encoder = plain(tmp_path / "encoder", name, backbone(Kind("llama")), overrides)
    export_to(encoder, tmp_path / "out")
    assert_same_vectors(encoder, tmp_path / "out")


@pytest.mark.parametrize("family", ["llama-3", "gemma"])
@pytest.mark.parametrize("name", ["llm2vec", "anchor-embedding", "untrained-mean"])
def test_a_chat_template_is_used_as_the_method_uses_it_and_not_by_the_library(
    name: str, family: str, backbone: Backbones, tmp_path: Path
) -> None:
    chatting = tmp_path / "chatting"
    # Embeddings for the marks are there: the spare ones.
    kind = Kind("llama", spare=8)
    for file in backbone(kind).iterdir():
        (chatting / file.name).parent.mkdir(exist_ok=True)
        (chatting / file.name).write_bytes(file.read_bytes())
    tokenizer: Any = load_tokenizer(chatting)
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS[family]})
    tokenizer.chat_template = TEMPLATES[family]
    tokenizer.save_pretrained(chatting)
    overrides = {"prompt": ""} if name == "untrained-mean" else {"max_text_length": "40"}
    encoder = plain(tmp_path / "encoder", name, chatting, overrides)
    assert export_to(encoder, tmp_path / "out").kind == ("library" if name == "untrained-mean" else "templated")
    assert_same_vectors(encoder, tmp_path / "out")


@pytest.mark.parametrize("readout", ["last", "mean", "weighted_mean"])
@pytest.mark.parametrize("prefix", ["", "sentence: "])
def test_the_library_alone_does_where_nothing_follows_the_text_and_all_is_read(
    prefix: str, readout: str, backbone: Backbones, tmp_path: Path
) -> None:
    """The plug-in that `genembench new-method` writes is such a one."""
    file = write("my-idea", tmp_path / "my_idea.py")
    file.write_text(file.read_text().replace('readout_kind="mean"', f'readout_kind="{readout}"'))
    encoder = plain(tmp_path / "encoder", "my-idea", backbone(Kind("llama", side="left")), {"prompt": prefix}, [file])
    assert export_to(encoder, tmp_path / "out").kind == "library"
    assert not list((tmp_path / "out").glob("*.py"))
    assert_same_vectors(encoder, tmp_path / "out", trust=False)
    # A prompt of one's own stands in place of the method's.
    other = plain(tmp_path / "other", "my-idea", backbone(Kind("llama", side="left")), {"prompt": "say: "}, [file])
    theirs = loaded(tmp_path / "out", trust=False).encode(TEXTS, prompt="say: ")
    np.testing.assert_allclose(theirs, load_encoder(other).encode(TEXTS), atol=1e-5)


def test_a_prompt_of_ones_own_takes_the_place_of_the_instruction(backbone: Backbones, tmp_path: Path) -> None:
    encoder = plain(tmp_path / "encoder", "llm2vec", backbone(Kind("llama")))
    export_to(encoder, tmp_path / "out")
    other = load_encoder(plain(tmp_path / "other", "llm2vec", backbone(Kind("llama")), {"instruction": "Say it:"}))
    model = loaded(tmp_path / "out")
    for encode in (model.encode, model.encode_query, model.encode_document):
        np.testing.assert_allclose(encode(TEXTS, prompt="Say it: "), other.encode(TEXTS, "query"), atol=1e-5)
    np.testing.assert_allclose(model.encode(TEXTS, prompt=""), other.encode(TEXTS, "document"), atol=1e-5)
    assert model.prompts == {"query": "Retrieve semantically similar text: ", "document": ""}


def test_max_seq_length_can_be_lowered_and_survives_saving(backbone: Backbones, tmp_path: Path) -> None:
    encoder = plain(tmp_path / "encoder", "untrained-mean", backbone(Kind("llama")))
    export_to(encoder, tmp_path / "out")
    shorter = load_encoder(plain(tmp_path / "other", "untrained-mean", backbone(Kind("llama")), {"max_length": "40"}))
    model = loaded(tmp_path / "out")
    assert model.max_seq_length == 64
    model.max_seq_length = 40
    np.testing.assert_allclose(encoded(model, TEXTS, "query"), shorter.encode(TEXTS), atol=1e-5)
    model.save(str(tmp_path / "again"))
    again = loaded(tmp_path / "again")
    assert again.max_seq_length == 40
    np.testing.assert_allclose(encoded(again, TEXTS, "symmetric"), shorter.encode(TEXTS), atol=1e-5)


def test_max_length_beyond_the_backbones_positions_is_kept(backbone: Backbones, tmp_path: Path) -> None:
    """The library would cut at max_position_embeddings."""
    weights = tmp_path / "weights"
    weights.mkdir()
    for file in backbone(Kind("llama")).iterdir():
        (weights / file.name).write_bytes(file.read_bytes())
    config = json.loads((weights / "config.json").read_text())
    (weights / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 32}))
    for prompt in ("", "\nIn one word:"):
        encoder = plain(tmp_path / f"encoder{prompt}", "untrained-mean", weights, {"prompt": prompt})
        export_to(encoder, tmp_path / f"out{prompt}")
        assert_same_vectors(encoder, tmp_path / f"out{prompt}")


def test_bidirectional_attention_survives_the_folder(backbone: Backbones, tmp_path: Path) -> None:
    """transformers alone, told nothing, attends both ways; and causally where the method does."""
    changed = {}
    for name in ("llm2vec", "anchor-embedding"):
        encoder = plain(tmp_path / name / "encoder", name, backbone(Kind("llama")))
        export_to(encoder, tmp_path / name / "out")
        body: Any = AutoModel.from_pretrained(tmp_path / name / "out").eval()
        with torch.inference_mode():
            one, other = (body(torch.tensor([[5, 6, 7, last]])).last_hidden_state[0, 0] for last in (8, 9))
        changed[name] = float((one - other).abs().max())
    assert changed["llm2vec"] > 1e-3
    assert changed["anchor-embedding"] == 0


def test_what_the_method_refuses_the_folder_refuses(backbone: Backbones, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(READS_THE_TEXT)
    encoder = plain(tmp_path / "encoder", "own", backbone(Kind("llama")), method_files=[file])
    export_to(encoder, tmp_path / "out")
    assert_same_vectors(encoder, tmp_path / "out")
    with pytest.raises(Problem, match="leaves no token to read"):
        load_encoder(encoder).encode([""])
    model = loaded(tmp_path / "out")
    with pytest.raises(ValueError, match="leaves no token to read"):
        model.encode([""])
    model.max_seq_length = 3
    with pytest.raises(ValueError, match="leave no room for a text"):
        model.encode(["a cat"])
    with pytest.raises(ValueError, match="strings, and nothing else"):
        model.preprocess([("a", "b")])


PLUG_IN = """
from dataclasses import dataclass
from genembench import Facts, Method, TextTemplate, TokenRow, hyper, register

@register("own")
@dataclass(frozen=True, kw_only=True)
class Own(Method):
    facts = Facts(family="Mine", paper="none", summary="mine")
    def tokenize(self, tokenizer, texts, role, phase):
        {}
"""
READS_THE_TEXT = PLUG_IN.format(
    'return TextTemplate(prefix="a: ", suffix=" (end)", content="text").rows(tokenizer, texts, self.max_length)'
)


@pytest.mark.parametrize(
    "tokenize",
    [
        # Text and prompt tokenised apart, as some code bases do.
        """say, end = (tokenizer(each, add_special_tokens=False)["input_ids"] for each in ("so: ", " (end)"))
        room = self.max_length - len(say) - len(end)
        rows = TextTemplate().rows(tokenizer, texts, room, bos=[])
        return [TokenRow(say + row.ids + end, [False] * len(say) + row.content + [True] * len(end)) for row in rows]""",
        # Roles that differ in what follows, and in how long they may be.
        """end, longest = ("?", 20) if role == "query" else (".", self.max_length)
        return TextTemplate(suffix=end, content="text and suffix").rows(tokenizer, texts, longest)""",
        # A prompt with quotation marks, line breaks and a token's name.
        """return TextTemplate('"<s>"\\n\\t', "</s>\\n").rows(tokenizer, texts, self.max_length)""",
    ],
    ids=["apart", "roles", "odd"],
)
def test_methods_of_others_export_by_what_they_do(tokenize: str, backbone: Backbones, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(PLUG_IN.format(tokenize))
    encoder = plain(tmp_path / "encoder", "own", backbone(Kind("llama")), method_files=[file])
    export_to(encoder, tmp_path / "out")
    assert_same_vectors(encoder, tmp_path / "out")


ROWS = "return TextTemplate().rows(tokenizer, texts, self.max_length)"
POOLS = """
    def pool(self, readout_BkD):
        return readout_BkD[:, 0]
"""
READS = """
    def readout(self, hidden_BLD, content_BL):
        return hidden_BLD[:, :2]
"""


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (PLUG_IN.format(ROWS) + POOLS, "Own.pool cannot be exported"),
        (PLUG_IN.format(ROWS) + READS, "Own.readout cannot be exported"),
        (
            PLUG_IN.format(f"texts = [text.lower() for text in texts]\n        {ROWS}"),
            "Own.tokenize cannot be exported",
        ),
        (
            PLUG_IN.format("return [TokenRow([7, len(text) + 9], [True, True]) for text in texts]"),
            "Own.tokenize cannot be exported",
        ),
        # Every other token: no template does that.
        (
            PLUG_IN.format(
                "rows = TextTemplate().rows(tokenizer, texts, self.max_length)\n"
                "        return [TokenRow(r.ids, [i % 2 == 0 for i in range(len(r.ids))]) for r in rows]"
            ),
            "Own.tokenize cannot be exported: no template gives its tokens of",
        ),
        # It looks at the tokenizer too closely to be watched.
        (
            PLUG_IN.format(
                "from transformers import PreTrainedTokenizerBase\n"
                "        assert isinstance(tokenizer, PreTrainedTokenizerBase)\n"
                f"        {ROWS}"
            ),
            "Own.tokenize cannot be exported",
        ),
    ],
    ids=["pool", "readout", "lower", "counts", "every-other", "looks"],
)
def test_what_cannot_be_expressed_is_refused_by_name(
    source: str, says: str, backbone: Backbones, tmp_path: Path
) -> None:
    file = tmp_path / "own.py"
    file.write_text(source)
    encoder = plain(tmp_path / "encoder", "own", backbone(Kind("llama")), method_files=[file])
    with pytest.raises(Problem) as caught:
        export_to(encoder, tmp_path / "out")
    assert says in str(caught.value)
    assert "load_encoder" in str(caught.value)
    assert not (tmp_path / "out").exists()
