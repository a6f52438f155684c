from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runners import doctor, probe_attention, probe_compute, probe_install, probes
from runners.probes import Finding
from tests.conftest import CHECKOUT, Command, Finished

TITLES = ["Versions", "Devices", "Attention", "Precision", "Hub", "Disk", "Extras", "Methods"]
INSTALL = "pip install -e . -c constraints.txt"
TOKEN = "hf_thisIsNobodysToken1234"
# The machine that runs the tests may have a GPU; what is expected here is a CPU's.
NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "HF_TOKEN": TOKEN}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is known to be broken, and no checkout has been read."""
    monkeypatch.setattr(probes, "BROKEN", {})
    probe_install.project_file.cache_clear()
    yield
    probe_install.project_file.cache_clear()


def sections(report: str) -> dict[str, list[str]]:
    """Split the printed report at its titles; what follows the last empty line is the verdict."""
    body, _, verdict = report.rstrip("\n").rpartition("\n\n")
    found: dict[str, list[str]] = {"verdict": [verdict]}
    title = ""
    for line in body.splitlines():
        if not line.startswith(" "):
            title = line
            found[title] = []
        else:
            found[title].append(line)
    return found


def finding(findings: list[Finding], name: str) -> Finding:
    (one,) = [each for each in findings if each.name == name]
    return one


def modules(folder: Path, **sources: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return folder


# ---- the real command


@pytest.fixture(scope="module")
def report(genembench: Command) -> Finished:
    return genembench("doctor", env=NO_GPU)


def test_the_report_has_every_section_and_a_verdict(report: Finished) -> None:
    found = sections(report.stdout)
    assert [title for title in found if title != "verdict"] == TITLES
    bad = sum(line.startswith("  bad ") for lines in found.values() for line in lines)
    assert report.returncode == (1 if bad else 0)
    assert found["verdict"][0].startswith(f"{bad} thing" if bad else "Ready: runs on cpu in float32")
    assert report.stderr == ""


def test_the_report_names_what_really_ran(report: Finished) -> None:
    text = "\n".join(sections(report.stdout)["Attention"])
    assert "kernel          packed, loaded as packed, on cpu in float32\n" in text
    assert "what ran        torch flash for cpu: equal lengths, causal, bidirectional\n" in text
    assert "  ok    as eager        largest difference " in text
    assert "torch kernels   flash, math run a causal batch without padding; not efficient, cudnn\n" in text


def test_the_report_is_good_to_paste(report: Finished) -> None:
    assert report.stdout.isascii()
    assert "\x1b" not in report.stdout
    assert TOKEN not in report.stdout
    assert "a token is there (yes), not shown here" in report.stdout
    assert len(report.stdout.splitlines()) < 60


def test_a_library_that_raises_is_reported_once(genembench: Command, tmp_path: Path) -> None:
    # peft uses torch and falls with it; the empty ones spare the test their seconds.
    fakes = modules(
        tmp_path / "fakes",
        torch='raise OSError("libcudart.so.12: cannot open shared object file")',
        peft="import torch",
        **dict.fromkeys(["datasets", "matplotlib", "mteb", "scipy", "sklearn", "sentence_transformers"], ""),
    )
    result = genembench("doctor", env={**NO_GPU, "PYTHONPATH": str(fakes)})
    found = sections(result.stdout)
    lines = found["Versions"]
    broken = lines.index(
        "  bad   torch           cannot be imported: OSError: libcudart.so.12: cannot open shared object file"
    )
    assert lines[broken + 1].strip() == "pip install --force-reinstall -c constraints.txt torch"
    assert lines[broken + 2 :] == ["  note  as well         cannot be imported, since they use what is broken: peft"]
    for title in ("Attention", "Precision", "Methods"):
        assert found[title] == ["  note  not examined    needs torch, which cannot be imported (see Versions)"]
    assert found["Devices"][0].startswith("  ok    CPU ")
    assert len(found["Disk"]) == 3
    assert found["verdict"] == ["1 thing to mend (marked bad above)."]
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr


def test_a_library_that_kills_its_process_is_reported_as_json(genembench: Command, tmp_path: Path) -> None:
    source = "import os, sys\nprint('no such instruction', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 4)"
    fakes = modules(tmp_path / "fakes", torch=source)
    result = genembench("doctor", "--json", env={**NO_GPU, "PYTHONPATH": str(fakes)})
    found = json.loads(result.stdout)
    assert list(found["sections"]) == TITLES
    assert found["ready"] is False
    assert found["verdict"] == "1 thing to mend (marked bad above)."
    assert found["sections"]["Versions"][-1] == {
        "mark": "bad",
        "name": "torch",
        "text": "cannot be imported: the process died of SIGILL (no such instruction)",
        "mend": [
            'python -X faulthandler -c "import torch" # shows where',
            "pip install --force-reinstall -c constraints.txt torch",
        ],
    }
    assert [each["name"] for each in found["sections"]["Disk"]] == ["here", "temp", "hub cache"]
    assert result.returncode == 1
    assert result.stderr == ""


def test_an_unknown_option_is_refused(genembench: Command) -> None:
    result = genembench("doctor", "--jsn")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "unrecognized arguments: --jsn" in result.stderr


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from runners.doctor import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'mteb', 'packaging', 'tqdm', 'numpy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_library_that_hangs_is_left_and_said_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(modules(tmp_path / "fakes", torch="import time; time.sleep(60)")))
    monkeypatch.setattr(doctor, "SECONDS_WITHOUT_NEWS", 1.5)
    monkeypatch.setattr(doctor, "SECONDS_BEFORE_SAYING", 0.1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    found = dict(doctor.look(["Devices", "Precision", "Disk"]))
    assert finding(found["Devices"], "torch").text == "cannot be imported: did not answer for 2 s"
    assert [each.name for each in found["Precision"]] == ["not examined"]
    assert [each.name for each in found["Disk"]][:2] == ["here", "temp"]
    # Shown, and wiped away before the section is printed.
    said = capfd.readouterr().err
    assert "\r\x1b[KDevices: importing torch ..." in said
    assert said.endswith("\r\x1b[K")


# ---- versions


@pytest.fixture
def version_of(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Versions to pretend; None is not installed. Nothing is imported."""
    pretended: dict[str, str | None] = {}
    real = metadata.version

    def version(name: str) -> str:
        wanted = pretended.get(name, real(name) if name not in pretended else None)
        if wanted is None:
            raise metadata.PackageNotFoundError(name)
        return wanted

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(probe_install, "load", lambda module: SimpleNamespace())
    return pretended


