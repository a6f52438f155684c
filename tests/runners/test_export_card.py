"""The model card: its front matter as a hub reads it, and the facts, scores and warnings in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard, constants
from scipy.stats import spearmanr

from genembench.problem import Problem
from leaderboard.records import Record
from methods.encoder import encoder_address, files_hash, write_manifest
from methods.registry import discover
from runners.addresses import evaluation_address
from runners.exporting import exporter
from runners.exporting.card_metadata import front_matter
from runners.exporting.card_scores import scores
from runners.exporting.check import Difference
from tests.leaderboard.made_up import record as made_up
from tests.leaderboard.made_up import run_json, write
from tests.runners.exporting import export_to

DIFFERENCE = Difference(2e-7, "query", "a text", True, 70)


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "compare", lambda *_, **__: DIFFERENCE)


SHORT = {"max_length": "64"}


def run_of(folder: Path, weights: Path, name: str = "infonce-mean", longest_text: int = 0, **changes: Any) -> Path:
    """A run of a method on a backbone's own weights, as if it had been trained and measured."""
    entry = discover().get(name)
    method = entry.create("small", SHORT | ({"max_text_length": str(longest_text)} if longest_text else {}))
    address = encoder_address(files_hash(weights), method, entry.source)
    value = run_json(name, budget=2000 if method.stages() else 0) | changes
    value["method"] |= {"config": method.config(), "source": entry.source, "family": method.facts.family}
    value.setdefault("evaluation_address", "e")
    if value["evaluation_address"] == "e":
        value["evaluation_address"] = evaluation_address(address, "benchmark-address", "float32")
    write(folder, value)
    run: Path = folder / "runs" / value["run"]
    (run / "encoder").mkdir()
    write_manifest(run / "encoder", name=name, method=method, method_file=None, weights=str(weights))
    return run


def card_of(run: Path, tmp_path: Path) -> str:
    export_to(run, tmp_path / "out")
    return (tmp_path / "out" / "README.md").read_text()


# ---------------------------------------------------------------------------------------------------- front matter


def test_scores_of_mtebs_own_tasks_stand_in_the_front_matter() -> None:
    """STS12 has 3,108 pairs and STS17's English part 250; a hundred pairs are no STS13."""
    value = run_json()
    for task, pairs, subset in (("STS12", 3108, "default"), ("STS17", 250, "en-en")):
        (score,) = (each for each in value["scores"] if each["task"] == task)
        score |= {"pairs": pairs, "subset": subset}
    for data_dir in (None, "sts"):
        value["configuration"] = {"data_dir": data_dir}
        text = front_matter("infonce-mean on x", "infonce-mean", Record.from_json(value))
        found: Any = ModelCard(text).data
        assert found.library_name == "sentence-transformers"
        assert found.model_name == "infonce-mean on x"
        assert found.eval_results is not None
        # BIOSSES has 100 pairs.
        assert [(each.dataset_type, each.dataset_config, each.metric_value) for each in found.eval_results] == [
            ("mteb/biosses-sts", "default", 50.0),
            ("mteb/sts12-sts", "default", 52.0),
            ("mteb/sts17-crosslingual-sts", "en-en", 57.0),
        ]
        assert {(each.task_type, each.metric_type) for each in found.eval_results} == {("STS", "cosine_spearman")}
        # The revision is the hub's; what stands in files of one's own, nobody knows.
        assert all((each.dataset_revision is None) == (data_dir is not None) for each in found.eval_results)


def test_a_base_model_is_named_only_where_it_surely_is_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "models--maker--model" / "snapshots" / "0123"
    cached.mkdir(parents=True)
    (cached / "config.json").write_text("{}")
    (tmp_path / "models--maker--model" / "refs").mkdir()
    (tmp_path / "models--maker--model" / "refs" / "main").write_text("0123")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def base_model(given: str) -> object:
        record = made_up(status="failed", reason="whatever", backbone=given)
        data: Any = ModelCard(front_matter("a", "b", record)).data
        return data.base_model

    assert base_model("maker/model") == "maker/model"
    for given in ("models/small-english", "/models/small", "./maker/model", "maker/model/more", "demo"):
        assert base_model(given) is None, given
    # A folder of that name is the folder.
    (tmp_path / "maker" / "model").mkdir(parents=True)
    assert base_model("maker/model") is None


# ---------------------------------------------------------------------------------------------------------- scores


def section(record: Record) -> str:
    return "\n".join(scores(record, "nothing"))


def test_scores_without_predictions_have_no_interval_and_the_card_says_why() -> None:
    text = section(made_up())
    assert "| STS12 | 52.00 | – | 100 |" in text
    assert "| **Avg(7)** | 54.29 | – |  |" in text  # 380 / 7: SICK-R 51, STS12 to STS16 52 to 56, STSBenchmark 59
    assert "No intervals: the run's folder has no predictions to resample." in text
    assert section(Record.from_json(run_json(), Path("x"))).count("95 % interval") == 1


