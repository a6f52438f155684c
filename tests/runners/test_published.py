"""Published LLM2Vec models as a user names them: their parts found, their row, and what is refused before it runs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from genembench.problem import Problem
from runners.engine import Engine
from runners.finished import finished_model, is_finished
from runners.published import find_published
from tests.conftest import Command
from tests.methods.published_folders import Folders, change

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folders(tiny_backbone: Path, tmp_path: Path) -> Folders:
    return Folders.make(tmp_path / "models", tiny_backbone)


def test_the_base_is_found_where_the_adapter_says_or_beside_it(folders: Folders, tmp_path: Path) -> None:
    beside = find_published(f"{folders.mntp}+{folders.supervised}")
    assert beside.parts.base == folders.base
    assert (beside.name, beside.given) == ("mntp+supervised", f"llm2vec:{folders.mntp}+{folders.supervised}")
    named = find_published(f"{folders.base}+{folders.mntp}+{folders.supervised}")
    assert named.parts == beside.parts
    assert named.name == "base+mntp+supervised"
    # The same weights by either way.
    assert named.address == beside.address
    (tmp_path / "there").mkdir()
    there = folders.base.rename(tmp_path / "there" / "renamed")
    change(folders.mntp / "adapter_config.json", base_model_name_or_path=str(there))
    assert find_published(str(folders.mntp)).parts.base == there


def test_a_stage_that_goes_on_from_another_is_called_by_the_last(folders: Folders) -> None:
    last = folders.supervised.rename(folders.supervised.parent / "mntp-supervised")
    assert find_published(f"{folders.mntp}+{last}").name == "mntp-supervised"
    assert find_published(f"{folders.base}+{folders.mntp}+{last}").name == "base+mntp-supervised"


def test_the_address_is_of_all_contents_and_of_no_place(folders: Folders, tmp_path: Path) -> None:
    def address(at: Path) -> str:
        return find_published(f"{at / 'mntp'}+{at / 'supervised'}").address

    at = folders.base.parent
    first = address(at)
    shutil.copytree(at, tmp_path / "copy")
    assert address(tmp_path / "copy") == first
    found = {first, find_published(str(folders.mntp)).address}
    assert len(found) == 2
    (folders.supervised / "README.md").write_text("what nobody computes with", encoding="utf-8")
    assert address(at) == first
    change(folders.supervised / "llm2vec_config.json", doc_max_length=300)
    found.add(address(at))
    change(folders.mntp / "adapter_config.json", lora_alpha=9)
    found.add(address(at))
    change(folders.base / "config.json", rms_norm_eps=1e-4)
    found.add(address(at))
    assert len(found) == 5


def test_the_encoder_has_the_address_that_was_planned(folders: Folders) -> None:
    model = find_published(f"{folders.mntp}+{folders.supervised}")
    encoder = model.load(Engine())
    assert (encoder.name, encoder.address, encoder.precision) == (model.name, model.address, model.precision(Engine()))


def test_what_cannot_be_found_is_said_with_where_it_was_looked_for(folders: Folders, tmp_path: Path) -> None:
    def refused(text: str, *facts: str) -> None:
        with pytest.raises(Problem) as caught:
            finished_model(f"llm2vec:{text}")
        for fact in facts:
            assert fact in str(caught.value)

    mntp, supervised = folders.mntp, folders.supervised
    refused("", "lacks the name", "MNTP+SUPERVISED")
    refused(f"{mntp}+", "lacks the name")
    refused(f"{tmp_path / 'no'}+{supervised}", f"no folder {tmp_path / 'no'}", "BASE+MNTP+SUPERVISED")
    refused(f"{mntp}+{folders.base}", f"{folders.base} is no adapter: it has no adapter_config.json")
    refused(f"{supervised}", f"{supervised} is what goes on top of another adapter", f"llm2vec:MNTP+{supervised}")
    refused(f"{tmp_path}+{mntp}", "is neither a model nor an adapter: it has no config.json")
    (folders.base / "model.safetensors").rename(tmp_path / "kept")
    refused(f"{mntp}", f"the model {folders.base} has no safetensors weights", f"llm2vec:FOLDER+{mntp}")
    shutil.rmtree(folders.base)
    say = f"llm2vec:BASE+{mntp}+{supervised}"
    refused(f"{mntp}+{supervised}", "trained on /elsewhere/base", f"nor is {folders.base}", say)
    change(mntp / "adapter_config.json", base_model_name_or_path=str(supervised))
    refused(f"{mntp}", "which is an adapter itself", f"llm2vec:BASE+{mntp}")
    change(mntp / "adapter_config.json", base_model_name_or_path=None)
    refused(f"{mntp}", "does not say which model it was trained on")
    # An adapter whose base is called like itself is not its own base.
    change(mntp / "adapter_config.json", base_model_name_or_path="/elsewhere/mntp")
    refused(f"{mntp}", "no folder here")


def test_only_the_prefix_makes_a_finished_model() -> None:
    assert is_finished("llm2vec:a+b")
    assert is_finished("sentence-transformers:a")
    assert not is_finished("llm2vec")
    assert not is_finished("llm2vec-simcse")


def test_models_of_the_hub_are_taken_at_their_commit(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def publish(folder: Path, name: str) -> None:
        at = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        shutil.copytree(folder, at / "snapshots" / COMMIT)
        (at / "refs").mkdir()
        (at / "refs" / "main").write_text(COMMIT, encoding="utf-8")

    with pytest.raises(
        Problem, match="no folder lab/tiny-mntp, and it could not be loaded from the hub: HF_HUB_OFFLINE"
    ):
        find_published("lab/tiny-mntp")
    change(folders.mntp / "adapter_config.json", base_model_name_or_path="maker/tiny")
    change(folders.mntp / "config.json", _name_or_path="maker/tiny")
    publish(folders.mntp, "lab/tiny-mntp")
    with pytest.raises(Problem, match="lab/tiny-mntp was trained on maker/tiny, which is no folder here, nor is"):
        find_published("lab/tiny-mntp")
    publish(folders.base, "maker/tiny")
    publish(folders.supervised, "lab/tiny-mntp-supervised")
    model = find_published("lab/tiny-mntp+lab/tiny-mntp-supervised")
    assert model.name == "lab/tiny-mntp-supervised"
    assert [part.address for part in (model.base, *model.adapters)] == [
        f"maker/tiny@{COMMIT}",
        f"lab/tiny-mntp@{COMMIT}",
        f"lab/tiny-mntp-supervised@{COMMIT}",
    ]
    assert find_published("maker/tiny").parts.known_as() == "maker/tiny"
    vectors = find_published(f"{folders.base}+{folders.mntp}+{folders.supervised}").load(Engine()).encode(["a pilot"])
    assert (model.load(Engine()).encode(["a pilot"]) == vectors).all()


def test_evaluate_and_compare_score_it_alike(
    genembench: Command, folders: Folders, tiny_sts: Path, tmp_path: Path
) -> None:
    name = "llm2vec:models/mntp+models/supervised"
    common = [f"--data-dir={tiny_sts}", "--tasks=STS17,BIOSSES", "--device=cpu"]
    result = genembench("evaluate", f"--encoder={name}", *common, "--output=scores", cwd=tmp_path, timeout=900)
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    result = genembench("compare", f"--methods={name}", *common, "--output=out", cwd=tmp_path, timeout=900)
    assert result.returncode == 0, result.stderr
    assert "1 of 1 runs done" in result.stdout

    model = find_published(f"{folders.mntp}+{folders.supervised}")
    (file,) = (tmp_path / "out" / "runs").glob("*/run.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    evaluation = json.loads((tmp_path / "scores" / "evaluation.json").read_text(encoding="utf-8"))
    assert record["evaluation_address"] == evaluation["evaluation_address"]
    assert record["run"] == f"mntp+supervised-{record['evaluation_address'][:10]}"
    assert (record["method"]["name"], record["method"]["family"]) == (model.name, "Finished models")
    assert record["backbone"] is None
    assert record["costs"]["attributed"]["model_flops"] == 0
    assert record["configuration"]["methods"] == [name]
    with (tmp_path / "scores" / "scores.csv").open(encoding="utf-8") as lines:
        scores = {row["task"]: float(row["score"]) for row in csv.DictReader(lines)}
    for score in record["scores"]:
        assert score["score"] == pytest.approx(scores[score["task"]], abs=1e-3)
    assert model.name in (tmp_path / "out" / "leaderboard.md").read_text(encoding="utf-8")

    # Again: nothing is left to do. A part that changed is another model.
    again = genembench("compare", f"--methods={name}", *common, "--output=out", cwd=tmp_path, timeout=900)
    assert "done already" in again.stderr
    change(folders.supervised / "llm2vec_config.json", pooling_mode="weighted_mean")
    plan = genembench("compare", f"--methods={name}", *common, "--output=out", "--dry-run", cwd=tmp_path, timeout=900)
    assert "1 runs, 1 to do" in plan.stdout


def test_what_is_wrong_with_it_is_said_before_anything_runs(
    genembench: Command, folders: Folders, tiny_sts: Path, tmp_path: Path
) -> None:
    change(folders.supervised / "llm2vec_config.json", pooling_mode="max")
    common = [f"--data-dir={tiny_sts}", "--tasks=STS17", "--device=cpu", "--output=out"]
    for command, option in (("evaluate", "encoder"), ("compare", "methods")):
        result = genembench(
            command, f"--{option}=llm2vec:models/mntp+models/supervised", *common, cwd=tmp_path, timeout=900
        )
        assert result.returncode == 2
        assert "unknown pooling_mode in models/supervised/llm2vec_config.json: 'max'" in result.stderr
        assert "Traceback" not in result.stderr
        assert not (tmp_path / "out").exists()