def test_a_missing_dependency_is_bad(version_of: dict[str, str | None]) -> None:
    version_of["scipy"] = None
    found = list(probe_install.versions())
    assert finding(found, "scipy") == Finding("bad", "scipy", "missing, needs >=1.13", (INSTALL,))
    assert "scipy" not in finding(found, "packages").text
    count = len(finding(found, "packages").text.split(", "))
    assert finding(found, "imports").text == f"all {count} packages can be imported"


def test_a_version_that_does_not_do_is_bad(version_of: dict[str, str | None]) -> None:
    version_of.update(torch="2.3.1+cu118", mteb="3.0.0", numpy="2.0")
    found = list(probe_install.versions())
    assert finding(found, "torch") == Finding("bad", "torch", "2.3.1+cu118 does not do, needs >=2.8", (INSTALL,))
    assert finding(found, "mteb").text == "3.0.0 does not do, needs <3,>=2.26"
    assert "numpy 2.0," in finding(found, "packages").text


def test_what_is_installed_does(version_of: dict[str, str | None]) -> None:
    found = list(probe_install.versions())
    assert [(each.mark, each.name) for each in found[-2:]] == [("ok", "packages"), ("ok", "imports")]
    assert not [each for each in found if each.mark == "bad"]
    assert probe_install.module_of("PyYAML") == "yaml"


def test_not_installed_at_all(version_of: dict[str, str | None]) -> None:
    version_of["genembench"] = None
    first = next(probe_install.versions())
    assert (first.mark, first.mend) == ("bad", (INSTALL,))
    assert first.text.startswith(f"not installed in this Python ({sys.executable})")


