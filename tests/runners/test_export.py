"""`genembench export` as a user runs it: from a run to a folder that loads where genembench is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors import safe_open

from genembench.problem import Problem
from methods.encoder import load_encoder
from runners.export import main
from runners.exporting import exporter
from runners.exporting import folder as folder_of_files
from runners.exporting.check import Difference
from runners.new_method import write
from tests.conftest import Command, Finished, command_environment, write_lines
from tests.runners.exporting import ROLES, TEXTS, export_to, plain

EXPORT = ("-m", "runners.export")

# What a user does who has sentence-transformers and never heard of genembench.
USER = """
import json, sys
import numpy as np
from sentence_transformers import SentenceTransformer

folder, texts, output, trust = sys.argv[1:]
model = SentenceTransformer(folder, device="cpu", trust_remote_code=trust == "trust")
texts = json.loads(texts)
np.savez(output, symmetric=model.encode(texts), query=model.encode_query(texts), document=model.encode_document(texts))
found = [name for name in sys.modules if name.partition(".")[0] in ("methods", "runners", "genembench", "benchmarks")]
assert not found, found
"""


def run_of(output: Path, method: str = "infonce-mean") -> Path:
    (run,) = (output / "runs").glob(f"{method}-*")
    return run


def as_a_user(folder: Path, scratch: Path, *, trust: bool) -> dict[str, Any]:
    arguments = [str(folder), json.dumps(TEXTS), str(scratch / "vectors.npz"), "trust" if trust else ""]
    environment = command_environment(HF_MODULES_CACHE=str(scratch / "modules"))
    subprocess.run([sys.executable, "-P", "-c", USER, *arguments], cwd=scratch, env=environment, check=True)
    with np.load(scratch / "vectors.npz") as found:
        return {role: found[role] for role in ROLES}


def assert_a_user_gets_our_vectors(encoder: Path, folder: Path, scratch: Path, *, trust: bool) -> None:
    ours, theirs = load_encoder(encoder), as_a_user(folder, scratch, trust=trust)
    for role in ROLES:
        np.testing.assert_allclose(theirs[role], ours.encode(TEXTS, role), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def measured(
    genembench: Command,
    tiny_backbone: Path,
    tiny_triplets: Path,
    tiny_sts: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The output folder of a run that was trained and scored, and of one untrained; tests only read it, or copy it."""
    folder = tmp_path_factory.mktemp("export") / "out"
    options = {
        "methods": "untrained-mean,infonce-mean",
        "backbone": tiny_backbone,
        "triplets": tiny_triplets,
        "budget": 32,
        "preset": "small",
        "set": "infonce-mean.batch_size=16",
        "data-dir": tiny_sts,
        "tasks": "STS17,BIOSSES",
        "device": "cpu",
        "output": folder,
    }
    result = genembench("compare", *(f"--{name}={value}" for name, value in options.items()), timeout=900)
    # Of what comes behind the runs, tables and plots, nothing is needed here.
    assert (run_of(folder) / "run.json").is_file(), result.stderr
    return folder


