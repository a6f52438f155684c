"""Every mistake a user can make, through the real command: exit code 2, a short message, nothing written."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Command, write_lines

LINES_AT_MOST = 8
CHARACTERS_AT_MOST = 1500

METHOD_FILE = """
from dataclasses import dataclass
from methods.registry import register
from methods.untrained import Untrained

@register("{name}")
@dataclass(frozen=True, kw_only=True)
class Mine(Untrained):
    pass
"""

TRIPLET = {"query": "a cat", "positive": "a tabby cat", "negative": "a dog"}


class World:
    """A working folder with everything a comparison needs; `compare` changes one thing and expects a refusal."""

    def __init__(self, genembench: Command, folder: Path, backbone: Path, triplets: Path, sts: Path) -> None:
        self.genembench = genembench
        self.folder = folder
        self.options: dict[str, str | Path] = {
            "methods": "untrained-mean,infonce-mean",
            "backbone": backbone,
            "triplets": triplets,
            "budget": "32",
            "preset": "small",
            "data-dir": sts,
            "tasks": "STS17,BIOSSES",
            "device": "cpu",
            "output": "out",
        }

    def compare(self, changes: dict[str, str | Path] | None = None, **environment: str) -> str:
        options = self.options | (changes or {})
        return self.refused("compare", *(f"--{name}={value}" for name, value in options.items()), **environment)

    def refused(self, *arguments: str, **environment: str) -> str:
        """Run, check what holds for every refusal, and return the message."""
        before = self.contents()
        result = self.genembench(*arguments, cwd=self.folder, env=environment)
        assert result.returncode == 2, result.stderr
        assert self.contents() == before
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        assert result.stderr.count("\n") <= LINES_AT_MOST, result.stderr
        assert len(result.stderr) <= CHARACTERS_AT_MOST, result.stderr
        _, found, message = result.stderr.rpartition("genembench: ")
        assert found, result.stderr
        return message

    def contents(self) -> dict[str, tuple[int, bytes]]:
        """Return what lies in the folder, with the times of the last change."""
        return {
            str(path.relative_to(self.folder)): (
                path.stat().st_mtime_ns,
                path.read_bytes() if path.is_file() else b"",
            )
            for path in self.folder.rglob("*")
        }


@pytest.fixture
def world(genembench: Command, tmp_path: Path, tiny_backbone: Path, tiny_triplets: Path, tiny_sts: Path) -> World:
    return World(genembench, tmp_path, tiny_backbone, tiny_triplets, tiny_sts)


def assert_says(message: str, *facts: str) -> None:
    missing = [fact for fact in facts if fact not in message]
    assert not missing, f"not said: {missing}\n{message}"


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        pytest.param(
            {"methods": "untrained-mean,infonce-maen"},
            ["unknown method 'infonce-maen'", "Did you mean infonce-mean", "untrained-last"],
            id="method",
        ),
        pytest.param({"tasks": "STS17,BIOSES"}, ["unknown task 'BIOSES'", "Did you mean BIOSSES"], id="task"),
        pytest.param({"preset": "smal"}, ["unknown preset", "'smal'", "Did you mean small", "paper"], id="preset"),
        pytest.param(
            {"set": "infonce-mean.epoch=2"},
            ["unknown hyper-parameter of infonce-mean 'epoch'", "Did you mean epochs"],
            id="set-key",
        ),
        pytest.param(
            {"set": "infonce-mean.epochs=two"},
            ["infonce-mean.epochs=two", "not a valid value", "Allowed: int"],
            id="set-type",
        ),
        pytest.param(
            {"set": "infonce-last.epochs=2"},
            ["method 'infonce-last' takes no part", "Taking part: untrained-mean, infonce-mean"],
            id="set-bystander",
        ),
        pytest.param({"set": "epochs=2"}, ["--set epochs=2", "method.key=value"], id="set-form"),
        pytest.param(
            {"budget": "121"},
            ["a budget of 121 triplets", "above the 120 usable rows", "--budget triplets=120"],
            id="budget-above-data",
        ),
        pytest.param(
            {"budget": "5k"}, ["--budget 5k", "not a whole number of examples", "Write it out: 5000"], id="budget-form"
        ),
    ],
)
def test_words(world: World, changes: dict[str, str | Path], facts: list[str]) -> None:
    assert_says(world.compare(changes), *facts)


def test_unknown_option_in_a_configuration_file(world: World) -> None:
    (world.folder / "my.toml").write_text('bugdet = "32"\n')
    assert_says(world.compare({"config": "my.toml"}), "my.toml", "'bugdet'", "Did you mean budget")


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        pytest.param(None, ["mine.jsonl: no such file", "JSON lines"], id="missing"),
        pytest.param(b"", ["mine.jsonl: is empty", "JSON lines"], id="empty"),
        pytest.param(
            json.dumps(TRIPLET).encode() + b"\n\n" + b'{"query": "half a li\n',
            ["mine.jsonl, line 3: is not JSON", "half a li"],
            id="malformed",
        ),
        pytest.param(
            gzip.compress("".join(json.dumps(TRIPLET | {"query": str(i)}) for i in range(500)).encode())[:-30],
            ["mine.jsonl: the gzip data is cut off", "Copy or download the file again"],
            id="unreadable",
        ),
        pytest.param(
            json.dumps({"context": "c", "instruction": "i", "target": "t"}).encode(),
            ["mine.jsonl, line 1", "triplets data needs the fields query, positive, negative", "--instruct"],
            id="wrong-kind",
        ),
    ],
)
def test_triplets(world: World, content: bytes | None, facts: list[str]) -> None:
    if content is not None:
        (world.folder / "mine.jsonl").write_bytes(content)
    assert_says(world.compare({"triplets": "mine.jsonl"}), *facts)


def test_output_with_other_files(world: World) -> None:
    (world.folder / "out").mkdir()
    (world.folder / "out" / "thesis.tex").write_text("ten years of work")
    assert_says(world.compare(), "--output out is not empty", "not written by genembench", "new or an empty folder")


def test_output_of_another_command(world: World) -> None:
    (world.folder / "out").mkdir()
    (world.folder / "out" / "genembench.json").write_text('{"kind": "train", "format": 1}')
    assert_says(world.compare(), "--output out", "`genembench train`", "`compare`", "Choose another folder")


def test_output_is_a_file(world: World) -> None:
    (world.folder / "out").write_text("")
    assert_says(world.compare(), "--output out is a file", "Give a folder")


@pytest.mark.parametrize(
    ("damage", "facts"),
    [
        pytest.param("gone", ["backbone ./mine", "no such folder"], id="missing"),
        pytest.param("weights", ["backbone ./mine", "no safetensors weights", "save_pretrained"], id="no-weights"),
        pytest.param("short", ["backbone ./mine", "cut short", "copy it again"], id="cut-short"),
    ],
)
def test_backbone(world: World, tiny_backbone: Path, damage: str, facts: list[str]) -> None:
    mine = world.folder / "mine"
    if damage != "gone":
        shutil.copytree(tiny_backbone, mine)
        weights = mine / "model.safetensors"
        if damage == "weights":
            weights.unlink()
        else:
            weights.write_bytes(weights.read_bytes()[:-1000])
    assert_says(world.compare({"backbone": "./mine"}), *facts)


def test_backbone_on_a_hub_out_of_reach(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    # Nothing listens on port 9 of this machine.
    message = world.compare(
        {"backbone": "some-lab/some-model"},
        HF_HUB_OFFLINE="0",
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_HOME=str(tmp_path_factory.mktemp("hub")),
        HF_HUB_ETAG_TIMEOUT="1",
        HF_HUB_DOWNLOAD_TIMEOUT="1",
    )
    assert_says(message, "backbone some-lab/some-model", "the hub is out of reach", "Give a local folder")


def test_no_gpu(world: World) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert_says(world.compare({"device": "cuda"}), "--device cuda: no GPU can be used", "--device cpu")


def test_encoder_that_is_none(world: World, tiny_backbone: Path, tiny_sts: Path) -> None:
    message = world.refused(
        "evaluate", f"--encoder={tiny_backbone}", f"--data-dir={tiny_sts}", "--tasks=STS17", "--output=out"
    )
    assert_says(message, f"{tiny_backbone} is not a genembench encoder", "genembench train", "sentence-transformers:")


def test_task_without_data(world: World) -> None:
    assert_says(world.compare({"tasks": "STS12,STS17"}), "no test pairs of STS12", "--skip-tasks STS12")


def test_malformed_sts_file(world: World) -> None:
    pair = {"sentence1": "a", "sentence2": "b", "score": 1}
    write_lines(world.folder / "sts" / "STS17.test.jsonl", [pair, pair | {"score": "high"}])
    message = world.compare({"data-dir": "sts", "tasks": "STS17"})
    assert_says(message, "STS17.test.jsonl, line 2", "score is not a number", "'high'")


@pytest.mark.parametrize(
    ("code", "facts"),
    [
        pytest.param(
            "x = 1\ny = 1 / 0\n",
            ["mine.py, line 2", "ZeroDivisionError"],
            id="raises",
        ),
        pytest.param("def half(:\n", ["mine.py, line 1", "SyntaxError"], id="syntax"),
        pytest.param("x = 1\n", ["mine.py registers no method", "@register"], id="registers-nothing"),
        pytest.param(
            METHOD_FILE.format(name="infonce-mean"),
            ["two methods are called 'infonce-mean'", "infonce.py", "mine.py", "Rename"],
            id="name-taken",
        ),
    ],
)
def test_method_file(world: World, code: str, facts: list[str]) -> None:
    (world.folder / "mine.py").write_text(code)
    assert_says(world.compare({"method-file": "mine.py"}), *facts)