def test_an_install_older_than_its_checkout_is_noted(
    version_of: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.requires

    def requires(name: str) -> list[str] | None:
        found = real(name)
        if name != "genembench" or found is None:
            return found
        return [text for text in found if not text.startswith("torch")] + ["torch>=1.0"]

    monkeypatch.setattr(metadata, "requires", requires)
    stale = finding(list(probe_install.versions()), "metadata")
    assert (stale.mark, stale.mend) == ("note", (INSTALL,))
    assert "torch" in stale.text


def test_without_a_checkout_the_metadata_say_what_is_needed(
    version_of: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(probe_install, "ROOT", tmp_path)
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch>=99"] if name == "genembench" else [])
    found = list(probe_install.versions())
    assert finding(found, "torch").text.endswith(" does not do, needs >=99")
    assert [each.name for each in found if each.mark == "bad"] == ["torch"]
    assert "commit" not in finding(found, "genembench").text


def test_what_uses_a_broken_package_is_not_to_blame(
    version_of: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(module: str) -> None:
        if module in ("huggingface_hub", "datasets", "scipy"):
            raise probes.Unusable(module, "ImportError: no")

    monkeypatch.setattr(probe_install, "load", broken)
    found = list(probe_install.versions())
    bad = {each.name: each.mend for each in found if each.mark == "bad"}
    # datasets requires the one, and nothing that is broken is required by the other.
    assert bad == {
        "huggingface-hub": ("pip install --force-reinstall -c constraints.txt huggingface-hub",),
        "scipy": ("pip install --force-reinstall -c constraints.txt scipy",),
    }
    assert finding(found, "as well").text == "cannot be imported, since they use what is broken: datasets"
    assert "imports" not in [each.name for each in found]


def test_a_requirement_for_another_system_is_none_here() -> None:
    assert probe_install.read_need("a-b[x]>=1.0,<2") == probe_install.Need("a-b", "<2,>=1.0")
    assert probe_install.read_need('a>=1; extra == "gpu"') == probe_install.Need("a", ">=1", "gpu")
    assert probe_install.read_need('a>=1; sys_platform == "nowhere"') is None
    assert probe_install.read_need('a>=1; python_version < "3" and extra == "gpu"') is None


# ---- load


def test_a_broken_import_keeps_its_first_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import builtins\nbuiltins._doctor_count = getattr(builtins, '_doctor_count', 0) + 1\n"
    source += "raise OSError(f'number {builtins._doctor_count}\\nand more')"
    monkeypatch.syspath_prepend(
        str(modules(tmp_path / "fakes", doctor_broken=source, doctor_leaves="raise SystemExit"))
    )
    for _ in range(2):
        with pytest.raises(probes.Unusable) as caught:
            probes.load("doctor_broken")
        assert caught.value.reason == "OSError: number 1"
    with pytest.raises(probes.Unusable, match="doctor_leaves: SystemExit"):
        probes.load("doctor_leaves")


def test_a_probe_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def disk() -> Iterator[Finding]:
        yield Finding("ok", "here", "fine")
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(probe_install, "disk", disk)
    here, failed = probes.examine("Disk")
    assert here.text == "fine"
    assert (failed.mark, failed.text) == ("bad", "this could not be examined: ZeroDivisionError: by zero")


# ---- devices

GIB = 2**30


def fake_torch(cards: list[Any], *, cuda: str | None = "12.8", init: str = "", version: str = "2.13.0") -> Any:
    """A torch that sees these cards: (name, major, minor, free GiB, total GiB), or an error's text."""

    class One:
        def __init__(self, index: int) -> None:
            self.index = index

        def __add__(self, other: int) -> Any:
            if isinstance(cards[self.index][-1], str):
                raise RuntimeError(cards[self.index][-1])
            return SimpleNamespace(sum=lambda: SimpleNamespace(item=lambda: 4.0))

    def begin() -> None:
        raise RuntimeError(init)

    return SimpleNamespace(
        __version__=version,
        version=SimpleNamespace(cuda=cuda, hip=None),
        ones=lambda size, device: One(int(device.removeprefix("cuda:"))),
        cuda=SimpleNamespace(
            is_available=lambda: bool(cards),
            device_count=lambda: len(cards),
            get_device_properties=lambda i: SimpleNamespace(name=cards[i][0], major=cards[i][1], minor=cards[i][2]),
            mem_get_info=lambda i: (int(cards[i][3] * GIB), int(cards[i][4] * GIB)),
            init=begin,
        ),
    )


def test_gpus_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_compute, "driver_version", lambda: "570.124.06")
    torch = fake_torch(
        [
            ("NVIDIA H100", 9, 0, 78.5, 79.25),
            ("Tesla T4", 7, 5, 14, 15),
            ("NVIDIA A100", 8, 0, 2, 40),
            ("Tesla K80", 3, 7, 11, 12, "CUDA error: no kernel image is available\nmore"),
        ]
    )
    build, h100, t4, a100, k80 = probe_compute.gpus(torch)
    assert build == Finding("ok", "torch build", "2.13.0 for CUDA 12.8, driver 570.124.06")
    assert h100 == Finding("ok", "GPU 0", "NVIDIA H100, 78.5 GiB free of 79.2 GiB, capability 9.0, bfloat16")
    assert t4.mark == "note"
    assert t4.text == "Tesla T4, 14.0 GiB free of 15.0 GiB, capability 7.5, bfloat16 only emulated"
    assert t4.mend == ("genembench compare --precision float32 ...",)
    assert a100.mark == "note"
    assert a100.text.endswith("capability 8.0, bfloat16, most of its memory is taken")
    assert (k80.mark, k80.text) == ("bad", "RuntimeError: CUDA error: no kernel image is available")


@pytest.mark.parametrize(
    ("torch", "cards", "driver", "hidden", "text", "mend"),
    [
        (fake_torch([], cuda=None), 0, "", None, "none found, and torch 2.13.0 is a CPU build", "pip install --force"),
        (fake_torch([], cuda=None), 2, "", None, "has 2 NVIDIA cards, but torch 2.13.0 is a CPU build", "pip install"),
        (fake_torch([], cuda=None), 0, "570", None, "has an NVIDIA card, but torch 2.13.0 is a CPU", "pip install"),
        (fake_torch([]), 1, "570", "", "built for CUDA 12.8: CUDA_VISIBLE_DEVICES is ''", "unset CUDA_VISIBLE_DEVICES"),
        (fake_torch([]), 0, "", None, "built for CUDA 12.8: this machine shows no NVIDIA card", "nvidia-smi"),
        (fake_torch([]), 1, "", None, "this machine has 1 NVIDIA card: no driver is loaded", "nvidia-smi"),
        (
            fake_torch([], init="The NVIDIA driver on your system is too old (found version 11040)."),
            1,
            "470.1",
            None,
            "has 1 NVIDIA card: RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
            "nvidia-smi",
        ),
    ],
    ids=["cpu build", "cpu build, cards", "cpu build, driver", "hidden", "no card", "no driver", "old driver"],
)
def test_why_no_gpu_is_seen(
    monkeypatch: pytest.MonkeyPatch, torch: Any, cards: int, driver: str, hidden: str | None, text: str, mend: str
) -> None:
    monkeypatch.setattr(probe_compute, "nvidia_cards", lambda: cards)
    monkeypatch.setattr(probe_compute, "driver_version", lambda: driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    (found,) = probe_compute.gpus(torch)
    assert (found.mark, found.name) == ("note", "GPU")
    assert text in found.text
    assert found.mend[0].startswith(mend)


def test_cards_are_counted_on_the_bus(tmp_path: Path) -> None:
    # A card, its sound, a card of somebody else, a 3D controller.
    for number, (vendor, kind) in enumerate(
        [("0x10de", "0x030000"), ("0x10de", "0x040300"), ("0x1002", "0x030000"), ("0x10de", "0x030200")]
    ):
        folder = tmp_path / f"0000:0{number}:00.0"
        folder.mkdir()
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{kind}\n")
    assert probe_compute.nvidia_cards(tmp_path) == 2
    assert probe_compute.nvidia_cards(tmp_path / "absent") == 0


def test_limits_of_control_groups(tmp_path: Path) -> None:
    def tree(name: str, own: str, files: Mapping[str, str]) -> tuple[float | None, int | None]:
        root = tmp_path / name
        for file, text in {"own": own, **files}.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(f"{text}\n")
        return probe_compute.cgroup_limits(root / "own", root)

    two = {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000", "a/b/memory.max": "2048", "memory.max": "max"}
    assert tree("two", "0::/a/b", two) == (1.5, 2048)
    one = {"cpu/job/cpu.cfs_quota_us": "400000", "cpu/job/cpu.cfs_period_us": "100000"}
    one["memory/memory.limit_in_bytes"] = "4096"
    assert tree("one", "4:memory:/job\n3:cpu,cpuacct:/job", one) == (4.0, 4096)
    unlimited = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
    assert tree("unlimited", "3:cpu,cpuacct:/", unlimited) == (None, None)
    assert probe_compute.cgroup_limits(tmp_path / "absent", tmp_path) == (None, None)


def test_threads_are_judged() -> None:
    assert probe_compute.threads(8, 8, None) == Finding("ok", "threads", "torch computes with 8")
    # Without a setting these are the physical cores.
    assert probe_compute.threads(4, 8, None).mark == "ok"
    assert probe_compute.threads(1, 8, "1") == Finding(
        "note", "threads", "torch computes with 1 (OMP_NUM_THREADS=1) of 8 usable cores", ("unset OMP_NUM_THREADS",)
    )
    assert probe_compute.threads(16, 2, None).mend == ("export OMP_NUM_THREADS=2",)


# ---- attention


def attention(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    monkeypatch.setattr("runners.engine.choose_device", lambda wanted: "cpu")
    return list(probe_attention.attention())


def test_a_kernel_that_loses_the_direction_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    real = torch.nn.functional.scaled_dot_product_attention

    def careless(*tensors: Any, **options: Any) -> Any:
        # Not in the few tokens on which loading tries direction and packing: there it would be found first.
        return real(*tensors, **options | ({"is_causal": False} if tensors[0].shape[2] > 8 else {}))

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", careless)
    found = finding(attention(monkeypatch), "as eager")
    assert found.mark == "bad"
    assert found.text.startswith("packed gives other results: largest difference ")


def test_flash_attn_that_does_not_load_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.parts.backbone.attention_kernel", lambda device, precision: "flash_attention_2")
    found = finding(attention(monkeypatch), "kernel")
    assert found.mark == "bad"
    assert found.text.startswith("flash_attention_2 fails on cpu: ")
    assert found.mend == ("pip uninstall flash-attn  # torch's own attention is then used",)


def test_a_setting_that_is_ignored_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from methods.parts import backbone

    real = backbone.load_model

    def always_causal(folder: Path, *, causal: bool, **options: Any) -> Any:
        return real(folder, causal=True, **options)

    monkeypatch.setattr(backbone, "load_model", always_causal)
    found = attention(monkeypatch)
    assert finding(found, "direction").mark == "bad"
    assert finding(found, "as eager").mark == "ok"


def test_no_place_for_the_tiny_model_is_for_the_disk_section(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    found = attention(monkeypatch)
    assert "No space left on device (see Disk)" in finding(found, "not compared").text
    assert not [each for each in found if each.mark == "bad"]


def test_a_result_that_is_no_number_does_not_agree() -> None:
    assert probe_attention.agreement(1e-6, 2e-6, 1e-3, "sdpa") == Finding(
        "ok", "as eager", "largest difference 1.0e-06 causal, 2.0e-06 bidirectional (allowed 0.001)"
    )
    assert probe_attention.agreement(float("nan"), 0.0, 1e-3, "sdpa").mark == "bad"
    assert probe_attention.agreement(0.0, 2e-3, 1e-3, "sdpa").mark == "bad"


@pytest.mark.parametrize(
    ("called", "name"),
    [
        (["aten.mm.default", "aten._scaled_dot_product_flash_attention_for_cpu.default"], "torch flash for cpu"),
        (["aten._scaled_dot_product_flash_attention.default"], "torch flash"),
        (["aten._scaled_dot_product_efficient_attention.default"], "torch efficient"),
        (["aten._scaled_dot_product_cudnn_attention.default"], "torch cudnn"),
        (["aten._scaled_dot_product_attention_math.default"], "torch math"),
        (["aten.bmm.default", "aten._softmax.default"], "torch math"),
        (["flash_attn._flash_attn_varlen_forward.default"], "flash-attn"),
        (["aten.mm.default"], "flash-attn (outside torch's operators)"),
    ],
)
def test_the_kernel_behind_the_operators(called: list[str], name: str) -> None:
    assert probe_attention.kernel_of(called) == name


def test_flash_attn_is_optional(version_of: dict[str, str | None]) -> None:
    version_of["flash-attn"] = None
    torch = SimpleNamespace(version=SimpleNamespace(hip=None))
    found = probe_attention.flash_attn(torch, "cuda", "bfloat16")
    assert found.mark == "note"
    assert found.mend == (
        "pip install setuptools wheel packaging psutil ninja && pip install --no-build-isolation 'flash-attn>=2.8'",
    )
    assert probe_attention.flash_attn(torch, "cpu", "float32").mark == "ok"


def test_flash_attn_that_is_there_must_work(version_of: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    version_of["flash-attn"] = "2.8.3"
    assert probe_attention.flash_attn(torch, "cpu", "float32").mark == "note"
    # The same sums on the CPU: called with device "cuda", it would need a GPU.
    on_cpu = SimpleNamespace(
        bfloat16=torch.bfloat16,
        ones=lambda shape, device, dtype: torch.ones(shape, dtype=dtype),
        arange=lambda end, device: torch.arange(end),
    )

    def attend(query: Any, key: Any, value: Any, *, causal: bool) -> Any:
        query, key, value = (each.transpose(1, 2) for each in (query, key, value))
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal).transpose(1, 2)

    def check(function: Callable[..., Any]) -> Finding:
        monkeypatch.setattr(probe_attention, "load", lambda module: SimpleNamespace(flash_attn_func=function))
        return probe_attention.flash_attn(on_cpu, "cuda", "bfloat16")

    assert check(attend) == Finding("ok", "flash-attn", "2.8.3 works")
    # Without causality the first position gets the mean of all 32, 15.5 instead of 0.
    wrong = check(lambda *tensors, causal: attend(*tensors, causal=False))
    assert (wrong.mark, wrong.text) == ("bad", "2.8.3 does not work: RuntimeError: its result is off by 16")

    def unusable(module: str) -> None:
        raise probes.Unusable(module, "ImportError: undefined symbol")

    monkeypatch.setattr(probe_attention, "load", unusable)
    broken = probe_attention.flash_attn(on_cpu, "cuda", "bfloat16")
    assert broken.mark == "bad"
    assert "undefined symbol" in broken.text
    assert broken.mend == ("pip uninstall flash-attn  # torch's own attention is then used",)


# ---- precision


def test_rates_are_measured_in_little_time() -> None:
    def machine(operations_per_second: float) -> tuple[Callable[[int], float], list[float]]:
        spent: list[float] = []

        def product(size: int) -> float:
            spent.append(2 * size**3 / operations_per_second)
            return spent[-1]

        return product, spent

    fast, spent = machine(50e9)
    assert probe_compute.rate(fast, 2048) == pytest.approx(50)
    assert sum(spent) < 0.2
    unlucky, spent = machine(2 * 1024**3 / 0.0399)
    probe_compute.rate(unlucky, 2048)
    assert sum(spent) < 0.45
    crawling, spent = machine(0.05e9)
    assert probe_compute.rate(crawling, 2048) == pytest.approx(0.05)
    assert sum(spent) < 0.25
    enormous, spent = machine(1e15)
    probe_compute.rate(enormous, 4096)
    # The warm-up, then twice 64, 128, 256, 512, 1024, 2048 and 4096.
    assert len(spent) == 15


def test_a_slow_precision_is_noted() -> None:
    single, half = probe_compute.speeds(100.0, 0.2, "cpu")
    assert single == Finding("ok", "float32", "100 GFLOP/s in matrix products on cpu")
    assert half == Finding(
        "note",
        "bfloat16",
        "0.2 GFLOP/s: 500.0 times slower than float32 here: use --precision float32 (the default on the CPU)",
    )
    assert list(probe_compute.speeds(40_000.0, 600_000.0, "cuda"))[1].text == "600,000 GFLOP/s, 15.0 times float32"
    assert list(probe_compute.speeds(100.0, 90.0, "cpu"))[1] == Finding("ok", "bfloat16", "90 GFLOP/s, like float32")


# ---- hub, disk, extras, methods


def test_a_hub_out_of_reach_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    constants = SimpleNamespace(HF_HUB_OFFLINE=False, ENDPOINT="https://hub", HF_HUB_CACHE="/nowhere/hub")
    package = SimpleNamespace(get_token=lambda: None)
    monkeypatch.setattr(probe_install, "load", lambda name: constants if name.endswith("constants") else package)
    monkeypatch.setattr("benchmarks.hub.hub_out_of_reach", lambda: "https://hub is out of reach (no route)")
    found = list(probe_install.hub())
    assert [each.mark for each in found] == ["note", "note", "ok"]
    assert found[0].text == "https://hub is out of reach (no route)"
    assert found[0].mend[1] == "genembench compare --backbone FOLDER --data-dir FOLDER ...  # needs no hub"
    assert found[1].mend == ("hf auth login",)
    assert found[2].text.startswith("/nowhere/hub: ")
    assert found[2].text.endswith(" free, not made yet")
    monkeypatch.setattr("benchmarks.hub.hub_out_of_reach", lambda: "")
    package.get_token = lambda: TOKEN
    found = list(probe_install.hub())
    assert [each.mark for each in found] == ["ok", "ok", "ok"]
    assert not [each for each in found if TOKEN in each.text]
    constants.HF_HUB_OFFLINE = True
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = next(probe_install.hub())
    assert (asked.mark, asked.mend[0]) == ("note", "unset HF_HUB_OFFLINE")


@pytest.mark.parametrize(
    ("free", "mark", "text"),
    [
        (499e6, "bad", "499 MB free, can be written: too little"),
        (0.5e9, "note", "500 MB free, can be written: little, models take several GB"),
        (4.9e9, "note", "4.9 GB free, can be written: little, models take several GB"),
        (5e9, "ok", "5.0 GB free, can be written"),
    ],
)
def test_little_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: float, mark: str, text: str) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(1e12, 0, free))
    found = probe_install.space("here", tmp_path / "not" / "yet", "cd FOLDER")
    assert (found.mark, found.text) == (mark, f"{tmp_path / 'not' / 'yet'}: {text}")
    assert found.mend == (() if mark == "ok" else ("cd FOLDER",))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextmanager
    def full(**options: Any) -> Iterator[Any]:
        def write(data: bytes) -> None:
            raise OSError(28, "No space left on device")

        yield SimpleNamespace(write=write, flush=lambda: None)

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    found = probe_install.space("temp", tmp_path, "export TMPDIR=FOLDER")
    assert found.mark == "bad"
    assert found.text == f"{tmp_path} cannot be written: OSError: [Errno 28] No space left on device"
    assert found.mend == ("export TMPDIR=FOLDER",)


def test_extras_are_never_bad(version_of: dict[str, str | None]) -> None:
    version_of.update(dict.fromkeys(["deepspeed", "tensorboard", "ruff"]))
    version_of["flash-attn"] = "2.5.0"
    found = list(probe_install.extras())
    assert {each.name for each in found} >= {"deepspeed", "flash", "tensorboard", "dev"}
    assert not [each for each in found if each.mark == "bad"]
    assert finding(found, "deepspeed") == Finding(
        "note", "deepspeed", "missing: deepspeed>=0.19", ("pip install -e '.[deepspeed]' -c constraints.txt",)
    )
    assert finding(found, "flash").text == "missing: flash-attn>=2.8 (has 2.5.0); only used on a GPU"
    assert finding(found, "tensorboard").mark == "note"
    assert finding(found, "dev").mark == "note"
    version_of["tensorboard"] = "2.21.0"
    assert finding(list(probe_install.extras()), "tensorboard") == Finding("ok", "tensorboard", "tensorboard 2.21.0")


def test_a_broken_plug_in_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    information = tmp_path / "doctor_plugin-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: doctor-plugin\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[genembench.methods]\nmine = doctor_plugin_module\n")
    modules(tmp_path, doctor_plugin_module="raise ValueError('too bad')")
    healthy = list(probe_install.methods())
    monkeypatch.syspath_prepend(str(tmp_path))
    found = list(probe_install.methods())
    assert found[:-1] == healthy
    assert found[0].mark == "ok"
    assert found[-1] == Finding(
        "bad",
        "plug-in",
        "plug-in doctor_plugin_module of doctor-plugin: ValueError: too bad",
        ("pip uninstall doctor-plugin  # or install one that loads",),
    )


# ---- layout


def test_what_a_report_must_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    environment = {"MY_SECRET": "hunter2-hunter2", "HF_TOKEN_PATH": "/home/somebody/token", "API_KEY": "short"}
    text = "at http://me:word@proxy:80 with hunter2-hunter2 and hf_abcdefghij in /home/somebody/.cache\nshort token"
    cleaned = doctor.cleaned(Finding("bad", "hub", text, ("cd /home/somebody", "cd /home/somebody2")), environment)
    assert cleaned.text == "at http://***@proxy:80 with *** and hf_*** in ~/.cache short token"
    assert cleaned.mend == ("cd ~", "cd /home/somebody2")


def test_lines_are_aligned_and_one_command_stands_once() -> None:
    found = [
        Finding("bad", "scipy", "missing", (INSTALL,)),
        Finding("bad", "numpy", "missing", (INSTALL,)),
        Finding("ok", "a name that is long", "word " * 30),
    ]
    lines = list(doctor.layout("Versions", found))
    assert lines[:4] == [
        "Versions",
        "  bad   scipy           missing",
        "  bad   numpy           missing",
        f"                          {INSTALL}",
    ]
    assert lines[4].startswith("  ok    a name that is long word word")
    assert lines[5].startswith(" " * 24 + "word")
    assert max(map(len, lines)) <= 118


def test_the_verdict() -> None:
    ok = Finding("ok", "auto", "cuda in bfloat16 (--device auto --precision auto)")
    note = Finding("note", "x", "")
    bad = Finding("bad", "x", "")
    assert doctor.verdict([ok]) == "Ready: runs on cuda in bfloat16."
    assert doctor.verdict([ok, note]) == "Ready: runs on cuda in bfloat16; 1 note (slower or optional)."
    assert doctor.verdict([ok, note, note]) == "Ready: runs on cuda in bfloat16; 2 notes (slower or optional)."
    assert doctor.verdict([note, bad]) == "1 thing to mend (marked bad above)."
    assert doctor.verdict([ok, bad, bad]) == "2 things to mend (marked bad above)."


def test_an_interruption_leaves_no_process(tmp_path: Path) -> None:
    fakes = modules(
        tmp_path / "fakes",
        torch=f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)",
    )
    environment = {**os.environ, "PYTHONPATH": str(fakes)}
    command = [sys.executable, "-m", "genembench", "doctor"]
    process = subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "genembench: interrupted\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(("name", "module"), [("scikit-learn", "sklearn"), ("pyyaml", "yaml"), ("torch", "torch")])
def test_a_package_may_be_imported_by_another_name(name: str, module: str) -> None:
    assert probe_install.module_of(name) == module
