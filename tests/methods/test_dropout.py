"""Dropout inside attention reaches every architecture under every kernel, and ends with training mode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BloomConfig, BloomModel, MambaConfig, MambaModel

from genembench.problem import Problem
from methods.parts.backbone import load_model
from methods.parts.dropout import set_attention_dropout
from tests.methods.backbones import CONFIGURATIONS, Kind

IDS = torch.tensor([[5, 80, 41, 300, 17, 200, 9, 33]])
Load = Callable[..., Any]


@pytest.fixture(scope="module")
def load(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Load:
    folder = tmp_path_factory.mktemp("dropout")

    def model(architecture: str, kernel: str, *, causal: bool = False) -> Any:
        path = folder / architecture
        if not path.exists():
            Kind(architecture, bos="known").save(path, tiny_backbone)
        return load_model(path, device=torch.device("cpu"), causal=causal, attention=kernel)

    return model


@torch.no_grad()
def twice(model: Any) -> list[torch.Tensor]:
    return [model(input_ids=IDS, use_cache=False).last_hidden_state for _ in range(2)]


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", CONFIGURATIONS)
def test_two_passes_differ_in_training_and_in_no_other_mode(
    architecture: str, kernel: str, causal: bool, load: Load
) -> None:
    model = load(architecture, kernel, causal=causal)
    untouched = twice(model.eval())[0]
    assert torch.equal(*twice(model.train()))  # nothing else drops anything
    before = model.config.to_dict()
    set_attention_dropout(model, 0.3)
    assert model.config.to_dict() == before
    one, other = twice(model.train())
    assert (one - other).abs().max() > 1e-2
    for each in twice(model.eval()):
        assert torch.equal(each, untouched)
    set_attention_dropout(model, 0.0)
    assert torch.equal(*twice(model.train()))


@pytest.mark.parametrize("architecture", CONFIGURATIONS)
def test_every_layer_drops(architecture: str, load: Load) -> None:
    """Each layer by itself: what comes out of its attention differs where what goes in does not."""
    model = load(architecture, "sdpa").train()
    set_attention_dropout(model, 0.3)
    layers = model.h if architecture == "gpt2" else model.layers
    differ = []

    def again(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        differ.append(not torch.equal(output[0], module.forward(*args, **kwargs)[0]))

    for layer in layers:
        (layer.attn if architecture == "gpt2" else layer.self_attn).register_forward_hook(again, with_kwargs=True)
    twice(model)
    assert differ == [True] * 2 * len(layers)


def test_dropped_is_the_share_that_was_asked_for(load: Load) -> None:
    """With everything dropped attention adds nothing: the vector of a token is one of that token alone."""
    model = load("llama", "eager").train()
    set_attention_dropout(model, 1.0)
    other = IDS.clone()
    other[0, :-1] += 1
    with torch.no_grad():
        first, second = (model(input_ids=ids, use_cache=False).last_hidden_state[0, -1] for ids in (IDS, other))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    "model",
    [
        MambaModel(MambaConfig(vocab_size=16, hidden_size=16, num_hidden_layers=1, state_size=4)),
        BloomModel(BloomConfig(vocab_size=16, hidden_size=16, n_layer=1, n_head=2)),
    ],
    ids=["mamba", "bloom"],
)
def test_where_attention_takes_none_it_is_refused(model: Any) -> None:
    with pytest.raises(Problem, match="has no dropout"):
        set_attention_dropout(model, 0.3)
