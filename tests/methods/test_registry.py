from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from genembench.problem import Problem
from methods import registry
from methods.infonce import InfoNCE
from methods.registry import discover, parse_overrides

PLUG_IN = """
from dataclasses import dataclass
from methods.contract import Facts
from methods.untrained import OneWordPrompt
from methods.registry import register

@register("{name}")
@dataclass(frozen=True, kw_only=True)
class Mine(OneWordPrompt):
    facts = Facts(family="Mine", paper="none", summary="mine")
"""


def test_the_methods_are_found_in_their_folder() -> None:
    assert sorted(discover().entries) == [
        "anchor-contrastive-only",
        "anchor-d2q-only",
        "anchor-embedding",
        "anchor-q2d-only",
        "autoregembed",
        "autoregembed-align-only",
        "autoregembed-compress-only",
        "autoregembed-js",
        "autoregembed-kl",
        "autoregembed-log-sigmoid",
        "infonce-inbatch-last",
        "infonce-inbatch-mean",
        "infonce-last",
        "infonce-mean",
        "llm2vec",
        "llm2vec-simcse",
        "llm2vec-simcse-supervised",
        "untrained-last",
        "untrained-mean",
    ]


def test_siblings_differ_in_what_their_names_fix() -> None:
    found = discover()
    method = found.get("infonce-inbatch-last").create("paper")
    assert isinstance(method, InfoNCE)
    assert (method.in_batch, method.readout_kind, method.batch_size, method.learning_rate) == (True, "last", 512, 1e-4)
    assert (method.tuning, method.lora_rank, method.lora_alpha, method.temperature) == ("lora", 32, 64, 0.02)
    own = found.get("infonce-mean").create("paper")
    assert isinstance(own, InfoNCE)
    assert (own.in_batch, own.readout_kind, own.batch_size) == (False, "mean", 32)


def test_every_value_of_every_preset_has_evidence() -> None:
    for entry in discover().entries.values():
        for preset, values in entry.cls.presets.items():
            entry.create(preset)
            assert all(hyper.evidence for hyper in values.values())


def test_overrides_are_read_as_their_types() -> None:
    entry = discover().get("infonce-mean")
    method = entry.create("paper", {"epochs": "3", "learning_rate": "2e-5", "schedule": "cosine", "tuning": "full"})
    assert isinstance(method, InfoNCE)
    assert (method.epochs, method.learning_rate, method.schedule, method.tuning) == (3, 2e-5, "cosine", "full")
    for key, value in {"epochs": "many", "schedule": "zigzag", "learning_rate": True}.items():
        with pytest.raises(Problem, match=f"infonce-mean.{key}"):
            entry.create("paper", {key: value})
    with pytest.raises(Problem, match="the name fixes it to 'mean'"):
        entry.create("paper", {"readout_kind": "last"})
    with pytest.raises(Problem, match="Did you mean epochs"):
        entry.create("paper", {"epoch": "3"})
    with pytest.raises(Problem, match="Did you mean paper"):
        entry.create("papper")


def test_settings_name_a_method_that_takes_part() -> None:
    own, untrained = discover().get("infonce-mean"), discover().get("untrained-mean")
    settings = ["infonce-mean.epochs=1", "*.prompt=a=b", "*.batch_size=8"]
    assert parse_overrides(settings, [own, untrained]) == {
        "infonce-mean": {"epochs": "1", "prompt": "a=b", "batch_size": "8"},
        "untrained-mean": {"prompt": "a=b"},
    }
    with pytest.raises(Problem, match="takes no part"):
        parse_overrides(["infonce-last.epochs=1"], [own])
    # What no method has, and what every name fixes, is nobody's.
    for nobodys in ("*.epoch=1", "*.readout_kind=last"):
        with pytest.raises(Problem, match="unknown hyper-parameter"):
            parse_overrides([nobodys], [own, untrained])
    for bad in ("x=1", "a.x", "=1", "a.=1"):
        with pytest.raises(Problem, match=r"method\.key=value"):
            parse_overrides([bad], [own])


def test_a_method_file_adds_a_method(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUG_IN.format(name="mine"))
    entry = discover([file]).get("mine")
    assert entry.origin == str(file.resolve())
    assert entry.create("default").config()["max_length"] == 512


def test_a_taken_name_is_an_error_that_names_both_origins(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUG_IN.format(name="infonce-mean"))
    with pytest.raises(Problem, match=r"one from methods/infonce\.py, one from .*mine\.py"):
        discover([file])


def test_a_broken_method_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("x = 1\nx / 0\n")
    with pytest.raises(Problem, match=r"mine\.py, line 2: ZeroDivisionError"):
        discover([file])
    file.write_text("x = 1\ndef\n")
    with pytest.raises(Problem, match=r"mine\.py, line 2: SyntaxError"):
        discover([file])
    file.write_text("x = 1\n")
    with pytest.raises(Problem, match="registers no method"):
        discover([file])


def test_a_broken_plug_in_is_reported_and_breaks_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "good_plug_in.py").write_text(PLUG_IN.format(name="good"))
    (tmp_path / "bad_plug_in.py").write_text("import a_module_that_does_not_exist\n")
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint(n, f"{n}_plug_in", registry.ENTRY_POINT_GROUP) for n in ("bad", "good")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    found = discover()
    assert found.get("good").origin == "plug-in good_plug_in"
    assert [origin for origin, _ in found.broken] == ["plug-in bad_plug_in"]
    with pytest.raises(Problem, match="a_module_that_does_not_exist"):
        found.get("bad")
    sys.modules.pop("good_plug_in")


TWO = """
from dataclasses import dataclass
from methods.infonce import InfoNCE
from methods.registry import register

@register("my-a", readout_kind="mean")
@dataclass(frozen=True, kw_only=True)
class A(InfoNCE):
    pass

@register("my-b", readout_kind="mean")
@dataclass(frozen=True, kw_only=True)
class B(InfoNCE):
    def loss(self, vectors):
        return super().loss(vectors)
"""


def test_two_classes_of_one_file_are_two_sources(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    file.write_text(TWO)
    found = discover([file])
    assert found.get("my-a").source != found.get("my-b").source
    assert found.get("infonce-mean").source == found.get("infonce-last").source


def test_a_copy_of_a_built_in_file_does_not_replace_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copy = Path("infonce.py")
    copy.write_text(Path(registry.__file__).with_name("infonce.py").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(Problem, match="two methods are called"):
        discover([copy])


def test_a_preset_follows_what_is_set(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    file.write_text(TWO)
    method = discover([file]).get("my-a").create("paper", {"in_batch": "false"})
    assert isinstance(method, InfoNCE)
    assert (method.in_batch, method.batch_size) == (False, 32)


@pytest.mark.parametrize(("key", "value"), [("epochs", 0), ("batch_size", 0), ("learning_rate", -1.0)])
def test_a_method_made_by_hand_is_refused_numbers_that_cannot_be_trained_with(key: str, value: float) -> None:
    method = replace(InfoNCE(), **{key: value})  # type: ignore[arg-type]
    with pytest.raises(Problem, match=f"{key}=.* cannot be trained with"):
        method.stages()


def test_a_loss_that_cannot_be_is_refused() -> None:
    with pytest.raises(Problem, match="not a loss"):
        InfoNCE(temperature=0.0).stages()
