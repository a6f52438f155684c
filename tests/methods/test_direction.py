from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel, masking_utils
from transformers import modeling_flash_attention_utils as flash

from genembench.problem import Problem
from methods.parts import backbone, direction
from methods.parts.adapt import LoraShape, trainable
from methods.parts.backbone import load_model
from methods.parts.direction import ensure_direction
from methods.parts.forward import run_body
from methods.parts.tokens import TokenRow, pad
from tests.methods.backbones import CONFIGURATIONS

CPU = torch.device("cpu")
WINDOW = 8
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.15,
}
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
FAMILIES: dict[str, tuple[type[Any], dict[str, Any]]] = CONFIGURATIONS | {
    "qwen2-window": (transformers.Qwen2Config, SMALL | ALTERNATING | {"use_sliding_window": True}),
    "qwen3-window": (transformers.Qwen3Config, SMALL | ALTERNATING | {"use_sliding_window": True}),
}
# Where transformers gives no choice (Gemma 2 has no sdpa), both are the same kernel.
KERNELS = ("sdpa", "eager")
WINDOWED = ("mistral", "qwen2-window", "qwen3-window", "gemma2", "gemma3")
OTHERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "gpt_neo": (
        transformers.GPTNeoConfig,
        {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    ),
    "mamba": (transformers.MambaConfig, {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    "qwen3_next": (transformers.Qwen3NextConfig, SMALL | {"num_hidden_layers": 4, "num_experts": 0}),
    "llama4": (
        transformers.Llama4TextConfig,
        SMALL | {"num_hidden_layers": 4, "intermediate_size_mlp": 48, "num_local_experts": 2},
    ),
    "mpt": (transformers.MptConfig, {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64}),
    "stablelm": (transformers.StableLmConfig, SMALL),
    "nemotron": (transformers.NemotronConfig, SMALL),
    "bloom": (transformers.BloomConfig, {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "gemma3-bidirectional": (
        transformers.Gemma3TextConfig,
        CONFIGURATIONS["gemma3"][1] | {"use_bidirectional_attention": True},
    ),
}
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Write a random backbone of a family, once for all tests; ``changes`` are to its configuration."""
    root = tmp_path_factory.mktemp("families")
    made: dict[str, Path] = {}

    def write(family: str, **changes: Any) -> Path:
        key = f"{family}-{json.dumps(changes)}"
        if key not in made:
            kind, settings = (FAMILIES | OTHERS)[family]
            config = kind(
                **{"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2} | settings | changes
            )
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                torch.manual_seed(0)
                model = AutoModelForCausalLM.from_config(config)
                for parameter in model.parameters():
                    parameter += 0.1 * torch.randn(parameter.shape)
            made[key] = root / str(len(made))
            model.save_pretrained(made[key])
        return made[key]

    return write


def rows(*lengths: int) -> list[TokenRow]:
    return [TokenRow([3 + (7 * i + 11 * k) % 60 for i in range(n)], [True] * n) for k, n in enumerate(lengths)]


@torch.no_grad()
def states(body: Any, some: list[TokenRow], side: str = "right") -> list[Tensor]:
    """Return the hidden states of each row's own tokens, from one batch."""
    batch = pad(some, CPU, side=side)
    hidden = body(
        input_ids=batch.ids_BL, attention_mask=batch.mask_BL, position_ids=batch.positions_BL, use_cache=False
    ).last_hidden_state
    return [each[inside] for each, inside in zip(hidden, batch.content_BL, strict=True)]


def with_last(row: TokenRow, token: int) -> TokenRow:
    return TokenRow([*row.ids[:-1], token], row.content)


def reached(body: Any, *, length: int = 6, beside: tuple[int, ...] = (), side: str = "right") -> bool:
    """Whether another last token gives another first hidden state, with other rows in the batch."""
    row, *others = rows(length, *beside)
    first = [states(body, [one, *others], side)[0][0] for one in (row, with_last(row, 63))]
    return not torch.equal(*first)


def as_seen(folder: Path, some: list[TokenRow], side: str, *, causal: bool) -> list[Tensor]:
    """Return hidden states by the definition: every token is told by an explicit matrix which tokens it sees.

    The plain kernel adds this matrix to its scores and knows of no direction and no window.
    """
    body: Any = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    batch = pad(some, CPU, side=side)
    back = torch.arange(batch.ids_BL.shape[1])[:, None] - torch.arange(batch.ids_BL.shape[1])[None, :]
    near = (back >= 0) & (back < WINDOW) if causal else back.abs() <= WINDOW
    far = back >= 0 if causal else torch.ones_like(near)

    def matrix(seen: Tensor) -> Tensor:
        seen = seen[None, None] & batch.content_BL[:, None, None, :]
        return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)

    kinds = getattr(body.config, "layer_types", None)
    if kinds and body.config.model_type != "mistral":
        masks: Any = {"full_attention": matrix(far), "sliding_attention": matrix(near)}
    else:
        masks = matrix(near if getattr(body.config, "sliding_window", None) else far)
    with torch.no_grad():
        hidden = body(
            input_ids=batch.ids_BL, attention_mask=masks, position_ids=batch.positions_BL, use_cache=False
        ).last_hidden_state
    return [each[inside] for each, inside in zip(hidden, batch.content_BL, strict=True)]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_token_sees_what_it_should(make: Make, family: str, kernel: str, causal: bool) -> None:
    folder = make(family)
    loaded = [load_model(folder, device=CPU, head=head, causal=causal, attention=kernel) for head in (False, True)]
    # Longer than twice the window: two layers of windows do not reach from one end to the other.
    for some, side in ((rows(20, 20), "right"), (rows(20, 11, 3), "right"), (rows(20, 11, 3), "left")):
        expected = as_seen(folder, some, side, causal=causal)
        for model in loaded:
            for a, b in zip(states(model.base_model, some, side), expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_token_reaches_the_first(make: Make, family: str, kernel: str, causal: bool) -> None:
    load = partial(load_model, make(family), device=CPU, causal=causal, attention=kernel)
    lora = trainable(load(), "lora", LoraShape(rank=4, alpha=8, dropout=0.0))
    body: Any = load()
    recomputing: Any = load(head=True)
    recomputing.train().gradient_checkpointing_enable()
    for each in (body, lora, recomputing.base_model):
        assert reached(each) is not causal
        assert reached(each, beside=(9, 4)) is not causal
        assert reached(each, beside=(9, 4), side="left") is not causal


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_token_learns_from_the_last_where_activations_are_recomputed(make: Make, family: str) -> None:
    """The backward pass computes the layers again: they must be told the direction again."""
    gradients = []
    for recompute in (False, True):
        body: Any = load_model(make(family), device=CPU, causal=False).train()
        if recompute:
            body.gradient_checkpointing_enable()
        hidden = body(input_ids=torch.tensor([rows(6)[0].ids]), use_cache=False).last_hidden_state
        hidden[0, 0].square().sum().backward()
        gradients.append(body.get_input_embeddings().weight.grad)
    assert bool(gradients[0][rows(6)[0].ids[-1]].abs().sum() > 0)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_vector_depends_neither_on_company_nor_on_side(make: Make, family: str, kernel: str) -> None:
    body: Any = load_model(make(family), device=CPU, causal=False, attention=kernel)
    some = rows(20, 11, 3, 11)

    def mean(hidden: Tensor, content: Tensor) -> Tensor:
        return ((hidden * content[..., None]).sum(1) / content.sum(1, keepdim=True))[:, None]

    with torch.no_grad():
        alone = torch.cat([run_body(body, [row], mean) for row in some])
        for side in ("right", "left"):
            torch.testing.assert_close(run_body(body, some, mean, padding_side=side), alone, rtol=1e-4, atol=1e-4)
        # A row alone has no mask. One that hides nothing is no other.
        ids = torch.tensor([some[0].ids])
        masked = body(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1, keepdim=True)
    torch.testing.assert_close(masked, alone[:1], rtol=1e-5, atol=1e-5)


def positions_reached(body: Any, *, length: int, changed: int) -> list[int]:
    """Return where hidden states differ when the token at ``changed`` is another one."""
    ids = torch.tensor([rows(length)[0].ids])
    other = ids.clone()
    other[0, changed] = 63
    with torch.no_grad():
        a, b = (body(input_ids=each, use_cache=False).last_hidden_state[0] for each in (ids, other))
    return [i for i in range(length) if not torch.equal(a[i], b[i])]


ONE_WINDOW = {"num_hidden_layers": 1, "layer_types": ["sliding_attention"]}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("family", WINDOWED)
def test_a_window_lies_on_both_sides(make: Make, family: str, kernel: str) -> None:
    load = partial(load_model, make(family, **ONE_WINDOW), device=CPU, attention=kernel)
    reach = partial(positions_reached, length=40, changed=20)
    assert reach(load(causal=False)) == list(range(20 - WINDOW, 20 + WINDOW + 1))
    # A causal window counts the token itself.
    assert reach(load(causal=True)) == list(range(20, 20 + WINDOW))


@pytest.mark.parametrize("family", FAMILIES)
def test_modules_say_what_the_configuration_says(make: Make, family: str) -> None:
    for causal in (True, False):
        for head in (True, False):
            model = load_model(make(family), device=CPU, causal=causal, head=head)
            said = [module.is_causal for module in model.modules() if hasattr(module, "is_causal")]
            assert said == [causal, causal]
            assert model.config.is_causal is causal


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    deterministic: bool = False,
) -> Tensor:
    """flash-attn's function by its documentation: ``[B, L, H, D]``, a window is (left, right), each inclusive."""
    back = torch.arange(query.shape[1])[:, None] - torch.arange(query.shape[1])[None, :]
    seen = torch.ones_like(back, dtype=torch.bool)
    if causal:
        seen &= back >= 0
    if window_size != (-1, -1):
        seen &= (back <= window_size[0]) & (-back <= window_size[1])
    times = query.shape[2] // key.shape[2]
    key, value = (each.repeat_interleave(times, dim=2) for each in (key, value))
    scores = torch.einsum("bihd,bjhd->bhij", query, key) * (softmax_scale or query.shape[-1] ** -0.5)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    return torch.einsum("bhij,bjhd->bihd", weights, value)


def attend_unpadded(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    deterministic: bool = False,
) -> Tensor:
    """flash-attn's function for rows one behind the other, ``[tokens, H, D]``."""
    settings: Any = {"softmax_scale": softmax_scale, "causal": causal, "window_size": window_size, "softcap": softcap}
    borders = cu_seqlens_q.tolist()
    spans = [slice(a, b) for a, b in itertools.pairwise(borders)]
    return torch.cat([attend(query[None, s], key[None, s], value[None, s], **settings)[0] for s in spans])


@pytest.fixture
def flash_attn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything of flash attention but its kernel: transformers' own way to it, and plain sums in its place."""
    functions = (attend, attend_unpadded, None, flash._pad_input, flash._unpad_input)
    process = (flash._lazy_define_process_function(attend_unpadded), dict)
    monkeypatch.setattr(flash, "lazy_import_flash_attention", lambda implementation: (functions, process))

    def choose(self: PreTrainedModel, kernel: str) -> None:
        # transformers would look for the package first.
        self.config._attn_implementation_internal = kernel

    monkeypatch.setattr(PreTrainedModel, "set_attn_implementation", choose)


@pytest.mark.usefixtures("flash_attn")
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_flash_attention_is_told_the_direction(make: Make, family: str, causal: bool) -> None:
    model = load_model(make(family), device=CPU, causal=causal, attention="flash_attention_2")
    assert model.config._attn_implementation == "flash_attention_2"
    # Half precision for GPT-2 only: without it, transformers' way to flash-attn fails on its attention.
    with torch.autocast("cpu", torch.bfloat16, enabled=family == "gpt2"):
        assert reached(model) is not causal
        assert reached(model, beside=(9, 4)) is not causal
        assert reached(model, beside=(9, 4), side="left") is not causal
    if family != "gpt2":
        some = rows(8, 5, 3)
        for a, b in zip(states(model, some), as_seen(make(family), some, "right", causal=causal), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("flash_attn")
@pytest.mark.parametrize("family", WINDOWED)
def test_flash_attention_has_a_window_one_shorter(make: Make, family: str) -> None:
    """A known difference between transformers' kernels, in texts longer than the window only."""
    body = load_model(make(family, **ONE_WINDOW), device=CPU, causal=False, attention="flash_attention_2")
    assert positions_reached(body, length=40, changed=20) == list(range(20 - WINDOW + 1, 20 + WINDOW))
    body = load_model(make(family, **ONE_WINDOW), device=CPU, causal=True, attention="flash_attention_2")
    assert positions_reached(body, length=40, changed=20) == list(range(20, 20 + WINDOW))


def says_nothing(config: Any, *, causal: bool) -> None:
    """Stand in for `ask_for_direction`."""


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_direction_that_is_ignored_is_found(
    make: Make, family: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone, "ask_for_direction", says_nothing)
    load_model(make(family), device=CPU, causal=True, attention=kernel)
    for head in (False, True):
        with pytest.raises(Problem, match=r"with (sdpa|eager) attention stays causal, .*: .*2 of 2 layers") as caught:
            load_model(make(family), device=CPU, causal=False, attention=kernel, head=head)
        assert "Llama" in caught.value.hint
        assert kernel in str(caught.value) or family == "gemma2"


@pytest.mark.usefixtures("flash_attn")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_kernel_that_ignores_the_direction_is_found(make: Make, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    functions, process = flash.lazy_import_flash_attention(None)

    def always(function: Any, *args: Any, **options: Any) -> Tensor:
        result: Tensor = function(*args, **options | {"causal": True})
        return result

    stubborn = (*(partial(always, each) for each in functions[:2]), *functions[2:])
    monkeypatch.setattr(flash, "lazy_import_flash_attention", lambda implementation: (stubborn, process))
    with pytest.raises(Problem, match=r"with flash_attention_2 attention stays causal, .*: 2 of 2 layers") as caught:
        load_model(make(family), device=CPU, causal=False, attention="flash_attention_2")
    assert "uninstall flash-attn" in caught.value.hint


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("family", ["qwen2-window", "qwen3-window", "gemma2", "gemma3"])
def test_layers_that_stay_causal_among_others_are_found(
    make: Make, family: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def causal_window(config: Any, embeds: Tensor, mask: Tensor | None, **options: Any) -> Any:
        config.is_causal = True
        try:
            return masking_utils.create_sliding_window_causal_mask(
                config, embeds, mask, None, allow_is_causal_skip=False
            )
        finally:
            config.is_causal = False

    monkeypatch.setattr(masking_utils, "create_bidirectional_sliding_window_mask", causal_window)
    with pytest.raises(Problem, match=r"stays causal, .*: 1 of 2 layers"):
        load_model(make(family), device=CPU, causal=False, attention=kernel)


def test_a_model_that_is_not_causal_is_not_taken_for_one(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make("gemma3-bidirectional")
    with pytest.raises(Problem, match="Gemma3TextModel with sdpa attention was loaded as causal, but") as caught:
        load_model(folder, device=CPU, causal=True)
    assert "Its own configuration" in caught.value.hint
    assert reached(load_model(folder, device=CPU, causal=False))
    real = direction.ask_for_direction
    monkeypatch.setattr(backbone, "ask_for_direction", lambda config, *, causal: real(config, causal=False))
    for family in FAMILIES:
        with pytest.raises(Problem, match="loaded as causal"):
            load_model(make(family), device=CPU, causal=True)


@pytest.mark.parametrize(
    ("family", "kernel", "stays"),
    [
        # It has a triangle of its own.
        ("gpt_neo", "eager", "GPTNeoModel with eager attention stays causal, .*: 2 of 2 layers"),
        ("mamba", "eager", "MambaModel with eager attention stays causal, .*: all layers"),
        ("qwen3_next", "sdpa", "Qwen3NextModel with sdpa attention stays causal, .*: 3 of 4 layers"),
        # Its chunks have causal masks, whatever the configuration says.
        ("llama4", "eager", ".* stays causal, .*: 3 of 4 layers"),
        ("llama4", "sdpa", ".* stays causal, .*: nothing in batches without padding, 3 of 4 layers in padded ones"),
        ("mpt", "eager", "MptModel with eager attention cannot run bidirectionally: AttributeError"),
    ],
)
def test_architectures_that_cannot_be_bidirectional_are_refused(
    make: Make, family: str, kernel: str, stays: str
) -> None:
    load_model(make(family), device=CPU, causal=True, attention=kernel)
    with pytest.raises(Problem, match=stays):
        load_model(make(family), device=CPU, causal=False, attention=kernel)


@pytest.mark.parametrize(
    ("family", "attention"), [("stablelm", "StableLmAttention"), ("nemotron", "NemotronAttention")]
)
def test_bodies_whose_modules_alone_decide_are_bidirectional_too(
    make: Make, family: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = transformers.AutoConfig.from_pretrained(make(family))
    config.is_causal = False
    by_configuration = AutoModel.from_pretrained(make(family), config=config).eval()
    # Why the modules are told: with the configuration alone, the direction depends on padding.
    assert (reached(by_configuration), reached(by_configuration, beside=(9,))) == (False, True)
    body = load_model(make(family), device=CPU, causal=False)
    assert (reached(body), reached(body, beside=(9,))) == (True, True)
    # Modules that cannot be told: the whole shows it.
    module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    stubborn = property(lambda self: True, lambda self, value: None)
    monkeypatch.setattr(getattr(module, attention), "is_causal", stubborn, raising=False)
    with pytest.raises(Problem, match="all layers in batches without padding, nothing in padded ones"):
        load_model(make(family), device=CPU, causal=False)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("family", ["stablelm", "nemotron", "bloom"])
def test_further_architectures_are_known_to_work(make: Make, family: str, causal: bool) -> None:
    body = load_model(make(family), device=CPU, causal=causal, attention="eager")
    assert reached(body) is not causal


@pytest.mark.parametrize("causal", [True, False])
def test_the_text_body_of_a_model_of_text_and_images(tmp_path: Path, causal: bool) -> None:
    config = transformers.Gemma3Config(
        text_config={**CONFIGURATIONS["gemma3"][1], "vocab_size": 64, "pad_token_id": 0},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 8,
            "patch_size": 4,
        },
        mm_tokens_per_image=4,
        image_token_index=60,
        boi_token_index=61,
        eoi_token_index=62,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    for head in (False, True):
        body = load_model(tmp_path, device=CPU, causal=causal, head=head).base_model
        assert reached(body) is not causal
        assert reached(body, beside=(9,)) is not causal


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("causal", [True, False])
def test_the_probe_leaves_no_trace_and_costs_little(make: Make, causal: bool, precision: torch.dtype) -> None:
    model: Any = load_model(make("qwen2", attention_dropout=0.5), device=CPU, causal=causal, head=True)
    model.to(precision)
    assert not any(module.training for module in model.modules())
    model.train()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    tokens = []
    model.model.register_forward_pre_hook(
        lambda _, args, options: tokens.append(options["input_ids"].numel()), with_kwargs=True
    )
    hooks = [len(module._forward_hooks) for module in model.modules()]
    random = torch.get_rng_state()
    ensure_direction(model, causal=causal)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert tokens == [4, 4, 5, 5]
    # Buffers that inference mode had touched could not be trained with.
    assert not any(each.is_inference() for each in (*model.parameters(), *model.buffers()))
    assert all(each.requires_grad and each.grad is None for each in model.parameters())


def test_the_probe_cleans_up_where_it_fails(make: Make) -> None:
    model: Any = load_model(make("llama"), device=CPU).train()

    def fail(*args: Any) -> None:
        raise ValueError("broken")

    broken = model.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(Problem, match="LlamaModel with sdpa attention cannot run causally: ValueError: broken"):
        ensure_direction(model, causal=True)
    broken.remove()
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_a_diverged_model_is_not_taken_for_a_bidirectional_one(make: Make) -> None:
    model: Any = load_model(make("llama"), device=CPU)
    with torch.no_grad():
        model.layers[0].self_attn.v_proj.weight.fill_(torch.nan)
    ensure_direction(model, causal=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_folder_keeps_its_direction_and_may_be_loaded_in_the_other(
    make: Make, family: str, tmp_path: Path
) -> None:
    load_model(make(family), device=CPU, causal=False).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["is_causal"] is False
    # Whoever opens the folder without genembench gets the same.
    assert reached(AutoModel.from_pretrained(tmp_path).eval())
    assert reached(AutoModel.from_pretrained(tmp_path).eval(), beside=(9,))
    assert not reached(load_model(tmp_path, device=CPU, causal=True))
    assert reached(load_model(tmp_path, device=CPU, causal=False))
