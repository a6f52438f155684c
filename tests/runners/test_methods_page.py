from __future__ import annotations

import functools
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from methods.registry import MethodEntry, discover
from runners.list_methods import main
from runners.markdown_text import prose, value
from runners.methods_page import COMMAND, page
from runners.new_method import write
from tests.conftest import CHECKOUT

BUILT_IN = [entry for entry in discover().entries.values() if entry.origin.startswith("methods/")]
FILE = CHECKOUT / "docs" / "methods.md"
NAMES = [entry.name for entry in BUILT_IN]


@pytest.fixture(scope="module")
def ours() -> str:
    return page(BUILT_IN)


def plain(markdown: str) -> str:
    """What a reader sees: links by their text, nothing escaped, no marks of code."""
    seen = re.sub(r"\[([^]]*)\]\([^) ]*\)", r"\1", markdown)
    return re.sub(r"\\([\\<*_|])", r"\1", seen).replace("`", "")


@functools.cache
def tables(markdown: str) -> list[list[list[str]]]:
    """Read every table as a viewer does: a row is a line, a cell ends where a bar is not escaped."""
    found: list[list[list[str]]] = []
    before = ""
    for line in markdown.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            cells = re.split(r"(?<!\\)\|", line)
            assert cells[0] == cells[-1] == "", line
            found[-1].append([plain(cell.replace("\\|", "|")).strip() for cell in cells[1:-1]])
        before = line
    return found


