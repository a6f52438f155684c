"""What `doctor` finds out about attention: the kernel that really runs, found by running it."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from runners.probe_install import extra_commands, installed
from runners.probes import INSTALL, REINSTALL, Finding, Unusable, announce, describe, load

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25}
"""Largest difference allowed between a kernel and ``eager``. Hidden values are up to about 4, and a kernel that loses a
mask is off by about 4; rounding alone costs 3e-6 and 0.05."""
LENGTHS = (16, 9)
"""Tokens of the two rows of a batch; where rows are padded, the second one is."""


def attention() -> Iterator[Finding]:
    """The attention kernel that a run gets, found by running it on a tiny random Llama."""
    torch = load("torch")
    load("transformers")
    announce("loading a tiny model")
    from methods.parts.backbone import attention_kernel
    from runners.engine import choose_device, choose_precision

    device = choose_device("auto")
    precision = choose_precision("auto", device)
    kernel = attention_kernel(device, precision)
    try:
        with _tiny_model(torch) as folder:
            yield from _compare_kernels(torch, Path(folder), device, precision, kernel)
    except NoPlace as error:
        yield Finding("note", "not compared", f"no model could be written to compare kernels: {error} (see Disk)")
    except Exception as error:  # a broken kernel, and flash-attn's loader, raise whatever they like
        yield Finding("bad", "kernel", f"{kernel} fails on {device}: {describe(error)}", _without_flash(kernel))
    announce(f"trying torch's kernels on {device}")
    working, failing = torch_kernels(torch, device, precision)
    text = f"{', '.join(working) or 'none'} run a causal batch without padding"
    yield Finding(
        "ok" if working else "bad", "torch kernels", text + (f"; not {', '.join(failing)}" if failing else "")
    )
    yield flash_attn(torch, device, precision)


def _without_flash(kernel: str) -> tuple[str, ...]:
    if kernel.startswith("flash") or (kernel == "packed" and installed("flash-attn") is not None):
        return ("pip uninstall flash-attn  # torch's own attention is then used",)
    return (f"{REINSTALL} torch transformers",)


class NoPlace(Exception):
    """Nothing can be written."""


def _tiny_model(torch: Any) -> tempfile.TemporaryDirectory[str]:
    """Write a random Llama into a folder that goes when it is left."""
    from transformers import LlamaConfig, LlamaModel

    from methods.parts.adapt import unwrapped

    # Heads of 64 suit every kernel; large random weights make attention matter in the result.
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaModel(config)
    try:
        folder = tempfile.TemporaryDirectory(prefix="genembench-doctor-")
        with unwrapped():
            model.save_pretrained(folder.name)
    except Exception as error:  # safetensors has an error of its own for a full disk
        raise NoPlace(describe(error)) from error
    return folder


def _compare_kernels(torch: Any, folder: Path, device: str, precision: str, kernel: str) -> Iterator[Finding]:
    """Run the chosen kernel and ``eager`` on the same batches."""
    from methods.parts.backbone import load_model
    from methods.parts.forward import passes
    from methods.parts.tokens import TokenRow

    def run(causal: bool, attention: str, lengths: Sequence[int]) -> tuple[Any, str, str]:
        # As methods send rows through a body: packed, where that is what runs.
        rows = [TokenRow([(longest * row + i) * 7 % 64 for i in range(n)], [True] * n) for row, n in enumerate(lengths)]
        body = load_model(folder, device=torch.device(device), causal=causal, attention=attention).eval()
        autocast = torch.autocast(device, torch.bfloat16) if precision == "bfloat16" else nullcontext()
        called: list[str] = []
        with torch.no_grad(), autocast, collector(called):
            hidden = torch.cat([one.hidden_BLD[one.batch.content_BL] for one in passes(body, rows)])
        return hidden.float(), body.config._attn_implementation, kernel_of(called)

    longest = max(LENGTHS)
    _, loaded, without_padding = run(True, kernel, [longest] * len(LENGTHS))
    causal, _, padded = run(True, kernel, LENGTHS)
    both, _, bidirectional = run(False, kernel, LENGTHS)
    text = f"{kernel}, loaded as {loaded}, on {device} in {precision}"
    if loaded == kernel:
        yield Finding("ok", "kernel", text)
    else:
        yield Finding("bad", "kernel", text, _without_flash(kernel))
    ran = {"equal lengths": without_padding, "causal": padded, "bidirectional": bidirectional}
    names = sorted(set(ran.values()))
    text = "; ".join(f"{name}: {', '.join(batch for batch in ran if ran[batch] == name)}" for name in names)
    yield Finding("ok", "what ran", text)
    yield agreement(
        float((causal - run(True, "eager", LENGTHS)[0]).abs().max()),
        float((both - run(False, "eager", LENGTHS)[0]).abs().max()),
        TOLERANCE[precision],
        kernel,
    )
    if float((causal - both).abs().max()) <= TOLERANCE[precision]:
        text = "bidirectional attention gives what causal attention gives: the setting is ignored"
        yield Finding("bad", "direction", text, (INSTALL,))


def agreement(causal: float, bidirectional: float, allowed: float, kernel: str) -> Finding:
    """Judge the differences from the plain kernel, ``eager``."""
    text = f"largest difference {causal:.1e} causal, {bidirectional:.1e} bidirectional (allowed {allowed:g})"
    # Not "greater than": a difference that is no number is not allowed either.
    if causal <= allowed and bidirectional <= allowed:
        return Finding("ok", "as eager", text)
    return Finding("bad", "as eager", f"{kernel} gives other results: {text}", _without_flash(kernel))


def collector(called: list[str]) -> Any:
    """Return a context that collects the names of the operators that torch really calls inside it."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Collect(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.append(str(func))
            return func(*args, **(kwargs or {}))

    kind: Any = Collect
    return kind()


