from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from genembench.problem import Problem
from methods.contract import Method
from methods.registry import discover
from runners.compare import parser
from runners.options import parse, resolved
from runners.prepare import choose_methods
from runners.presets import DEMO_PRESET, Preset, load_preset

METHODS = ["untrained-mean", "infonce-mean", "infonce-inbatch-mean"]
# What "small" and the defaults say, read off methods/infonce.py.
SMALL_RATE = {"infonce-mean": 1e-4, "infonce-inbatch-mean": 3e-4}

METHOD_FILE = """
from dataclasses import dataclass
from methods.contract import Hyper, hyper
from methods.registry import register
from methods.untrained import Untrained

@register("mine", readout_kind="mean")
@dataclass(frozen=True, kw_only=True)
class Mine(Untrained):
    presets = {"paper": {}, "huge": {"layers_read": Hyper(7, "our choice")}}
    layers_read: int = hyper(1, "how many layers are read")
    loud: bool = hyper(False, "whether it is said")
"""


def chosen(
    preset: str | Path | None, *more: str, methods: list[str] | None = None
) -> tuple[dict[str, Method], Namespace]:
    """Create the methods of a command, and return them with the options as they will be recorded."""
    given = [] if preset is None else [f"--preset={preset}"]
    options = parse(parser(), [*given, *more])
    found = choose_methods(methods or METHODS, options)
    return {choice.name: method for choice, _, method in found}, options