def sections(markdown: str) -> dict[str, str]:
    parts = re.split(r"^## (.*)$", markdown, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def row(markdown: str, first: str, table: Sequence[str]) -> list[str]:
    """The row of that first cell in the table whose head begins with ``table``."""
    for rows in tables(markdown):
        if rows[0][: len(table)] == list(table):
            (wanted,) = [cells for cells in rows[2:] if cells[0] == first]
            return wanted
    raise AssertionError(f"no table {table}")


def test_the_page_is_what_the_code_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--markdown"]) == 0
    assert FILE.read_text(encoding="utf-8") == capsys.readouterr().out, (
        f"docs/methods.md is not what the methods say of themselves; make it again: {COMMAND}"
    )


def test_it_says_how_it_is_made(ours: str) -> None:
    assert f"`{COMMAND}`" in ours.split("\n\n")[1]


@pytest.mark.parametrize("entry", BUILT_IN, ids=NAMES)
def test_every_name_has_its_row_and_its_class_a_section(ours: str, entry: MethodEntry) -> None:
    overview = row(ours, entry.name, ["Method", "Family", "Paper"])
    facts, method = entry.cls.facts, entry.create("paper")
    assert overview[1:3] == [facts.family, facts.paper]
    assert re.findall(r"\((\w+)\)", overview[3]) == [stage.data for stage in method.stages()]
    assert overview[4] == ("causal" if method.causal else "bidirectional")
    assert overview[5] == method.readout_kind
    assert facts.parity.startswith(overview[8])
    section = sections(ours)[entry.cls.__name__]
    names = row(section, entry.name, ["Name"])
    for fixed in entry.fixed.values():
        assert str(fixed) in names
    for stage in method.stages():
        assert row(section, stage.name, ["Stage", "Data", "Loss"])[1] == stage.data
    for stated in (facts.parity, facts.inference_cost, *facts.deviations):
        assert stated.replace("`", "") in plain(section)


@pytest.mark.parametrize("entry", BUILT_IN, ids=NAMES)
def test_every_value_stands_beside_its_evidence(ours: str, entry: MethodEntry) -> None:
    section = sections(ours)[entry.cls.__name__]
    head = ["Hyper-parameter", "Meaning", "Default", "paper", "Evidence", "small", "Evidence"]
    for key, hyper in entry.cls.presets["paper"].items():
        cells = row(section, key, head)
        assert entry.cls.__dataclass_fields__[key].metadata["doc"] == cells[1]
        assert hyper.evidence == cells[4]
    for key, hyper in entry.cls.presets["small"].items():
        cells = row(section, key, head)
        same = hyper == entry.cls.presets["paper"].get(key)
        assert cells[5:] == ["=", ""] if same else cells[6] == hyper.evidence


def test_values_of_our_own_by_hand(ours: str) -> None:
    infonce, ours_too = sections(ours)["InfoNCE"], sections(ours)["AutoRegEmbed"]
    own = "infonce-last, infonce-mean"
    assert row(infonce, "batch_size", ["Hyper-parameter"])[2:6] == [
        "512",
        f"32 ({own}), else 512",
        "paper: 512 in-batch, 32 without",
        "32",
    ]
    assert row(infonce, "contrast", ["Stage"])[2] == f"additive ({own}), else joint"
    rates = row(ours_too, "align_learning_rate", ["Hyper-parameter"])
    assert rates[3] == "5e-6"
    assert rates[5] == "1e-4 (autoregembed-kl, autoregembed-js), else 1e-6"


def test_the_tables_are_whole(ours: str) -> None:
    for rows in tables(ours):
        assert {len(cells) for cells in rows} == {len(rows[0])}, rows[0]
        assert set(rows[1]) == {"---"}
        longest = max((cell for cells in rows for cell in cells), key=len)
        assert len(longest) <= 160, f"a wall of text: {longest}"


def test_the_links_lead_somewhere(ours: str) -> None:
    headings = {f"#{heading.lower().replace(' ', '-')}" for heading in re.findall(r"^#+ (.*)$", ours, re.MULTILINE)}
    links = set(re.findall(r"\]\(([^)]*)\)", ours))
    assert {"#infonce", "../methods/infonce.py", "https://arxiv.org/abs/2502.11401"} <= links
    for link in links:
        if link.startswith("#"):
            assert link in headings
        elif not link.startswith("https://arxiv.org/abs/"):
            assert (FILE.parent / link).exists(), link


MADE_UP = '''
    from dataclasses import dataclass
    from typing import ClassVar, Literal

    from methods.contract import Facts, Hyper, Recipe, Stage, hyper
    from methods.registry import register
    from methods.untrained import OneWordPrompt


    @register("made-up", wide=True)
    @register("made-up-narrow", wide=False)
    @register("made-up-fixed", wide=False, rate=0.25)
    @dataclass(frozen=True, kw_only=True)
    class MadeUp(OneWordPrompt):
        """Two things at once."""

        facts = Facts(
            family="Mine",
            paper="arXiv 1234.56789",
            summary="a | b",
            deviations=("Stars * and <tags> stay, as does __init__ and docs/data.md.",),
            parity="Held to 1e-3 by tests/test_settings.py. More is not known.",
        )
        presets = {
            "paper": {
                "rate": Hyper(lambda values: 2e-5 if values["wide"] else 3.0, "paper | table 3"),
                "separator": Hyper("a`b|c", "authors' code"),
            },
            "mine": {"rate": Hyper(7.5, "tried\\n  once"), "separator": Hyper("a`b|c", "authors' code")},
        }
        causal = False
        wide: bool = hyper(True, "one | two")
        rate: float = hyper(0.0001, "how fast,\\n in ``steps``")
        separator: str = hyper(" | \\n", "what stands between")
        unstated: int = hyper(17, "nobody says")

        @property
        def new_tokens(self):
            return ("<X|Y>",)

        def stages(self):
            return (Silent(self), Talking(self)) if self.wide else (Silent(self),)


    @dataclass(frozen=True)
    class Silent(Stage):
        method: MadeUp
        name: ClassVar[str] = "silent"
        data: ClassVar[str] = "text"
        loss_kind: ClassVar[Literal["joint"]] = "joint"

        @property
        def recipe(self):
            return Recipe(learning_rate=self.method.rate, batch_size=4, clip_norm=0.5, warmup=0.1)

        def build(self, start):
            raise NotImplementedError

        def collate(self, examples, tokenizer):
            raise NotImplementedError


    @dataclass(frozen=True)
    class Talking(Silent):
        """Talks
        about itself.

        And on.
        """

        name: ClassVar[str] = "talking"
        trains = "half | of it; the rest rests"
'''


@pytest.fixture
def made_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    file = tmp_path / "made_up.py"
    file.write_text(textwrap.dedent(MADE_UP), encoding="utf-8")
    assert main(["made-up", "--markdown", "--method-file", str(file)]) == 0
    return capsys.readouterr().out


def test_a_file_of_ones_own(made_up: str) -> None:
    section = sections(made_up)["MadeUp"]
    assert [cells[0] for cells in tables(made_up)[0][2:]] == ["made-up", "made-up-narrow", "made-up-fixed"]
    assert row(made_up, "made-up", ["Method"]) == [
        *("made-up", "Mine", "arXiv 1234.56789", "silent (text) → talking (text)", "bidirectional", "mean"),
        "silent: not stated; talking: half | of it",
        *("one pass over text and prompt", "Held to 1e-3 by tests/test_settings.py"),
    ]
    assert row(section, "made-up-fixed", ["Name", "wide", "rate"]) == [
        "made-up-fixed",
        "False",
        "0.25",
        "silent (text)",
    ]
    assert row(section, "made-up", ["Name", "wide", "rate"])[1:3] == ["True", "by preset"]
    assert row(section, "silent", ["Stage"]) == ["silent", "text", "joint", ""]
    assert row(section, "talking", ["Stage"])[3] == "Talks about itself."
    recipes = [cells for rows in tables(section) if rows[0][0] == "Preset" for cells in rows[2:]]
    schedule = "linear, warm-up 0.1, clip_norm 0.5"
    narrow, fixed = "(made-up-narrow)", "(made-up-fixed)"
    assert recipes == [
        ["paper", "silent", "not stated", f"2e-5 (made-up), 3.0 {narrow}, else 0.25", "4", "1", schedule],
        ["paper", "talking", "half | of it; the rest rests", "2e-5", "4", "1", schedule],
        ["mine", "silent", "not stated", f"0.25 {fixed}, else 7.5", "4", "1", schedule],
        ["mine", "talking", "half | of it; the rest rests", "7.5", "4", "1", schedule],
    ]


def test_hyper_parameters_of_a_file_of_ones_own(made_up: str) -> None:
    def cells(name: str) -> list[str]:
        return row(made_up, name, ["Hyper-parameter", "Meaning", "Default", "paper", "Evidence", "mine", "Evidence"])

    # What a name fixes is no value of the preset, and what every name fixes is none at all.
    shown = "2e-5 (made-up), else 3.0"
    assert cells("rate")[1:] == ["how fast, in steps", "1e-4", shown, "paper | table 3", "7.5", "tried once"]
    assert cells("separator")[2:] == ["' | \\n'", "ab|c", "authors' code", "=", ""]
    assert cells("unstated")[2:] == ["17", "*default*", "", "*default*", ""]
    assert "| `wide` |" not in made_up.split("**Hyper-parameters**")[1]
    assert "| `` a`b\\|c `` |" in made_up
    for rows in tables(made_up):
        assert {len(each) for each in rows} == {len(rows[0])}


def test_the_text_of_a_file_of_ones_own(made_up: str) -> None:
    assert "Stars \\* and \\<tags> stay, as does \\_\\_init\\_\\_ and [docs/data.md](data.md)." in made_up
    assert "- **Paper**: [arXiv 1234.56789](https://arxiv.org/abs/1234.56789)" in made_up
    assert "- **Added tokens**: `<X|Y>`" in made_up
    assert "[tests/test_settings.py](../tests/test_settings.py). More is not known." in made_up


def test_a_method_that_states_neither_parity_nor_what_it_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.py"
    write("old-one", file)
    assert main(["old-one", "--markdown", "--method-file", str(file)]) == 0
    overview = row(capsys.readouterr().out, "old-one", ["Method"])
    assert overview[6] == "all weights"
    assert overview[8] == "not compared with the authors' code"


def test_a_file_of_ones_own_joins_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    write("my-idea", file)
    assert main(["--markdown", "--method-file", str(file)]) == 0
    found = {cells[0] for cells in tables(capsys.readouterr().out)[0][2:]}
    assert found >= {"my-idea", *NAMES}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (0.0001, "1e-4"),
        (2.5e-05, "2.5e-5"),
        (0.02, "0.02"),
        (1.0, "1.0"),
        (0.0, "0.0"),
        (-0.001, "-1e-3"),
        (512, "512"),
        (True, "True"),
        (None, "None"),
        ("full", "`full`"),
        ("", "`''`"),
        ("\nOne word: “", "`'\\nOne word: “'`"),
        ("`", "`` ` ``"),
    ],
)
def test_values(given: Any, shown: str) -> None:
    assert value(given) == shown