@pytest.fixture(scope="module")
def bidirectional(
    genembench: Command, tiny_backbone: Path, tiny_triplets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What `genembench train` leaves of LLM2Vec."""
    folder = tmp_path_factory.mktemp("bidirectional")
    text = write_lines(folder / "text.jsonl", [{"text": f"{i} cats see a red ball in the yard"} for i in range(16)])
    options = {
        "method": "llm2vec",
        "backbone": tiny_backbone,
        "triplets": tiny_triplets,
        "text": text,
        "budget": "triplets=16,text=16",
        "preset": "small",
        "set": "llm2vec.max_length=96",
        "device": "cpu",
        "output": folder / "out",
    }
    result = genembench("train", *(f"--{name}={value}" for name, value in options.items()), timeout=900)
    assert result.returncode == 0, result.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def exported(genembench: Command, measured: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A run, exported by the real command; tests only read it."""
    target = tmp_path_factory.mktemp("exported") / "folder"
    result = genembench(run_of(measured), target, "--device=cpu", program=EXPORT, timeout=900)
    assert result.returncode == 0, result.stderr
    return target, result


# ------------------------------------------------------------------------------------ loaded where genembench is not


def test_a_run_becomes_a_folder_with_its_vectors(
    exported: tuple[Path, Finished], measured: Path, tmp_path: Path
) -> None:
    target, result = exported
    assert "trust_remote_code=True" in result.stdout
    assert f"card: {target / 'README.md'}" in result.stdout
    assert float(result.stdout.partition("vectors: at most ")[2].split()[0]) <= 1e-5
    assert "Traceback" not in result.stderr
    assert "Warning" not in result.stderr
    assert_a_user_gets_our_vectors(run_of(measured), target, tmp_path, trust=True)
    names = {file.name for file in target.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "modules.json", "templated_transformer.py", "run.json"} <= names
    assert not [file for file in target.parent.iterdir() if file != target]
    with safe_open(target / "model.safetensors", "pt") as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118  # no mapping
        assert kinds == {"F32"}
        assert not [name for name in weights.keys() if "lm_head" in name]  # noqa: SIM118
    assert (target / "model.safetensors").stat().st_mode == (target / "README.md").stat().st_mode


def test_what_train_leaves_and_bidirectional_attention(
    genembench: Command, bidirectional: Path, tmp_path: Path
) -> None:
    result = genembench(bidirectional, tmp_path / "a" / "b", program=EXPORT, timeout=900)
    assert result.returncode == 0, result.stderr
    target = tmp_path / "a" / "b"
    assert json.loads((target / "config.json").read_text())["is_causal"] is False
    card = (target / "README.md").read_text()
    assert "It was trained and not measured" in card
    assert "bidirectional" in card
    assert_a_user_gets_our_vectors(run_of(bidirectional, "llm2vec"), target, tmp_path, trust=True)


def test_the_library_alone_needs_no_trust(tiny_backbone: Path, tmp_path: Path) -> None:
    file = write("my-idea", tmp_path / "my_idea.py")
    encoder = plain(tmp_path / "encoder", "my-idea", tiny_backbone, method_files=[file])
    found = export_to(encoder, tmp_path / "out")
    assert found.kind == "library"
    assert found.difference.largest <= 1e-5
    assert found.difference.texts >= 64
    assert_a_user_gets_our_vectors(encoder, tmp_path / "out", tmp_path, trust=False)
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'SentenceTransformer("path/to/this/folder")' in card
    assert "trust_remote_code" not in card


# ---------------------------------------------------------------------------------- nothing is handed out that is wrong


@pytest.fixture
def encoder(tiny_backbone: Path, tmp_path: Path) -> Path:
    return plain(tmp_path / "encoder", "untrained-last", tiny_backbone)


def tampering(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]) -> None:
    write_modules = folder_of_files.write_modules

    def tampered(folder: Path, *arguments: Any, **options: Any) -> None:
        write_modules(folder, *arguments, **options)
        change(folder)

    monkeypatch.setattr(exporter, "write_modules", tampered)


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_other_vectors_are_refused_and_nothing_is_left(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tampering(monkeypatch, lambda folder: replace(folder / "1_Pooling" / "config.json", "lasttoken", "mean"))
    with pytest.raises(Problem, match=r"does not give the run's vectors: vectors are up to \d"):
        export_to(encoder, tmp_path / "out")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["encoder"]


def test_another_direction_of_attention_is_refused(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tampering(monkeypatch, lambda folder: replace(folder / "config.json", '"is_causal": true', '"is_causal": false'))
    with pytest.raises(Problem, match="attention has another direction"):
        export_to(encoder, tmp_path / "out")


def test_a_folder_that_needs_genembench_is_refused(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although it is installed here: the other process is kept from it."""

    def needing(folder: Path) -> None:
        replace(folder / "templated_transformer.py", "import torch\n", "import torch\nimport methods.contract\n")

    tampering(monkeypatch, needing)
    with pytest.raises(Problem, match="no module named 'methods': it is kept from this process"):
        export_to(encoder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_where_the_librarys_own_modules_fail_ours_take_their_place(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """StableLM stays causal in the library's, in batches without padding."""
    asked = []

    def compare(folder: Path, expected: object, *, trust: bool, **_: Any) -> Difference:
        asked.append(trust)
        return Difference(0.0 if trust else 0.5, "query", "a text", True, 64)

    monkeypatch.setattr(exporter, "compare", compare)
    encoder = plain(tmp_path / "encoder", "untrained-mean", tiny_backbone, {"prompt": ""})
    assert export_to(encoder, tmp_path / "out").kind == "templated"
    assert asked == [False, True]
    assert "with the modules of the library: vectors are up to 5.0e-01 apart" in capsys.readouterr().err
    (first, *_) = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert first["type"] == "templated_transformer.TemplatedTransformer"


# ------------------------------------------------------------------------------------------------- what is refused


def test_bad_input_is_named_before_anything_is_loaded(genembench: Command, measured: Path, tmp_path: Path) -> None:
    run = run_of(measured)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    failed = shutil.copytree(run, tmp_path / "failed")
    record = json.loads((failed / "run.json").read_text())
    broken = record | {"status": "diverged", "reason": "step 3: loss nan", "scores": [], "averages": []}
    (failed / "run.json").write_text(json.dumps(broken))
    moved = shutil.copytree(run, tmp_path / "elsewhere" / "runs" / run.name)
    for arguments, says in (
        ((run, full), f"{full} is not empty"),
        ((run, full / "mine.txt"), "is a file"),
        ((tmp_path / "no", tmp_path / "out"), f"there is no folder {tmp_path / 'no'}"),
        ((full, tmp_path / "out"), f"{full} is no run"),
        ((measured, tmp_path / "out"), f"{measured} holds 2 runs"),
        ((failed, tmp_path / "out"), "left nothing to export: it is diverged (step 3: loss nan)"),
        ((moved, tmp_path / "out"), f"the weights of run {run.name} are gone"),
    ):
        with pytest.raises(Problem) as caught:
            main([*map(str, arguments)])
        assert says in str(caught.value)
        assert not (tmp_path / "out").exists()
    result = genembench(run, full, program=EXPORT)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"genembench: {full} is not empty\n")
    assert (full / "mine.txt").read_text() == "mine"


LIMITED = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
runpy.run_module("runners.export", run_name="__main__", alter_sys=True)
"""


def test_a_disk_that_takes_no_more(genembench: Command, measured: Path, tmp_path: Path) -> None:
    """The weights do not fit."""
    weights = next(measured.glob("stages/*/weights/model.safetensors"))
    assert weights.stat().st_size > 60_000
    result = genembench(run_of(measured), tmp_path / "out", program=("-c", LIMITED), timeout=900)
    assert result.returncode == 2
    assert f"{tmp_path / 'out'} could not be written: File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------------- the card


def test_the_card_says_what_the_record_says(exported: tuple[Path, Finished], measured: Path) -> None:
    target, _ = exported
    record = json.loads((run_of(measured) / "run.json").read_text())
    front, card = (target / "README.md").read_text().split("---\n", 2)[1:]
    facts = yaml.safe_load(front)
    assert facts["library_name"] == "sentence-transformers"
    assert facts["pipeline_tag"] == "sentence-similarity"
    assert "infonce-mean" in facts["tags"]
    # The backbone is a folder, nobody knows a licence, and thirty pairs are not MTEB's STS17.
    assert not {"base_model", "license", "language", "model-index"} & facts.keys()
    for said in (
        record["run"],
        record["backbone"]["address"],
        record["training_address"],
        record["evaluation_address"],
        record["data"]["triplets"]["address"],
        "`triplets.jsonl`: 32 different examples",
        "| seed | 0 |",
        *(f"| {score['task']} | {score['score']:.2f} |" for score in record["scores"]),
        '"batch_size": 16',
        f"transformers {record['environment']['packages']['transformers']}",
        "genembench compare --config run.json --backbone …/tiny-llama --triplets …/triplets.jsonl",
    ):
        assert said in card, said
    assert "were changed since" not in card


def test_no_path_of_this_machine_is_in_the_folder(exported: tuple[Path, Finished], measured: Path) -> None:
    target, _ = exported
    record = (run_of(measured) / "run.json").read_text()
    secrets = [str(measured.parent), str(Path.home()), str(Path(json.loads(record)["backbone"]["given"]).parent)]
    assert all(secret in record for secret in secrets[::2])
    for file in target.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], file
    stripped = json.loads((target / "run.json").read_text())
    assert stripped["run"] == json.loads(record)["run"]
    assert stripped["data"]["triplets"]["path"] == "triplets.jsonl"
