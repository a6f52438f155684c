"""Folders as the authors of LLM2Vec publish them, tiny and made with peft: a base, and LoRA adapters of its body."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TRAP = "raise SystemExit('code of a model folder was run')\n"


@dataclass(frozen=True)
class Folders:
    """A base, what masked next-token prediction left, and what supervised contrast left on top of it."""

    base: Path
    mntp: Path
    supervised: Path

    @classmethod
    def make(cls, folder: Path, backbone: Path) -> Folders:
        """Make all three beside each other; ``mntp`` names a base that is not where it says."""
        made = cls(folder / "base", folder / "mntp", folder / "supervised")
        shutil.copytree(backbone, made.base)
        add_adapter(made.mntp, made.base, rank=4, alpha=8, seed=1)
        add_adapter(made.supervised, made.base, rank=3, alpha=12, seed=2)
        change(made.mntp / "adapter_config.json", base_model_name_or_path="/elsewhere/base")
        change(made.supervised / "adapter_config.json", base_model_name_or_path="/elsewhere/base")
        for file in backbone.glob("tokenizer*"):
            shutil.copy(file, made.mntp)
        # As published: the base's, pointing to code beside it.
        shutil.copy(backbone / "config.json", made.mntp)
        code = {"AutoModel": "modeling_trap.Trap", "AutoConfig": "modeling_trap.TrapConfig"}
        change(made.mntp / "config.json", _name_or_path="/elsewhere/base", auto_map=code)
        (made.mntp / "modeling_trap.py").write_text(TRAP, encoding="utf-8")
        settings = {"pooling_mode": "mean", "max_length": 512, "doc_max_length": 400, "skip_instruction": True}
        (made.supervised / "llm2vec_config.json").write_text(json.dumps(settings), encoding="utf-8")
        return made


def add_adapter(folder: Path, base: Path, *, rank: int, alpha: int, seed: int, **more: Any) -> None:
    """Save a LoRA of the bare body of ``base`` with numbers in both factors."""
    from peft import LoraConfig, get_peft_model

    body = AutoModel.from_pretrained(base)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(PROJECTIONS), **more)
        adapted = get_peft_model(body, config)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)
    adapted.save_pretrained(str(folder))


def change(file: Path, **values: Any) -> None:
    """Set fields of a JSON object; None takes a field away."""
    found = json.loads(file.read_text(encoding="utf-8")) | values
    kept = {key: value for key, value in found.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")


def merged_by_hand(base: Path, adapters: Sequence[Path]) -> dict[str, Tensor]:
    """Weights of the body, with ``B A alpha / rank`` of each adapter added to its matrices."""
    stored = load_file(base / "model.safetensors")
    weights = {name.removeprefix("model."): tensor.clone() for name, tensor in stored.items() if "lm_head" not in name}
    for folder in adapters:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        factors = load_file(folder / "adapter_model.safetensors")
        for name, first in factors.items():
            if name.endswith("lora_A.weight"):
                second = factors[name.replace("lora_A", "lora_B")]
                matrix = name.removeprefix("base_model.model.").replace("lora_A.", "")
                weights[matrix] += config["lora_alpha"] / config["r"] * second @ first
    return weights


def llama(weights: dict[str, Tensor], config: dict[str, Any], ids: Sequence[int]) -> Tensor:
    """Hidden states ``[L, D]`` of a Llama without any mask, after the final norm, in plain torch."""
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    width = config["hidden_size"] // heads
    angles = torch.outer(torch.arange(len(ids)).float(), 10000.0 ** -(torch.arange(0, width, 2).float() / width))
    cosine, sine = (torch.cat([turned, turned], dim=-1) for turned in (angles.cos(), angles.sin()))

    def norm(x_LD: Tensor, name: str) -> Tensor:
        scale = torch.rsqrt(x_LD.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"])
        return x_LD * scale * weights[f"{name}.weight"]

    def turn(x_HLd: Tensor) -> Tensor:
        front, back = x_HLd.chunk(2, dim=-1)
        return x_HLd * cosine + torch.cat([-back, front], dim=-1) * sine

    x_LD = weights["embed_tokens.weight"][list(ids)]
    for layer in range(config["num_hidden_layers"]):
        at = f"layers.{layer}"

        def project(x: Tensor, name: str, at: str = at) -> Tensor:
            return x @ weights[f"{at}.{name}.weight"].T

        h_LD = norm(x_LD, f"{at}.input_layernorm")
        q, k, v = (
            project(h_LD, f"self_attn.{name}_proj").view(len(ids), -1, width).transpose(0, 1)
            for name in ("q", "k", "v")
        )
        k, v = (each.repeat_interleave(heads // groups, dim=0) for each in (turn(k), v))
        seen = torch.softmax(turn(q) @ k.transpose(1, 2) / width**0.5, dim=-1) @ v
        x_LD = x_LD + project(seen.transpose(0, 1).reshape(len(ids), -1), "self_attn.o_proj")
        h_LD = norm(x_LD, f"{at}.post_attention_layernorm")
        inner = torch.nn.functional.silu(project(h_LD, "mlp.gate_proj")) * project(h_LD, "mlp.up_proj")
        x_LD = x_LD + project(inner, "mlp.down_proj")
    return norm(x_LD, "norm")