def test_prose() -> None:
    assert prose("``a * b`` and `c|d` * e") == "`a * b` and `c|d` \\* e"
    assert prose("/tmp/methods/mine.py is no file of ours") == "/tmp/methods/mine.py is no file of ours"


def test_the_terminal_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["llm2vec-simcse"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  attention: bidirectional" in lines
    assert "  read-out: mean: Mean over the content tokens in float32, [B, 1, D]." in lines
    assert "  pooling: L2-normalised mean over k, in float32: [B, D] on the unit sphere." in lines
    (mntp,) = [i for i, line in enumerate(lines) if line.startswith("  stage mntp (text, additive loss): Masked next")]
    assert lines[mntp + 2 : mntp + 4] == [
        "      trains adapters (LoRA, rank 16) on every linear layer, merged; the head is frozen (paper)",
        "      trains all weights; the head is frozen, unless it is the embedding matrix (small)",
    ]
    (parity,) = [line for line in lines if line.startswith("  parity: ")]
    assert "llm2vec 0.2.3" in parity
    assert "1e-4" in parity


def test_what_stages_train_follows_the_tuning() -> None:
    by_name = {entry.name: entry for entry in BUILT_IN}

    def trains(name: str, tuning: str, rank: str = "3") -> list[str]:
        values = {key: tuning for key in by_name[name].cls.__dataclass_fields__ if key.endswith("tuning")}
        return [stage.trains for stage in by_name[name].create("paper", {**values, "lora_rank": rank}).stages()]

    adapters = "adapters (LoRA, rank 3) on every linear layer, merged"
    assert trains("infonce-mean", "full") == ["all weights"]
    assert trains("infonce-mean", "lora") == [adapters]
    assert trains("autoregembed", "full") == ["all weights; the decoder is frozen"] * 2
    assert trains("autoregembed", "lora") == [f"{adapters}; the 5 new tokens' embeddings; the decoder is frozen"] * 2
    assert trains("anchor-embedding", "full") == ["all weights, the head included", "all weights"]
    assert trains("anchor-embedding", "lora") == [f"{adapters}; the head is frozen", adapters]
    assert trains("llm2vec", "lora") == [f"{adapters}; the head is frozen", adapters]