def values(methods: dict[str, Method], key: str) -> dict[str, Any]:
    return {name: method.config()[key] for name, method in methods.items() if key in method.config()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.json"


def test_a_name_is_a_preset_of_the_methods_and_the_default_is_the_papers() -> None:
    registry = discover()
    assert load_preset(None, registry) == load_preset("paper", registry) == Preset("paper", {})
    assert load_preset("small", registry) == Preset("small", {})
    paper, options = chosen(None)
    # The paper's batches: 512 with the batch's negatives, else 32.
    assert values(paper, "batch_size") == {"infonce-mean": 32, "infonce-inbatch-mean": 512}
    assert (options.preset, options.set) == ("paper", [])
    with pytest.raises(Problem, match="unknown preset of untrained-mean 'smal'") as caught:
        chosen("smal")
    assert "Did you mean small" in caught.value.hint


def test_the_demos_preset_is_small_with_a_rate_of_its_own() -> None:
    assert load_preset("demo", discover()) is DEMO_PRESET
    demo, options = chosen("demo")
    small, _ = chosen("small")
    rate = DEMO_PRESET.values["*"]["learning_rate"]
    assert rate > max(SMALL_RATE.values())
    assert values(demo, "learning_rate") == {"infonce-mean": rate, "infonce-inbatch-mean": rate}
    for name in METHODS:
        assert {**demo[name].config(), "learning_rate": 0} == {**small[name].config(), "learning_rate": 0}
    assert options.preset == "small"
    assert options.set == [f"infonce-mean.learning_rate={rate}", f"infonce-inbatch-mean.learning_rate={rate}"]


def test_set_wins_over_the_file_the_file_over_its_base_and_that_over_the_default(file: Path) -> None:
    file.write_text(
        json.dumps({"base": "small", "*": {"temperature": 0.5, "epochs": 2}, "infonce-mean": {"epochs": 3}})
    )
    methods, _ = chosen(file, "--set=infonce-inbatch-mean.temperature=0.25")
    # Of the command line, of the file's "*".
    assert values(methods, "temperature") == {"infonce-mean": 0.5, "infonce-inbatch-mean": 0.25}
    # The method's own table is above "*".
    assert values(methods, "epochs") == {"infonce-mean": 3, "infonce-inbatch-mean": 2}
    # Of the base, where the paper says 1e-4 for both.
    assert values(methods, "learning_rate") == SMALL_RATE
    # Of the defaults: neither the file nor "small" says a word.
    assert (
        values(methods, "hard_negatives")["infonce-mean"]
        == discover().get("infonce-mean").create("default").config()["hard_negatives"]
    )
    # On the command line "*" is above the file's table of the method.
    methods, _ = chosen(file, "--set=*.epochs=5")
    assert values(methods, "epochs") == {"infonce-mean": 5, "infonce-inbatch-mean": 5}


def test_without_a_base_a_file_stands_on_the_papers(file: Path) -> None:
    file.write_text(json.dumps({"infonce-inbatch-mean": {"learning_rate": 1e-5}}))
    methods, options = chosen(file)
    assert values(methods, "batch_size") == {"infonce-mean": 32, "infonce-inbatch-mean": 512}
    assert values(methods, "learning_rate")["infonce-inbatch-mean"] == 1e-5
    assert options.preset == "paper"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.toml", 'base = "small"\n["*"]\nlearning_rate = 1e-5\n[infonce-mean]\nepochs = 3\ntuning = "full"\n'),
        (
            "a.yaml",
            'base: small\n"*": {learning_rate: 1e-5}\ninfonce-mean:\n  epochs: 3\n  tuning: full\n',
        ),
        (
            "a.json",
            '{"base": "small", "*": {"learning_rate": 1e-5}, "infonce-mean": {"epochs": 3, "tuning": "full"}}',
        ),
    ],
)
def test_every_format_says_the_same(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    methods, options = chosen(tmp_path / name)
    assert values(methods, "learning_rate") == {"infonce-mean": 1e-5, "infonce-inbatch-mean": 1e-5}
    assert values(methods, "epochs") == {"infonce-mean": 3, "infonce-inbatch-mean": 1}
    assert values(methods, "tuning")["infonce-mean"] == "full"
    assert options.preset == "small"


def test_a_file_may_speak_of_methods_that_take_no_part_and_of_what_few_have(file: Path) -> None:
    content = {"infonce-last": {"epochs": 9}, "*": {"epochs": 2, "in_batch": True, "max_length": 99}}
    file.write_text(json.dumps(content))
    methods, _ = chosen(file)
    # The names fix in_batch, so "*" does not reach it.
    assert values(methods, "in_batch") == {"infonce-mean": False, "infonce-inbatch-mean": True}
    assert values(methods, "max_length") == dict.fromkeys(METHODS, 99)
    assert values(methods, "epochs") == {"infonce-mean": 2, "infonce-inbatch-mean": 2}


def test_methods_of_a_file_of_ones_own_are_known_with_their_presets(tmp_path: Path, file: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD_FILE)
    file.write_text(json.dumps({"base": "huge", "mine": {"loud": True}}))
    own = f"--method-file={tmp_path / 'mine.py'}"
    methods, options = chosen(file, own, methods=["mine"])
    assert (values(methods, "layers_read"), values(methods, "loud")) == ({"mine": 7}, {"mine": True})
    assert (options.preset, options.set) == ("huge", ["mine.loud=true"])
    with pytest.raises(Problem, match="unknown preset of untrained-mean 'huge'"):
        chosen(file, own)
    with pytest.raises(Problem, match=r"unknown method in .*: 'mine'"):
        chosen(file)


@pytest.mark.parametrize(
    ("content", "what", "hint"),
    [
        ({"infonce-maen": {}}, "unknown method in {file}: 'infonce-maen'", "Did you mean infonce-mean"),
        ({"Base": "small"}, "unknown method in {file}: 'Base'", "Did you mean base"),
        (
            {"infonce-mean": {"epoch": 2}},
            "unknown hyper-parameter of infonce-mean in {file}: 'epoch'",
            "Did you mean epochs",
        ),
        (
            {"infonce-last": {"epoch": 2}},
            "unknown hyper-parameter of infonce-last in {file}: 'epoch'",
            "Did you mean epochs",
        ),
        ({"*": {"learning_rat": 1}}, "unknown hyper-parameter of * in {file}: 'learning_rat'", "Did you mean learning"),
        ({"untrained-mean": {"epochs": 2}}, "unknown hyper-parameter of untrained-mean in {file}: 'epochs'", "Known:"),
        ({"infonce-mean": 3}, "infonce-mean in {file}: expected a table of hyper-parameters, got 3", "For example"),
        ({"*": ["epochs"]}, "* in {file}: expected a table of hyper-parameters", "For example"),
        ({"base": {"epochs": 2}}, "base in {file} is no name of a preset: {{'epochs': 2}}", "For example"),
        ({"base": "smal"}, "unknown preset of untrained-mean 'smal'", "Did you mean small"),
        ({"infonce-mean": {"epochs": "two"}}, "infonce-mean.epochs=two: not a valid value", "Allowed: int"),
        ({"infonce-mean": {"epochs": 2.5}}, "infonce-mean.epochs=2.5: not a valid value", "Allowed: int"),
        ({"infonce-mean": {"epochs": None}}, "infonce-mean.epochs=null: not a valid value", "Allowed: int"),
        ({"*": {"learning_rate": [1]}}, "infonce-mean.learning_rate=[1]: not a valid value", "Allowed: float"),
        ({"infonce-mean": {"tuning": "half"}}, "infonce-mean.tuning=half: not a valid value", "Allowed: "),
        ({"infonce-mean": {"in_batch": True}}, "in_batch cannot be set on infonce-mean", "Siblings"),
        ({"infonce-mean": {"learning_rate": -1}}, "infonce-mean.learning_rate=-1.0: not a valid value", "above 0"),
    ],
)
def test_what_a_method_does_not_have_or_take_is_refused(
    file: Path, content: dict[str, Any], what: str, hint: str
) -> None:
    file.write_text(json.dumps(content))
    with pytest.raises(Problem) as caught:
        chosen(file)
    assert what.format(file=file) in caught.value.what
    assert hint in caught.value.hint


@pytest.mark.parametrize("content", ["", "- infonce-mean\n", "*: {epochs: 2}\n"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(Problem, match=r"--preset .*a\.yaml"):
        chosen(tmp_path / "a.yaml")
    with pytest.raises(Problem, match=r"--preset .*none\.toml: .*No such file"):
        chosen(tmp_path / "none.toml")


@pytest.mark.parametrize("preset", ["demo", "file"])
def test_what_is_recorded_needs_no_file_and_gives_the_same_methods(file: Path, preset: str) -> None:
    file.write_text(json.dumps({"base": "small", "*": {"epochs": 2}, "infonce-mean": {"tuning": "full"}}))
    methods, options = chosen(file if preset == "file" else preset, "--set=infonce-inbatch-mean.epochs=4")
    recorded = json.dumps(resolved(options))
    assert str(file) not in recorded
    file.write_text(recorded)
    again = choose_methods(METHODS, parse(parser(), [f"--config={file}"]))
    assert [(choice.name, method) for choice, _, method in again] == list(methods.items())
    # What is set on the command line is above what was recorded.
    last = choose_methods(METHODS, parse(parser(), [f"--config={file}", "--set=infonce-inbatch-mean.epochs=7"]))
    assert last[2][2].config()["epochs"] == 7


@pytest.mark.parametrize("record", [True, False])
def test_another_preset_takes_the_place_of_a_recorded_one_and_what_was_set_stays(file: Path, record: bool) -> None:
    file.write_text(
        json.dumps({"base": "small", "infonce-mean": {"batch_size": 8, "epochs": 3}, "*": {"temperature": 0.5}})
    )
    # The first is said again by hand, so it is set.
    first, options = chosen(file, "--set=infonce-mean.batch_size=8", "--set=infonce-inbatch-mean.temperature=0.25")
    for _ in range(2):
        # Also where what is written was read from what was written.
        written = resolved(options)
        file.write_text(json.dumps({"configuration": written} if record else written))
        again, options = chosen(None, f"--config={file}")
        assert again == first
    methods, options = chosen("paper", f"--config={file}")
    assert options.preset == "paper"
    paper, _ = chosen("paper")
    set_by_hand: dict[str, dict[str, Any]] = {
        "infonce-mean": {"batch_size": 8},
        "infonce-inbatch-mean": {"temperature": 0.25},
    }
    for name, method in methods.items():
        assert method.config() == paper[name].config() | set_by_hand.get(name, {})


def test_settings_of_a_record_that_does_not_say_where_they_are_from_are_not_mixed_with_another_preset(
    file: Path,
) -> None:
    configuration: dict[str, Any] = {"methods": ["infonce-mean"], "preset": "small", "set": ["infonce-mean.epochs=3"]}
    file.write_text(json.dumps({"configuration": configuration}))
    with pytest.raises(Problem, match=r"--preset beside .*mine\.json: .*infonce-mean\.epochs=3"):
        chosen("paper", f"--config={file}")
    assert values(chosen(None, f"--config={file}")[0], "epochs")["infonce-mean"] == 3
    # In a file of one's own they stand above every preset.
    file.write_text(json.dumps(configuration))
    assert values(chosen("paper", f"--config={file}")[0], "epochs")["infonce-mean"] == 3
    file.write_text(json.dumps({"configuration": configuration | {"set": []}}))
    assert chosen("paper", f"--config={file}")[1].preset == "paper"
