from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmarks.hub
from benchmarks.averages import STS_TASKS
from benchmarks.suite import DEMO_DEV, DEMO_STS, DEMO_TASKS, Benchmark, resolve_benchmark
from genembench.problem import Problem


def folder_with(folder: Path, *tasks: str, score: float = 1.0) -> Path:
    for task in tasks:
        rows = [{"sentence1": f"{task} a{row}", "sentence2": f"b{row}", "score": score + row} for row in range(3)]
        (folder / f"{task}.test.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def test_sts_is_the_ten_tasks_and_imports_neither_mteb_nor_torch() -> None:
    code = (
        "import sys, benchmarks.evaluate, benchmarks.finished; from benchmarks.suite import resolve_benchmark as r;"
        "print(len(r('sts', tasks=None, data_dir=None).tasks), len(r('mteb:STS12', tasks=None, data_dir=None).tasks),"
        "*({'mteb', 'torch', 'datasets', 'sentence_transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10", "1"]


def test_tasks_are_chosen_and_left_out_in_the_benchmarks_order() -> None:
    chosen = resolve_benchmark("sts", tasks=["STS17", "STS12", "STS22"], skip_tasks=["STS22"], data_dir=None)
    assert chosen == Benchmark("sts", ("STS12", "STS17"), None)
    listed = resolve_benchmark("mteb:STS17, BIOSSES,STS17", tasks=None, data_dir=None)
    assert (listed.name, listed.tasks) == ("mteb:STS17,BIOSSES", ("STS17", "BIOSSES"))


@pytest.mark.parametrize(
    ("spec", "meant"), [("STS", "sts"), ("sts16", "mteb:STS16"), ("mteb", "mteb:TASK"), ("beir", "mteb:TASK")]
)
def test_an_unknown_benchmark_names_what_was_meant(spec: str, meant: str) -> None:
    with pytest.raises(Problem, match=f"unknown benchmark '{spec}'") as caught:
        resolve_benchmark(spec, tasks=None, data_dir=None)
    assert meant in caught.value.hint


def test_an_unknown_task_names_what_was_meant() -> None:
    for chosen, left_out in ((["sts22"], []), (None, ["sts22"])):
        with pytest.raises(Problem, match="unknown task 'sts22'") as caught:
            resolve_benchmark("sts", tasks=chosen, skip_tasks=left_out, data_dir=None)
        assert "Did you mean STS22" in caught.value.hint
    with pytest.raises(Problem, match="no task of benchmark sts is left"):
        resolve_benchmark("sts", tasks=["STS22"], skip_tasks=["STS22"], data_dir=None)


def test_names_of_other_tasks_are_checked_against_mteb(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="mteb has no task 'nfcorpus'") as caught:
        resolve_benchmark("mteb:STS12,nfcorpus", tasks=None, data_dir=None)
    assert "Did you mean NFCorpus" in caught.value.hint
    assert resolve_benchmark("mteb:NFCorpus", tasks=None, data_dir=None).tasks == ("NFCorpus",)
    for task, data_dir, complaint in (
        ("NFCorpus", tmp_path, "no STS task"),
        ("CQADupstackRetrieval", None, "only averages"),
        ("STS12VisualSTS", None, "not a text task"),
    ):
        with pytest.raises(Problem, match=complaint):
            resolve_benchmark(f"mteb:{task}", tasks=None, data_dir=data_dir)


def test_missing_files_are_one_problem_with_the_flag_that_leaves_them_out(tmp_path: Path) -> None:
    folder_with(tmp_path, *(task for task in STS_TASKS if task not in ("STS22", "STS12")))
    benchmark = resolve_benchmark("sts", tasks=None, data_dir=tmp_path)
    with pytest.raises(Problem, match=r"no test pairs of STS12, STS22") as caught:
        benchmark.check()
    assert "--skip-tasks STS12,STS22." in caught.value.hint
    with pytest.raises(Problem, match="STS12, STS22"):
        benchmark.load_task("STS22")
    resolve_benchmark("sts", tasks=None, skip_tasks=["STS22", "STS12"], data_dir=tmp_path).check()
    with pytest.raises(Problem, match="no data folder"):
        resolve_benchmark("sts", tasks=None, data_dir=tmp_path / "no").check()


def test_texts_are_all_sentences(tmp_path: Path) -> None:
    benchmark = Benchmark("sts", ("STS12", "STS17"), folder_with(tmp_path, "STS12", "STS17"))
    assert list(benchmark.texts())[:3] == ["STS12 a0", "b0", "STS12 a1"]
    assert len(list(benchmark.texts())) == 12


def test_the_address_is_that_of_the_content(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    for folder, score in ((one, 1.0), (two, 1.0), (other, 1.5)):
        folder.mkdir()
        folder_with(folder, "STS12", "STS17", score=score)
    plain = two / "STS12.test.jsonl"
    (two / "STS12.test.jsonl.gz").write_bytes(gzip.compress(b"\n" + plain.read_bytes()))
    plain.unlink()
    address = Benchmark("sts", ("STS12", "STS17"), one).address
    assert address == Benchmark("other name", ("STS17", "STS12"), two).address
    assert address != Benchmark("sts", ("STS12", "STS17"), other).address
    assert address != Benchmark("sts", ("STS12",), one).address


def test_the_address_of_hub_data_is_that_of_their_revisions() -> None:
    address = Benchmark("sts", ("STS12", "STS17"), None).address
    assert address == Benchmark("sts", ("STS17", "STS12"), None).address
    assert address != Benchmark("sts", ("STS12",), None).address


def test_a_loaded_task_has_the_shape_mteb_expects_and_the_random_state_survives(tmp_path: Path) -> None:
    folder_with(tmp_path, "STS12", "STS17", "STS22")
    random.seed(7)
    np.random.seed(7)
    before = (random.getstate(), str(np.random.get_state()))
    for name, subset in (("STS12", "default"), ("STS17", "en-en"), ("STS22", "en")):
        task = Benchmark("sts", (name,), tmp_path).load_task(name)
        assert (task.hf_subsets, list(task.eval_splits), task.data_loaded) == ([subset], ["test"], True)
        assert task.dataset is not None
        assert task.dataset[subset]["test"]["sentence1"][:2] == [f"{name} a0", f"{name} a1"]
    assert before == (random.getstate(), str(np.random.get_state()))
    with pytest.raises(Problem, match="unknown task of benchmark sts 'STS16'"):
        Benchmark("sts", ("STS12",), tmp_path).load_task("STS16")


def test_hub_data_are_taken_as_mteb_loads_them_without_other_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    import mteb.abstasks.abstask
    from datasets import Dataset, DatasetDict

    def load_dataset(**_: object) -> DatasetDict:
        # Subsets come in one data set, told apart by a column that only multilingual tasks look at.
        rows = {"sentence1": ["a", "b", "c"], "sentence2": ["d", "e", "f"], "score": [1.0, 2.0, 3.0]}
        test = Dataset.from_dict({**rows, "lang": ["en", "en-en", "de-en"]})
        return DatasetDict(test=test, train=Dataset.from_dict({"sentence1": ["train"], "lang": ["en"]}))

    monkeypatch.setattr(mteb.abstasks.abstask, "load_dataset", load_dataset)
    monkeypatch.setattr(benchmarks.hub, "hub_out_of_reach", lambda: "")
    texts = {task: list(Benchmark("sts", (task,)).texts()) for task in ("STSBenchmark", "STS17", "STS22")}
    assert texts == {
        "STSBenchmark": ["a", "b", "c", "d", "e", "f", "en", "en-en", "de-en"],
        "STS17": ["b", "e"],
        "STS22": ["a", "d"],
    }


def test_a_hub_out_of_reach_is_a_problem_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets.config
    from huggingface_hub import constants

    # Port 9 of this machine refuses at once; the cache is empty.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    benchmark = Benchmark("sts", ("BIOSSES",), None)
    start = time.perf_counter()
    for action in (benchmark.check, lambda: benchmark.load_task("BIOSSES"), lambda: list(benchmark.texts())):
        with pytest.raises(Problem, match=r"could not load task BIOSSES from the hub: http://127\.0\.0\.1:9") as caught:
            action()
        assert "--data-dir" in caught.value.hint
    assert time.perf_counter() - start < 10
    assert not constants.HF_HUB_OFFLINE
    assert not datasets.config.HF_HUB_OFFLINE


def demo(spec: str = "demo", **choice: Any) -> Benchmark:
    return resolve_benchmark(spec, **{"tasks": None, "data_dir": None, **choice})


def test_the_demo_is_five_tasks_and_its_development_set_one() -> None:
    assert demo().tasks == (*DEMO_STS, "DemoRetrieval")
    assert DEMO_STS == ("DemoParaphrase", "DemoRoles", "DemoNegation", "DemoTopic")
    assert demo("demo-dev").tasks == DEMO_DEV == ("DemoDev",)
    assert demo(tasks=["DemoRetrieval", "DemoRoles"]).tasks == ("DemoRoles", "DemoRetrieval")
    with pytest.raises(Problem, match="unknown benchmark 'dmeo'") as caught:
        demo("dmeo")
    assert "Did you mean demo" in caught.value.hint
    with pytest.raises(Problem, match="unknown task 'DemoRole'") as caught:
        demo(tasks=["DemoRole"])
    assert "Did you mean DemoRoles" in caught.value.hint


@pytest.mark.parametrize("spec", ["demo", "demo-dev"])
def test_the_demo_reads_no_folder(spec: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=f"--benchmark {spec} computes its tasks"):
        demo(spec, data_dir=tmp_path)


def test_the_demo_needs_neither_mteb_nor_the_hub_to_be_known() -> None:
    code = (
        "import sys; from benchmarks.suite import resolve_benchmark as r;"
        "b = r('demo', tasks=None, data_dir=None); print(len(b.address), sum(1 for _ in b.texts()),"
        "*({'mteb', 'torch', 'datasets', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Twice 400 sentences of four tasks, 200 questions and 800 statements.
    assert done.stdout.split() == ["64", str(4 * 800 + 1000)]


def test_the_average_of_the_demo_is_over_its_five_tasks() -> None:
    scores = {"DemoParaphrase": 10.0, "DemoRoles": 20.0, "DemoNegation": 30.0, "DemoTopic": 44.0, "DemoRetrieval": 99.0}
    (average,) = demo().average(scores)
    assert (average.name, average.tasks, average.score) == ("Demo(5)", (*DEMO_STS, "DemoRetrieval"), 40.6)
    # Never under the name with a task less.
    del scores["DemoTopic"]
    (average,) = demo().average(scores)
    assert (average.name, average.score) == ("Mean(of 4)", 39.75)


def test_all_of_the_demo_is_kept_out_of_training_whichever_task_is_measured() -> None:
    whole = set(Benchmark("demo", DEMO_TASKS).texts())
    for chosen in (demo(tasks=["DemoTopic"]), demo("demo-dev"), demo()):
        assert set(chosen.neighbourhood().texts()) == whole
    assert not set(Benchmark("sts", ("STS12",)).neighbourhood().tasks) & set(DEMO_TASKS)


def test_pairs_of_the_demo_have_the_address_of_the_same_pairs_in_a_file(tmp_path: Path) -> None:
    from benchmarks.demo.tasks import sts_pairs

    rows = [pair._asdict() for pair in sts_pairs("DemoTopic")]
    (tmp_path / "DemoTopic.jsonl").write_text("\n".join(map(json.dumps, rows)))
    own = Benchmark("mine", ("DemoTopic",), own={"DemoTopic": tmp_path / "DemoTopic.jsonl"})
    assert own.address == demo(tasks=["DemoTopic"]).address
    assert own.address != demo(tasks=["DemoRoles"]).address
    addresses = {demo().task_address(task) for task in demo().tasks}
    assert len(addresses) == 5
