"""``compare --tune``: what is tried, what is refused, who wins; and once from end to end, stopped and gone on."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from benchmarks.budget import parse_budgets
from genembench.problem import Problem
from methods.registry import discover, parse_overrides
from runners.compare import parser
from runners.options import parse
from runners.prepare import Chosen
from runners.spec import MethodChoice
from runners.tune import Axis, axes_of, make_trials, read_axes, tune_budget
from runners.tune_results import at_edge, winner
from tests.conftest import CHECKOUT, Command, command_environment

MEAN, INBATCH = "infonce-mean", "infonce-inbatch-mean"

# A method with a learning rate for each of its stages, as methods of two stages have.
TWO_RATES = """
from dataclasses import dataclass
from methods.contract import hyper
from methods.infonce import InfoNCE
from methods.registry import register


@register("two-rates", readout_kind="mean", in_batch=False)
@dataclass(frozen=True, kw_only=True)
class TwoRates(InfoNCE):
    first_learning_rate: float = hyper(1e-5, "of the first stage")
    learning_rates: str = hyper("", "no learning rate, whatever it is called")
"""


def chosen(
    *names: str, files: tuple[Path, ...] = (), overrides: Mapping[str, str] = MappingProxyType({})
) -> list[Chosen]:
    found = discover(files)
    return [
        (
            MethodChoice(name=name, preset="small", overrides=overrides),
            found.get(name),
            found.get(name).create("small", overrides),
        )
        for name in names
    ]


def tried(specs: list[str], *names: str, **overrides: str) -> list[tuple[str, int, dict[str, str]]]:
    methods = chosen(*names, overrides=overrides)
    trials = make_trials(axes_of(specs, methods, {}), methods)
    for trial in trials:
        # What is tried stands above what was set before.
        assert trial.chosen[0].overrides == {**overrides, **trial.values}
    return [(trial.method, trial.number, dict(trial.values)) for trial in trials]


def test_one_value_after_the_other_method_by_method() -> None:
    assert tried(["lr=1e-3,1e-4"], "untrained-mean", MEAN, INBATCH, max_length="64") == [
        (MEAN, 1, {"learning_rate": "1e-3"}),
        (MEAN, 2, {"learning_rate": "1e-4"}),
        (INBATCH, 1, {"learning_rate": "1e-3"}),
        (INBATCH, 2, {"learning_rate": "1e-4"}),
    ]


def test_several_make_their_product_and_the_last_changes_fastest() -> None:
    assert [values for _, _, values in tried(["epochs=1,2", f"{MEAN}.temperature=0.1,0.2,0.3"], MEAN)] == [
        {"epochs": epochs, "temperature": temperature} for epochs in "12" for temperature in ("0.1", "0.2", "0.3")
    ]


def test_other_keys_make_as_many_trials() -> None:
    assert tried([f"{MEAN}.epochs=1,2", f"{INBATCH}.lr=1e-3,1e-4"], MEAN, INBATCH) == [
        (MEAN, 1, {"epochs": "1"}),
        (MEAN, 2, {"epochs": "2"}),
        (INBATCH, 1, {"learning_rate": "1e-3"}),
        (INBATCH, 2, {"learning_rate": "1e-4"}),
    ]


def test_all_learning_rates_are_set_together(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    file.write_text(TWO_RATES)
    (axes,) = axes_of(["lr=1e-3,1e-4"], chosen("two-rates", files=(file,)), {}).values()
    ((keys, values),) = [(set(axis.keys), axis.values) for axis in axes]
    assert (keys, values) == ({"learning_rate", "first_learning_rate"}, ("1e-3", "1e-4"))


def test_values_become_the_methods_own() -> None:
    methods = chosen(MEAN)
    trials = make_trials(axes_of(["learning_rate=1e-3,2"], methods, {}), methods)
    assert [trial.chosen[2].config()["learning_rate"] for trial in trials] == [0.001, 2.0]


@pytest.mark.parametrize(
    ("specs", "names", "says"),
    [
        (["temprature=1"], [MEAN], "unknown hyper-parameter in --tune temprature=1: 'temprature'\n  Did you mean temp"),
        ([f"{MEAN}.learning_rat=1"], [MEAN], "'learning_rat'\n  Did you mean learning_rate"),
        (["infonce-men.epochs=1"], [MEAN], "'infonce-men' takes no part\n  Did you mean infonce-mean"),
        (["untrained-mean.max_length=1"], ["untrained-mean", MEAN], "method 'untrained-mean' trains nothing"),
        ([f"{MEAN}.in_batch=true"], [MEAN], "the name fixes it to False"),
        (["in_batch=true"], [MEAN], "unknown hyper-parameter in --tune in_batch=true"),
        (["lr=abc"], [MEAN], "learning_rate=abc: not a valid value\n  Allowed: float"),
        (["epochs=0,1"], [MEAN], "infonce-mean.epochs=0: not a valid value\n  Allowed: 1 or more"),
        (["lr"], [MEAN], "--tune lr: not of the form KEY=A,B,..."),
        (["lr=,"], [MEAN], "--tune lr=,: not of the form"),
        ([".lr=1"], [MEAN], "--tune .lr=1: not of the form"),
        (
            ["lr=1e-3,0.001"],
            [MEAN],
            "two trials of infonce-mean are the same, learning_rate=1e-3 and learning_rate=0.0",
        ),
        (["lr=1,2", "learning_rate=3"], [MEAN], "infonce-mean.learning_rate is tuned already"),
        (["lr=1,2"], ["untrained-mean", "untrained-last"], "no method of this comparison trains: untrained-mean, untr"),
        (["lr=1,2"], [], "no method of this comparison trains: finished models only"),
        (["lr=1,2", f"{MEAN}.epochs=1,2"], [MEAN, INBATCH], f"numbers of trials: {MEAN} 4, {INBATCH} 2"),
        ([f"{MEAN}.lr=1,2"], ["untrained-mean", MEAN, INBATCH], f"numbers of trials: {MEAN} 2, {INBATCH} 0"),
    ],
)
def test_what_is_refused(specs: list[str], names: list[str], says: str) -> None:
    with pytest.raises(Problem) as caught:
        tried(specs, *names)
    assert says in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("setting", [f"{MEAN}.learning_rate=1", "*.learning_rate=1"])
def test_a_value_is_set_or_tuned(setting: str) -> None:
    methods = chosen(MEAN)
    taken = parse_overrides([setting], [entry for _, entry, _ in methods])
    with pytest.raises(Problem, match=r"infonce-mean.learning_rate is given by --set too"):
        axes_of(["lr=1,2"], methods, taken)
    assert axes_of(["epochs=1,2"], methods, taken) == {MEAN: [Axis(("epochs",), ("1", "2"))]}


def test_the_preset_gives_way_and_triplets_are_needed() -> None:
    options = Namespace(tune=["lr=1,2"], triplets="file", set=[f"{MEAN}.learning_rate=1e-3", f"{MEAN}.epochs=2"])
    read_axes(options, chosen(MEAN), {})
    assert options.set == [f"{MEAN}.epochs=2"]
    with pytest.raises(Problem, match="held-out triplets, and none were given"):
        read_axes(Namespace(tune=["lr=1,2"], triplets=None, set=[]), chosen(MEAN), {})


def test_the_trials_have_one_budget() -> None:
    budgets = parse_budgets(["100,1000"])
    assert tune_budget(None, budgets, ["triplets"]) == budgets[0]
    by_kind = parse_budgets(["triplets=50,instruct=900"])
    assert tune_budget(None, [*budgets, *by_kind], ["triplets"]) == by_kind[0]
    assert tune_budget(None, [*budgets, *by_kind], ["triplets", "instruct"]) == budgets[0]
    assert tune_budget("30", budgets, ["triplets"]).label == "30"
    with pytest.raises(Problem, match="--tune-budget 10,20 is 2 budgets"):
        tune_budget("10,20", budgets, ["triplets"])


def test_the_highest_wins_and_of_equal_ones_the_first() -> None:
    assert winner([1.0, 3.0, 2.0, 3.0]) == 1
    assert winner([None, -1.0, None]) == 1
    assert winner([None, None]) is None


def test_the_edge_of_what_was_tried() -> None:
    axis = Axis(("learning_rate",), ("1e-3", "1e-4", "1e-5"))
    assert [at_edge(axis, value) for value in axis.values] == ["highest", "", "lowest"]
    assert at_edge(Axis(("epochs",), ("2",)), "2") == ""
    assert at_edge(Axis(("schedule",), ("linear", "constant")), "linear") == ""


@pytest.mark.parametrize("written", [["lr=1e-3,0.01", "a.epochs=1,2"], {"lr": [1e-3, 0.01], "a": {"epochs": [1, 2]}}])
def test_a_configuration_file_may_hold_it(tmp_path: Path, written: Any) -> None:
    (tmp_path / "my.json").write_text(json.dumps({"tune": written, "tune_budget": 16, "tuned": {"a": {"trials": 3}}}))
    options = parse(parser(), [f"--config={tmp_path / 'my.json'}", "--tune=b.epochs=3"])
    assert (options.tune[1:], options.tune_budget) == (["a.epochs=1,2", "b.epochs=3"], "16")
    assert options.tune[0] in ("lr=1e-3,0.01", "lr=0.001,0.01")
    assert not hasattr(options, "tuned")


# -- from end to end -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tiny_backbone: Path, tiny_triplets: Path, tiny_sts: Path) -> list[str]:
    data = [f"--backbone={tiny_backbone}", f"--triplets={tiny_triplets}", f"--data-dir={tiny_sts}", "--tasks=STS17"]
    return ["compare", *data, "--device=cpu", "--preset=small", "--budget=16,32", "--set=*.batch_size=16"]


def methods(*names: str) -> str:
    return f"--methods={','.join(names)}"


def record(output: Path, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "runs" / run / "run.json").read_text())
    return found


def trials_of(output: Path) -> list[dict[str, str]]:
    with (output / "tuning.csv").open() as file:
        return list(csv.DictReader(file))


def stamps(output: Path) -> dict[str, int]:
    files = [path for part in ("runs", "stages") for path in (output / part).rglob("*") if path.is_file()]
    return {str(path.relative_to(output)): path.stat().st_mtime_ns for path in files}


def test_too_few_held_out_rows(genembench: Command, base: list[str], tmp_path: Path) -> None:
    result = genembench(*base, methods(MEAN), "--tune=lr=1,2", "--tune-budget=71", f"--output={tmp_path / 'out'}")
    assert result.returncode == 2
    assert "at least 50 held-out triplets, and 49 are left" in result.stderr
    assert "takes 71 of the 120 usable rows" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_tuned_comparison(genembench: Command, base: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    tune = [f"--tune={MEAN}.lr=1e-3,1e-2,1e30", f"--tune={INBATCH}.lr=1e30,2e30,3e30", f"--output={output}"]
    command = [*base, methods("untrained-mean", MEAN, INBATCH), *tune]

    result = genembench(*command, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "6 runs, 6 to do" in result.stdout
    assert "scored on 88 held-out triplets" in result.stdout
    assert "5 runs, follows from" in result.stdout
    assert not output.exists()

    # Stopped once the first trial is done.
    with (tmp_path / "terminal").open("w") as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "genembench", *command],
            env=command_environment(),
            cwd=CHECKOUT,
            stdout=terminal,
            stderr=terminal,
        )
        deadline = time.monotonic() + 90
        while not list(output.glob("runs/*/run.json")):
            assert process.poll() is None, (tmp_path / "terminal").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) in (130, -signal.SIGTERM), (tmp_path / "terminal").read_text()
    assert not (output / "tuning.csv").exists()
    before = {file: at for file, at in stamps(output).items() if file.endswith("run.json")}
    assert len(before) == 1
    assert len(list(output.glob("stages/*/weights"))) == 1

    result = genembench(*command)
    assert result.returncode == 1, result.stderr  # every trial of one method diverges
    after = stamps(output)
    assert {file: after[file] for file in before} == before
    rows = trials_of(output)
    # The weights of the trial that won, and of the other budget; those of the trial that lost are gone.
    (lost,) = [row["run"] for row in rows[:2] if row["chosen"] == "no"]
    made = [record(output, run.name) for run in output.glob("runs/infonce-*")]
    kept = {each["training_address"] for each in made if each["status"] == "done" and each["run"] != lost}
    assert {folder.parent.name for folder in output.glob("stages/*/weights")} == kept
    assert (output / "runs" / lost / "metrics-contrast.jsonl").read_text().count("loss") == 1
    assert [(row["method"], row["trial"], row["learning_rate"], row["status"]) for row in rows] == [
        (MEAN, "1", "1e-3", "done"),
        (MEAN, "2", "1e-2", "done"),
        (MEAN, "3", "1e30", "diverged"),
        (INBATCH, "1", "1e30", "diverged"),
        (INBATCH, "2", "2e30", "diverged"),
        (INBATCH, "3", "3e30", "diverged"),
    ]
    best = max(rows[:2], key=lambda row: float(row["score"]))
    assert [row["run"] for row in rows if row["chosen"] == "yes"] == [best["run"]]
    assert {(row["budget"], row["seed"], row["metric"]) for row in rows[:3]} == {("16", "0", "mrr_at_10")}
    assert record(output, best["run"])["scores"][0]["score"] == pytest.approx(float(best["score"]), abs=1e-4)
    assert f"No trial of {INBATCH} is done: it is left out" in result.stdout
    assert "3 of 3 runs done" in result.stdout

    with (output / "leaderboard.csv").open() as file:
        final = {row["run"]: row["method"] for row in csv.DictReader(file)}
    assert sorted(final.values()) == [MEAN, MEAN, "untrained-mean"]
    facts = {"trials": 3, "on": "held-out triplets", "rows": 88, "metric": "mrr_at_10", "budget": "16"}
    for run, name in final.items():
        found = record(output, run)
        options = found["configuration"]
        assert (options["tune"], options["tune_budget"]) == ([], None)
        if name == "untrained-mean":
            assert options["tuned"] is None
        else:
            assert options["tuned"] == {**facts, "chosen": {"learning_rate": float(best["learning_rate"])}}
            assert f"{MEAN}.learning_rate={best['learning_rate']}" in options["set"]
            assert found["method"]["config"]["learning_rate"] == float(best["learning_rate"])
            # The trial that won has trained the final run of its budget too.
            own = found["training_address"] == record(output, best["run"])["training_address"]
            assert own == (found["budget"]["label"] == "16")
    configuration = json.loads((output / "config.json").read_text())
    assert configuration["tune"] == [each.removeprefix("--tune=") for each in tune[:2]]
    assert set(configuration["tuned"]) == {MEAN, INBATCH}

    # Again, in full by its own configuration: nothing is left to do, not even what diverged.
    result = genembench("compare", f"--config={output / 'config.json'}")
    assert result.returncode == 1, result.stderr
    assert result.stderr.count(": done already") == 5
    assert result.stderr.count(": diverged already") == 4
    assert stamps(output) == after
    assert trials_of(output) == rows

    # A run by its own record is not tuned again.
    (run,) = [run for run in final if run.startswith(f"{MEAN}-32")]
    result = genembench("compare", f"--config={output / 'runs' / run / 'run.json'}", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "1 runs, 0 to do" in result.stdout
