"""What `doctor` finds out about computing: CPU, memory, GPUs, and the speed of both precisions."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from genembench.problem import Problem
from runners.probes import CHOSEN, REINSTALL, Finding, announce, describe, load

GIBIBYTE = 2**30
SECONDS_PER_PRODUCT = 0.04
SECONDS_TO_REPEAT = 0.15
LARGEST_PRODUCT = {"cpu": 2048, "cuda": 4096}
# Which build PyPI has depends on the system, and which CUDA fits on the driver; the page knows both.
CUDA_TORCH = f"{REINSTALL} torch  # or choose at https://pytorch.org/get-started/locally"


def devices() -> Iterator[Finding]:
    """CPU, memory, GPUs, and which of them a run takes."""
    affinity = _affinity()
    quota, limit = cgroup_limits()
    usable = min(affinity, max(1, math.ceil(quota))) if quota else affinity
    cores = f"{_cpu_name()}, {usable} of {os.cpu_count()} cores usable"
    yield Finding("ok", "CPU", cores + (f" (cgroup limit: {quota:g} cores)" if quota and quota < affinity else ""))
    total, available = _memory()
    if total:
        text = f"{_gib(available)} available of {_gib(total)}"
        yield Finding("ok", "memory", text + (f", cgroup limit {_gib(limit)}" if limit and limit < total else ""))
    torch = load("torch")
    yield threads(torch.get_num_threads(), usable, os.environ.get("OMP_NUM_THREADS"))
    yield from gpus(torch)
    yield choice()


def choice() -> Finding:
    """Which device and precision a run takes when it is not told."""
    from runners.engine import choose_device, choose_precision

    try:
        device = choose_device("auto")
    except Problem as problem:
        return Finding("bad", CHOSEN, problem.what, (problem.hint,))
    return Finding("ok", CHOSEN, f"{device} in {choose_precision('auto', device)} (--device auto --precision auto)")


def threads(number: int, usable: int, setting: str | None) -> Finding:
    """Judge the number of threads that torch computes with."""
    text = f"torch computes with {number}" + (f" (OMP_NUM_THREADS={setting})" if setting else "")
    if number > usable:
        return Finding(
            "note", "threads", f"{text}, more than the {usable} usable cores", (f"export OMP_NUM_THREADS={usable}",)
        )
    # Unset, torch takes the physical cores, which may well be half of the usable ones.
    if number < usable and setting:
        return Finding("note", "threads", f"{text} of {usable} usable cores", ("unset OMP_NUM_THREADS",))
    return Finding("ok", "threads", text)


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have none
        return os.cpu_count() or 1


def _cpu_name() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> tuple[int, int]:
    """Total and available bytes; 0 where they are not to be had."""
    found = dict(re.findall(r"(\w+): +(\d+) kB", _read(Path("/proc/meminfo"))))
    return int(found.get("MemTotal", 0)) * 1024, int(found.get("MemAvailable", 0)) * 1024


def cgroup_limits(
    own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> tuple[float | None, int | None]:
    """Return the cores and the bytes that a container or a scheduler leaves us; None where there is no limit.

    A limit of any group above counts as well. Version 1 has a tree per controller, version 2 one tree.
    """
    cores: list[float] = []
    sizes: list[int] = []
    for line in _read(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        trees = [root] if not controllers else [root / controllers, *(root / each for each in controllers.split(","))]
        inside = Path(path.lstrip("/"))
        for folder in (tree / each for tree in trees for each in (inside, *inside.parents)):
            quota = re.fullmatch(r"(\d+) (\d+)", _read(folder / "cpu.max"))
            old = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
            if quota:
                cores.append(int(quota[1]) / int(quota[2]))
            elif old[0].isdigit() and old[1].isdigit():
                cores.append(int(old[0]) / int(old[1]))
            for name in ("memory.max", "memory.limit_in_bytes"):
                if (size := _read(folder / name)).isdigit():
                    sizes.append(int(size))
    return min(cores, default=None), min(sizes, default=None)


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ""


def _gib(size: float) -> str:
    return f"{size / GIBIBYTE:,.1f} GiB"


def gpus(torch: Any) -> Iterator[Finding]:
    """Every GPU that torch sees, or why it sees none."""
    announce("starting the GPUs")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else ""
    build = build or (f"ROCm {torch.version.hip}" if torch.version.hip else "")
    if not torch.cuda.is_available():
        yield no_gpu(torch, build)
        return
    driver = driver_version()
    yield Finding("ok", "torch build", f"{torch.__version__} for {build}" + (f", driver {driver}" if driver else ""))
    for index in range(torch.cuda.device_count()):
        yield _gpu(torch, index)


def _gpu(torch: Any, index: int) -> Finding:
    name = f"GPU {index}"
    try:
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        # A card that is too old or too new for this build is listed like any other, but runs nothing.
        if (torch.ones(2, device=f"cuda:{index}") + 1).sum().item() != 4:
            return Finding("bad", name, f"{facts.name} computes 1 + 1 wrongly", ("nvidia-smi -q -d ECC",))
    except RuntimeError as error:
        return Finding("bad", name, describe(error), ("nvidia-smi", CUDA_TORCH))
    # ROCm's numbers are not compute capabilities, and every card it supports has bfloat16.
    native = bool(torch.version.hip) or facts.major >= 8
    text = f"{facts.name}, {_gib(free)} free of {_gib(total)}, capability {facts.major}.{facts.minor}"
    text += ", bfloat16" if native else ", bfloat16 only emulated"
    mend = [] if native else ["genembench compare --precision float32 ..."]
    if free < total / 4:
        text += ", most of its memory is taken"
        mend.append("nvidia-smi  # who takes it; CUDA_VISIBLE_DEVICES=N chooses another card")
    return Finding("note" if mend else "ok", name, text, tuple(mend))


def no_gpu(torch: Any, build: str) -> Finding:
    """Say why no GPU can be used, and what to do about it."""
    cards, driver = nvidia_cards(), driver_version()
    seen = f"{cards or 'an'} NVIDIA card{'s' if cards > 1 else ''}" if cards or driver else ""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not build:
        if not seen:
            text = f"none found, and torch {torch.__version__} is a CPU build; for an NVIDIA GPU install the other"
            return Finding("note", "GPU", text, (CUDA_TORCH,))
        text = f"not used: this machine has {seen}, but torch {torch.__version__} is a CPU build"
        return Finding("note", "GPU", text, (CUDA_TORCH,))
    begin = f"none seen, though torch {torch.__version__} is built for {build}"
    if hidden is not None:
        return Finding("note", "GPU", f"{begin}: CUDA_VISIBLE_DEVICES is '{hidden}'", ("unset CUDA_VISIBLE_DEVICES",))
    check = "nvidia-smi  # must list the card; start a container with --gpus all"
    if not seen:
        return Finding("note", "GPU", f"{begin}: this machine shows no NVIDIA card", (check,))
    if not driver:
        text = f"{begin} and this machine has {seen}: no driver is loaded"
        return Finding("note", "GPU", text, (check, "# install the NVIDIA driver: https://www.nvidia.com/drivers"))
    try:
        torch.cuda.init()
        reason = "torch does not say why"
    except (RuntimeError, AssertionError) as error:
        reason = describe(error)
    update = f"# a newer driver than {driver}, or torch for an older CUDA: https://pytorch.org/get-started/locally"
    return Finding("note", "GPU", f"{begin} and this machine has {seen}: {reason}", (check, update))


def nvidia_cards(bus: Path = Path("/sys/bus/pci/devices")) -> int:
    """Count NVIDIA's display adapters on the bus; no driver is needed for that."""
    try:
        cards = list(bus.iterdir())
    except OSError:
        return 0
    return sum(_read(card / "vendor") == "0x10de" and _read(card / "class").startswith("0x03") for card in cards)


