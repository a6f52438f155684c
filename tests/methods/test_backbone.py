from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from genembench.problem import Problem
from methods.parts.backbone import attention_kernel, load_model, load_tokenizer

CPU = torch.device("cpu")


def test_missing_weights_are_not_filled_with_random_numbers(tiny_backbone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "taller"
    shutil.copytree(tiny_backbone, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4, "layer_types": None}))
    with pytest.raises(Problem, match=r"lack 18 tensors of the model"):
        load_model(folder, device=CPU)


def test_the_last_token_reaches_the_first_only_where_attention_is_not_causal(tiny_backbone: Path) -> None:
    one, other = torch.tensor([[0, 5, 6, 7]]), torch.tensor([[0, 5, 6, 9]])
    for causal in (True, False):
        for attention in ("sdpa", "eager"):
            model = load_model(tiny_backbone, device=CPU, causal=causal, attention=attention)
            with torch.no_grad():
                a = model(input_ids=one).last_hidden_state[0, 0]
                b = model(input_ids=other).last_hidden_state[0, 0]
            assert torch.equal(a, b) == causal


def test_a_folder_without_a_model_or_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no model could be loaded"):
        load_model(tmp_path, device=CPU)
    with pytest.raises(Problem, match="no tokenizer could be loaded"):
        load_tokenizer(tmp_path)


def test_flash_attention_is_for_half_precision_on_a_gpu_only() -> None:
    assert attention_kernel("cpu", "bfloat16") == "sdpa"
    assert attention_kernel("cuda", "float32") == "sdpa"