def test_the_interval_is_that_of_resampled_pairs(tmp_path: Path) -> None:
    """Against a bootstrap written out: pairs drawn with replacement, ranked anew each time."""
    source = np.random.default_rng(0)
    gold = source.uniform(0, 5, 100)
    cosine = gold / 5 + source.normal(0, 0.3, 100)
    value = run_json()
    value["scores"] = [each for each in value["scores"] if each["task"] == "STS12"]
    value["scores"][0]["score"] = 100 * spearmanr(gold, cosine).statistic
    value["averages"] = []
    value["benchmark"]["tasks"] = ["STS12"]
    write(tmp_path, value)
    run = tmp_path / "runs" / value["run"]
    (run / "predictions").mkdir()
    lines = ["pair,gold,score", *(f"{i},{g},{c:.9g}" for i, (g, c) in enumerate(zip(gold, cosine, strict=True)))]
    (run / "predictions" / "STS12.csv").write_text("\n".join(lines) + "\n")
    text = section(Record.from_json(json.loads((run / "run.json").read_text()), run / "run.json"))
    (line,) = (each for each in text.splitlines() if each.startswith("| STS12 "))
    low, high = map(float, line.split("|")[3].split(" to "))
    drawn = [spearmanr(gold[at], cosine[at]).statistic for at in (source.integers(0, 100, 100) for _ in range(2000))]
    # Two ways to an interval of a hundred pairs: within a point and a half of each other.
    assert low == pytest.approx(100 * np.quantile(drawn, 0.025), abs=1.5)
    assert high == pytest.approx(100 * np.quantile(drawn, 0.975), abs=1.5)
    assert "say nothing of another seed" in text
    (run / "predictions" / "STS12.csv").write_text("pair,gold,score\n0,1,x\n")
    with pytest.raises(Problem, match=r"STS12.csv"):
        section(Record.from_json(json.loads((run / "run.json").read_text()), run / "run.json"))


# --------------------------------------------------------------------------------------------- what it was made from


def test_a_card_of_a_trained_method(tiny_backbone: Path, tmp_path: Path) -> None:
    tuned = {"trials": 3, "on": "held-out triplets", "chosen": {"learning_rate": 0.001}}
    run = run_of(tmp_path, tiny_backbone, configuration={"triplets": "/home/me/nli.jsonl.gz", "tuned": tuned})
    card = card_of(run, tmp_path)
    for said in (
        "# infonce-mean on small-english",
        "`encode`, `encode_query`, `encode_document` | all texts alike | "
        "`<s>{text}\\nThis sentence means in one word: “`",
        "The vector is the mean of all tokens' hidden states, divided by its length. Attention is causal.",
        "70 texts, short and too long, in padded batches and alone; the largest difference in any number was 2.0e-07",
        "| backbone | small-english, 5.11 M parameters, files `address-of-small-english` |",
        "`triplets.jsonl`: 2,000 different examples of 26,030 rows, 4,000 seen over all epochs",
        "asked triplets 2,000, instruct 655; spent triplets 2,000",
        '| tuned | 3 trials on held-out triplets, chosen {"learning_rate": 0.001} |',
        "genembench compare --config run.json --triplets …/nli.jsonl.gz --output DIR",
        "| **Avg(10)** | 54.50 |",
    ):
        assert said in card, said
    assert "/home/me" not in card
    assert "/home/me" not in (tmp_path / "out" / "run.json").read_text()
    assert "were changed since" not in card
    assert "was edited since" not in card
    assert "Nothing was trained" not in card


def test_a_card_of_an_untrained_method(tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = card_of(run_of(tmp_path, tiny_backbone, "untrained-last"), tmp_path)
    assert "Nothing was trained: the weights are the backbone's own." in card
    assert "nothing was trained, they are the backbone's own" in capsys.readouterr().err
    assert "| budget |" not in card
    assert "| training address |" not in card


def test_a_card_of_an_instructed_method_tells_the_roles_apart(tiny_backbone: Path, tmp_path: Path) -> None:
    card = card_of(run_of(tmp_path, tiny_backbone, "anchor-embedding", 20), tmp_path)
    assert "| `encode_query` | what is looked for | `<s>Retrieve semantically similar text: {text}</s>` |" in card
    assert "| `encode_document` | what it is looked for in | `<s>{text}</s>` |" in card
    assert "documents = model.encode_document(" in card
    assert "The vector is the hidden state of `</s>`, divided by its length." in card
    assert "to 64 tokens with what stands around them, and to 20 by themselves" in card


def test_scores_that_are_not_this_encoders_are_said_to_be_so(tiny_backbone: Path, tmp_path: Path) -> None:
    weights = shutil.copytree(tiny_backbone, tmp_path / "weights")
    run = run_of(tmp_path, weights)
    config = json.loads((weights / "config.json").read_text())
    (weights / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-4}))
    assert "**These scores are not this encoder's**" in card_of(run, tmp_path)


def test_a_method_that_was_edited_since_is_said_to_be_so(tiny_backbone: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path, tiny_backbone)
    record = json.loads((run / "run.json").read_text())
    entry = discover().get("infonce-mean")
    before = encoder_address(files_hash(tiny_backbone), entry.create("small", SHORT), "as it was")
    record["method"]["source"] = "as it was"
    record["evaluation_address"] = evaluation_address(before, "benchmark-address", "float32")
    (run / "run.json").write_text(json.dumps(record))
    card = card_of(run, tmp_path)
    assert "source file was edited since these scores were measured" in card
    assert "These scores are not" not in card


def test_an_encoder_without_a_record_has_a_card_without_scores(tiny_backbone: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path, tiny_backbone)
    (run / "run.json").unlink()
    card = card_of(run / "encoder", tmp_path)
    assert card.startswith("---\nlibrary_name: sentence-transformers\n")
    assert "# infonce-mean\n" in card
    assert "backbone, data and scores are not known here" in card
    assert "## Scores" not in card
    assert "--config" not in card
    assert not (tmp_path / "out" / "run.json").exists()