def driver_version() -> str:
    """Return the version of NVIDIA's driver, or "" if none answers."""
    found = re.search(r"Kernel Module.*?(\d+\.\d+(?:\.\d+)*)", _read(Path("/proc/driver/nvidia/version")))
    if found:
        return found[1]
    if not shutil.which("nvidia-smi"):
        return ""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        # WSL has the driver outside; only its tool knows.
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.split()[0] if answer.split() else ""


def precision() -> Iterator[Finding]:
    """How fast matrix products are in float32 and in bfloat16."""
    torch = load("torch")
    from runners.engine import choose_device

    device = choose_device("auto")

    def product(precision: str) -> Callable[[int], float]:
        def once(size: int) -> float:
            square = torch.ones(size, size, device=device, dtype=getattr(torch, precision))
            waiting = torch.cuda.synchronize if device == "cuda" else lambda: None
            waiting()
            began = time.perf_counter()
            square @ square
            waiting()
            return time.perf_counter() - began

        return once

    announce("timing matrix products")
    limit = LARGEST_PRODUCT[device]
    single = rate(product("float32"), limit)
    half = rate(product("bfloat16"), limit)
    yield from speeds(single, half, device)


def rate(product: Callable[[int], float], limit: int) -> float:
    """Return the GFLOP/s of square matrix products, timed on sizes that grow until one takes long enough."""
    size, best = 64, 0.0
    # The first call of a library pays for its start.
    product(size)
    while True:
        seconds = product(size)
        if seconds < SECONDS_TO_REPEAT:
            # Somebody else may have had the cores.
            seconds = min(seconds, product(size))
        best = max(best, 2 * size**3 / max(seconds, 1e-9) / 1e9)
        # Twice the size takes up to eight times as long.
        if seconds > SECONDS_PER_PRODUCT or size >= limit:
            return best
        size *= 2


def speeds(single: float, half: float, device: str) -> Iterator[Finding]:
    """Judge the two rates, in GFLOP/s."""
    yield Finding("ok", "float32", f"{single:,.0f} GFLOP/s in matrix products on {device}")
    text = f"{half:,.0f} GFLOP/s" if half >= 10 else f"{half:.2g} GFLOP/s"
    if half < single / 1.2:
        default = " (the default on the CPU)" if device == "cpu" else ""
        text += f": {single / half:,.1f} times slower than float32 here: use --precision float32{default}"
        yield Finding("note", "bfloat16", text)
    else:
        text += f", {half / single:,.1f} times float32" if half > 1.2 * single else ", like float32"
        yield Finding("ok", "bfloat16", text)