def kernel_of(called: Sequence[str]) -> str:
    """Name the attention kernel behind the operators that were called."""
    for name in called:
        fused = re.match(r"aten\._scaled_dot_product_(\w+)", name)
        if fused:
            return "torch " + fused[1].replace("attention_", "").removesuffix("_attention").replace("_", " ")
        if name.startswith("flash_attn"):
            return "flash-attn"
        if "varlen" in name:
            return "torch varlen"
    if any("softmax" in name for name in called):
        return "torch math"
    # Older flash-attn builds are called past torch's dispatcher, and nothing else is.
    return "flash-attn (outside torch's operators)"


def torch_kernels(torch: Any, device: str, precision: str) -> tuple[list[str], list[str]]:
    """Try each kernel of torch's attention alone; return those that run and those that do not."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    dtype = getattr(torch, precision)
    query_BHLD = torch.ones(2, 2, 32, 64, device=device, dtype=dtype)
    working: list[str] = []
    failing: list[str] = []
    for name in ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH"):
        label = name.removesuffix("_ATTENTION").lower()
        try:
            # torch warns at length why a kernel does not suit.
            with warnings.catch_warnings(), sdpa_kernel([getattr(SDPBackend, name)]):
                warnings.simplefilter("ignore")
                result = torch.nn.functional.scaled_dot_product_attention(
                    query_BHLD, query_BHLD, query_BHLD, is_causal=True
                )
                # A kernel's failure on a GPU shows when its result is read. The mean of equal values is that value.
                right = bool(((result - 1).abs() < 0.02).all())
        except (RuntimeError, AttributeError):
            right = False
        (working if right else failing).append(label)
    return working, failing


def flash_attn(torch: Any, device: str, precision: str) -> Finding:
    """Whether flash-attn is there, and works."""
    version = installed("flash-attn")
    if version is None:
        if device == "cuda" and not torch.version.hip:
            text = "not installed: torch's own attention is used, often as fast"
            return Finding("note", "flash-attn", text, extra_commands("flash"))
        return Finding("ok", "flash-attn", "not installed; it would only be used on a GPU")
    if device != "cuda" or precision != "bfloat16":
        return Finding("note", "flash-attn", f"{version} is installed, but used only on a GPU in bfloat16")
    try:
        function = load("flash_attn").flash_attn_func
        shape = (2, 32, 2, 64)
        one_BLHD = torch.ones(shape, device=device, dtype=torch.bfloat16)
        value_BLHD = torch.arange(32.0, device=device)[None, :, None, None].expand(shape).to(torch.bfloat16)
        result = function(one_BLHD, one_BLHD, value_BLHD.contiguous(), causal=True)
        # Equal keys: each position gets the mean of the positions so far, half its own number.
        off = float((result.float() - value_BLHD.float() / 2).abs().max())
        if not off < 0.2:
            raise RuntimeError(f"its result is off by {off:.2g}")
    except (Unusable, RuntimeError, ImportError, AttributeError, TypeError) as error:
        return Finding("bad", "flash-attn", f"{version} does not work: {describe(error)}", _without_flash("flash"))
    return Finding("ok", "flash-attn", f"{version} works")
