"""What reconstruction trains, in whatever micro-batches, and what it leaves on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM

from methods.contract import Trainable
from methods.parts.backbone import load_model
from methods.stages.anchor import Anchor
from tests.methods.backbones import Kind
from tests.methods.stages.common import Backbone, assert_gradients, build, finished, gradients, pairs, trainer
from tests.methods.stages.test_anchor import REDUCTIONS, stage_of

UNTIED = [Kind("llama", tied=False), Kind("gemma2", tied=False), Kind("gpt2", tied=False, bos="known")]
TIED = [Kind("llama", tied=True), Kind("gemma3", tied=True), Kind("gpt2", tied=True, bos="known")]
IDS = torch.tensor([[5, 80, 41, 300, 7, 7, 120]])


def two_steps(backbone: Path, folder: Path, **changes: Any) -> tuple[Anchor, Trainable]:
    """Train for two steps of a rate that every weight can be seen to follow."""
    stage = stage_of(anchor_batch_size=3, anchor_learning_rate=1e-2, schedule="constant", anchor_warmup=0.0, **changes)
    trained = build(stage, backbone)
    run = trainer(stage, trained, pairs(), folder)
    assert run.steps == 2
    run.train()
    return stage, trained


@torch.no_grad()
def hidden(body: Any) -> torch.Tensor:
    states: torch.Tensor = body.eval()(input_ids=IDS, use_cache=False).last_hidden_state
    return states


# ---------------------------------------------------------------------------------------------------- micro-batches


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("engine", [{"micro_batch": 1}, {"micro_batch": 3}, {"gradient_checkpointing": True}], ids=str)
def test_micro_batches_and_recomputation_leave_loss_and_gradients_unchanged(
    reduction: str, engine: dict[str, Any], backbone: Backbone, tmp_path: Path
) -> None:
    found = []
    for number, options in enumerate(({}, engine)):
        stage = stage_of(reduction=reduction, anchor_batch_size=5)
        trained = build(stage, backbone(UNTIED[0]))
        terms = trainer(stage, trained, pairs(), tmp_path / str(number), **options).gradients(0)
        found.append(({name: value.item() for name, value in terms.items()}, gradients(trained)))
    (whole, wanted), (parts, got) = found
    assert parts == pytest.approx(whole, rel=1e-5)
    assert_gradients(got, wanted)


# ---------------------------------------------------------------------------------------------------- all weights


@pytest.mark.parametrize("kind", [*UNTIED, *TIED], ids=str)
def test_the_whole_model_is_trained_and_saved(kind: Kind, backbone: Backbone, tmp_path: Path) -> None:
    stage, trained = two_steps(backbone(kind), tmp_path / "run")
    module: Any = trained.module
    folder = finished(stage, trained, tmp_path / "left")
    before: Any = AutoModelForCausalLM.from_pretrained(backbone(kind))
    after: Any = AutoModelForCausalLM.from_pretrained(folder)
    for name, parameter in before.named_parameters():
        assert not torch.equal(parameter, after.state_dict()[name]), name
    # A head of its own is a tensor of its own in the file; a tied one is the embeddings again.
    files = load_file(folder / "model.safetensors")
    assert ("lm_head.weight" in files) is not kind.tied
    assert torch.equal(after.get_output_embeddings().weight, module.lm_head.weight)
    assert torch.equal(after.get_input_embeddings().weight, module.body.get_input_embeddings().weight)
    assert (after.get_output_embeddings().weight is after.get_input_embeddings().weight) is kind.tied
    # What follows loads the body, and it is the trained one.
    plain: Any = AutoModel.from_pretrained(folder)
    ours: Any = load_model(folder, device=torch.device("cpu"))
    expected = module.body.state_dict()
    for body in (plain, ours):
        assert body.state_dict().keys() == expected.keys()
        for name, value in body.state_dict().items():
            assert torch.equal(value, expected[name]), name
    assert torch.equal(hidden(plain), hidden(module.body))
    whole = load_model(folder, device=torch.device("cpu"), head=True)
    torch.testing.assert_close(whole(input_ids=IDS).logits, after(input_ids=IDS).logits)


# ---------------------------------------------------------------------------------------------------- adapters


@pytest.mark.parametrize("kind", [UNTIED[0], UNTIED[1], TIED[0], TIED[2]], ids=str)
def test_adapters_leave_head_and_embeddings_alone(kind: Kind, backbone: Backbone, tmp_path: Path) -> None:
    stage, trained = two_steps(backbone(kind), tmp_path / "run", anchor_tuning="lora")
    module: Any = trained.module
    before: Any = AutoModelForCausalLM.from_pretrained(backbone(kind))
    assert torch.equal(module.lm_head.weight, before.get_output_embeddings().weight)
    assert torch.equal(module.body.get_input_embeddings().weight, before.get_input_embeddings().weight)
    assert {name.rsplit(".lora_")[0] for name, p in module.named_parameters() if p.requires_grad}.isdisjoint(
        {"lm_head", "body.base_model.model.embed_tokens"}
    )
    trained_states = hidden(module.body)
    folder = finished(stage, trained, tmp_path / "left")
    assert not [path.name for path in folder.iterdir() if "adapter" in path.name]
    # Every matrix of the layers has taken up its adapter, and nothing else has changed.
    after: Any = AutoModelForCausalLM.from_pretrained(folder)
    inside = [
        name for name, p in before.base_model.named_parameters() if name.startswith(("layers.", "h.")) and p.ndim == 2
    ]
    changed = [
        name
        for name, parameter in before.base_model.named_parameters()
        if not torch.equal(parameter, after.base_model.get_parameter(name))
    ]
    assert changed == inside
    assert torch.equal(after.get_output_embeddings().weight, before.get_output_embeddings().weight)
    body = AutoModel.from_pretrained(folder)
    torch.testing.assert_close(hidden(body), trained_states, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(hidden(body), hidden(before.base_model), atol=1e-2)
