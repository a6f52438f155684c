from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from genembench.problem import Problem
from methods.parts import head as head_module
from methods.parts.backbone import load_model
from methods.parts.decode import Decoder, sum_over
from methods.parts.forward import TOKENS_PER_PASS
from methods.parts.ledger import Ledger, charging
from tests.methods.backbones import CONFIGURATIONS, Kind
from tests.reference import autoregembed as plain

EOS = 1
# The end token also stands inside texts; one target is nothing else.
TARGETS = [[40, 7, EOS], [EOS], [5, EOS, EOS, 90, 91, 92, 17, EOS], list(range(100, 140)), [3, EOS]]
K = 3


@pytest.fixture(scope="module", params=sorted(CONFIGURATIONS))
def model(request: pytest.FixtureRequest, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    kind = Kind(request.param, tied=request.param in ("llama", "gemma2", "qwen2"))
    return load(kind, tiny_backbone, tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def llama(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(Kind(), tiny_backbone, tmp_path_factory.mktemp("decoder"))


def load(kind: Kind, vocabulary: Path, folder: Path) -> Any:
    kind.save(folder, vocabulary)
    return load_model(folder, device=torch.device("cpu"), head=True)


def prefixes(count: int = len(TARGETS)) -> Tensor:
    return torch.randn(count, K, 32, generator=torch.Generator().manual_seed(1))


def logp(decoder: Decoder, prefix_NkD: Tensor, targets: Sequence[Sequence[int]]) -> Tensor:
    """Log-probabilities of every target token, flat."""
    ids_M = torch.tensor([token for target in targets for token in target])
    return decoder.token_logp(decoder.hidden(prefix_NkD, targets), ids_M)


def by_brute_force(model: Any, prefix_kD: Tensor, target: Sequence[int]) -> list[float]:
    """One pass of the whole model for each token, over all that stands before it and nothing else."""
    found = []
    for t, token in enumerate(target):
        before = model.get_input_embeddings()(torch.tensor(target[:t], dtype=torch.long))
        with torch.no_grad():
            logits_LV = model(inputs_embeds=torch.cat([prefix_kD, before]).unsqueeze(0), use_cache=False).logits[0]
        numbers = logits_LV[-1].double().tolist()
        found.append(numbers[token] - math.log(sum(math.exp(x - max(numbers)) for x in numbers)) - max(numbers))
    return found


def test_every_token_is_scored_as_by_brute_force(model: Any) -> None:
    wanted = [by_brute_force(model, prefix, target) for prefix, target in zip(prefixes(), TARGETS, strict=True)]
    decoder = Decoder(model)
    got = logp(decoder, prefixes(), TARGETS)
    torch.testing.assert_close(got, torch.tensor([x for one in wanted for x in one]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sum_over(got, TARGETS), torch.tensor([sum(x) for x in wanted]), atol=1e-3, rtol=1e-4)


def test_log_probabilities_and_gradients_are_the_plain_ones(model: Any) -> None:
    ours, theirs = prefixes().requires_grad_(), prefixes().requires_grad_()
    # Every token of every target counts differently, or gradients that are mixed up would add up all the same.
    factors = [torch.linspace(1, 2, len(target)) * (i + 1) for i, target in enumerate(TARGETS)]
    got = logp(Decoder(model), ours, TARGETS)
    (got * torch.cat(factors)).sum().backward()
    logp_BT, mask_BT = plain.token_logp(model, theirs, TARGETS)
    factor_BT = torch.nn.utils.rnn.pad_sequence(factors, batch_first=True)
    (logp_BT * factor_BT).sum().backward()
    torch.testing.assert_close(got, logp_BT[mask_BT.bool()], atol=1e-4, rtol=1e-4)
    assert ours.grad is not None
    assert theirs.grad is not None
    largest = theirs.grad.abs().max().item()
    assert largest > 0
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4 * largest, rtol=0)


@pytest.mark.parametrize("kind", ["kl", "js"])
def test_divergences_and_gradients_are_the_plain_ones(model: Any, kind: Literal["kl", "js"]) -> None:
    decoder = Decoder(model)
    ours = [prefixes().requires_grad_(), prefixes().flip(0).contiguous().requires_grad_()]
    theirs = [prefixes().requires_grad_(), prefixes().flip(0).contiguous().requires_grad_()]
    got = decoder.divergence(decoder.hidden(ours[0], TARGETS), decoder.hidden(ours[1], TARGETS), kind)
    lengths = torch.tensor([len(target) for target in TARGETS])
    mean_B = sum_over(got, TARGETS) / lengths
    (mean_B * torch.arange(1, 6)).sum().backward()
    (p_BTV, _, mask_BT), (q_BTV, _, _) = (plain.target_distributions(model, one, TARGETS) for one in theirs)
    wanted_B = plain.divergence(p_BTV, q_BTV, mask_BT, kind)
    (wanted_B * torch.arange(1, 6)).sum().backward()
    torch.testing.assert_close(mean_B, wanted_B, atol=1e-5, rtol=1e-4)
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        largest = other.grad.abs().max().item()
        assert largest > 0
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4 * largest, rtol=0)


def test_neither_company_nor_order_changes_a_score(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(llama)
    wanted = sum_over(logp(decoder, prefixes(), TARGETS), TARGETS)
    alone = [logp(decoder, prefixes()[i : i + 1], [target]).sum() for i, target in enumerate(TARGETS)]
    torch.testing.assert_close(torch.stack(alone), wanted)
    order = [3, 1, 4, 0, 2]
    moved = [TARGETS[i] for i in order]
    torch.testing.assert_close(sum_over(logp(decoder, prefixes()[order], moved), moved), wanted[order])
    # One row a pass, so that nothing is padded.
    monkeypatch.setitem(TOKENS_PER_PASS, "cpu", 1)
    torch.testing.assert_close(sum_over(logp(decoder, prefixes(), TARGETS), TARGETS), wanted)


@pytest.mark.parametrize("positions", [1, 4, 7, 10**6])
def test_blocks_of_logits_change_nothing(llama: Any, positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(llama)

    def both() -> tuple[Tensor, Tensor, list[Tensor]]:
        one, other = prefixes().requires_grad_(), prefixes().flip(0).contiguous().requires_grad_()
        first = logp(decoder, one, TARGETS)
        second = decoder.divergence(decoder.hidden(one, TARGETS), decoder.hidden(other, TARGETS), kind="js")
        factor = torch.linspace(1, 2, len(first))
        return first, second, list(torch.autograd.grad((factor * first).sum() + (factor * second).sum(), [one, other]))

    heights: list[int] = []
    head = decoder.head.logits

    def counted(hidden_MD: Tensor) -> Tensor:
        heights.append(len(hidden_MD))
        return head(hidden_MD)

    wanted = both()
    monkeypatch.setattr(head_module, "LOGITS_AT_ONCE", positions * decoder.head.vocabulary + 1)
    monkeypatch.setattr(decoder.head, "logits", counted)
    got = both()
    assert max(heights) == min(positions, sum(map(len, TARGETS)))
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)


def test_a_decoder_in_bfloat16_is_taken(llama: Any) -> None:
    """What a run on a GPU gives it: the untouched backbone without a float32 copy."""
    wanted = Decoder(llama)
    ids = torch.tensor([target[0] for target in TARGETS])
    prefix = prefixes()
    first = [[token] for token in ids.tolist()]
    with torch.no_grad():
        expected = wanted.token_logp(wanted.hidden(prefix, first), ids)
        half = Decoder(copy.deepcopy(llama).bfloat16())
        found = half.token_logp(half.hidden(prefix.bfloat16(), first), ids)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=5e-2, atol=5e-2)


def test_nothing_of_the_decoder_is_trained(llama: Any) -> None:
    llama.train().requires_grad_(True)
    before = {name: value.clone() for name, value in llama.state_dict().items()}
    decoder = Decoder(llama)
    prefix_NkD = prefixes().requires_grad_()
    (-logp(decoder, prefix_NkD, TARGETS).sum()).backward()
    assert prefix_NkD.grad is not None
    # Every compressed vector of every row is told something.
    assert (prefix_NkD.grad.abs().amax(dim=-1) > 0).all()
    assert not llama.training
    for name, parameter in llama.named_parameters():
        assert not parameter.requires_grad, name
        assert parameter.grad is None, name
    for name, value in llama.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_without_gradients_the_numbers_are_the_same(llama: Any) -> None:
    decoder = Decoder(llama)
    wanted = logp(decoder, prefixes().requires_grad_(), TARGETS)
    assert wanted.requires_grad
    with torch.no_grad():
        got = logp(decoder, prefixes(), TARGETS)
    assert not got.requires_grad
    torch.testing.assert_close(got, wanted.detach())


def test_recomputed_activations_change_nothing(llama: Any) -> None:
    decoder = Decoder(llama)
    kept, recomputed = prefixes().requires_grad_(), prefixes().requires_grad_()
    one, other = decoder.hidden(kept, TARGETS), decoder.hidden(recomputed, TARGETS, recompute=True)
    torch.testing.assert_close(one, other)
    factor_D = torch.linspace(1, 2, 32)
    passes: list[int] = []
    with llama.base_model.register_forward_pre_hook(lambda *_: passes.append(1)):
        (factor_D * one).sum().backward()
        assert not passes
        (factor_D * other).sum().backward()
        assert passes
    assert kept.grad is not None
    torch.testing.assert_close(kept.grad, recomputed.grad)


def test_a_target_longer_than_the_context_is_refused(llama: Any) -> None:
    decoder = Decoder(llama)
    fits = [[5] * (512 - K + 1)]
    assert len(decoder.hidden(prefixes(1), fits)) == len(fits[0])
    with pytest.raises(Problem, match="512"):
        decoder.hidden(prefixes(1), [[5, *fits[0]]])


def test_an_architecture_whose_logits_are_made_otherwise_is_refused(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = type(llama).forward

    def doubled(self: Any, *arguments: Any, **keywords: Any) -> Any:
        out = whole(self, *arguments, **keywords)
        out.logits = 2 * out.logits
        return out

    monkeypatch.setattr(type(llama), "forward", doubled)
    with pytest.raises(Problem, match="logits"):
        Decoder(llama)


# ---------------------------------------------------------------------------------------------------- divergences


@pytest.fixture
def identity(llama: Any, monkeypatch: pytest.MonkeyPatch) -> Decoder:
    """A decoder whose logits are the 32 numbers of a hidden state, so that distributions can be chosen."""
    decoder = Decoder(llama)
    decoder.head.vocabulary = 32
    decoder.head.linear = torch.nn.Linear(32, 32, bias=False)
    torch.nn.init.eye_(decoder.head.linear.weight)
    return decoder


def test_divergences_of_two_coins(identity: Decoder) -> None:
    """P = (¾, ¼), Q = (¼, ¾), M = (½, ½)."""
    hidden = torch.full((2, 32), -1e9)
    hidden[0, :2] = torch.tensor([0.75, 0.25]).log()
    hidden[1, :2] = torch.tensor([0.25, 0.75]).log()
    p, q = hidden[:1], hidden[1:]
    kl = 0.5 * math.log(3)
    js = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert identity.divergence(p, q, "kl").item() == pytest.approx(kl, rel=1e-5)
    assert identity.divergence(p, q, "js").item() == pytest.approx(js, rel=1e-5)


def test_kl_goes_from_the_first_to_the_second(identity: Decoder) -> None:
    """P = (0.9, 0.1), Q = (0.5, 0.5): KL(P‖Q) = log 2 - H(P), KL(Q‖P) = -log 2 - ½ log 0.09."""
    p, q = torch.full((1, 32), -1e9), torch.full((1, 32), -1e9)
    p[0, :2] = torch.tensor([0.9, 0.1]).log()
    q[0, :2] = torch.tensor([0.5, 0.5]).log()
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert identity.divergence(p, q, "kl").item() == pytest.approx(math.log(2) - entropy, rel=1e-5)
    assert identity.divergence(q, p, "kl").item() == pytest.approx(-math.log(2) - 0.5 * math.log(0.09), rel=1e-5)


@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0, 1e4])
def test_divergences_stay_in_their_ranges(identity: Decoder, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    p = (scale * torch.randn(200, 32, generator=generator)).requires_grad_()
    q = (scale * torch.randn(200, 32, generator=generator)).requires_grad_()
    kl, js = identity.divergence(p, q, "kl"), identity.divergence(p, q, "js")
    for one in (kl, js):
        assert one.isfinite().all()
        # With logits this far apart, two distributions that agree on one token are the same in float32.
        assert ((one > 0) if scale < 10 else (one >= 0)).all()
    assert (js <= math.log(2) + 1e-6).all()
    torch.testing.assert_close(js, identity.divergence(q, p, "js"))
    assert not torch.allclose(kl, identity.divergence(q, p, "kl"), rtol=1e-2)
    for gradient in torch.autograd.grad(kl.sum() + js.sum(), [p, q]):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("kind", ["kl", "js"])
def test_equal_distributions_do_not_diverge(identity: Decoder, kind: Literal["kl", "js"]) -> None:
    p = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    # A softmax does not see what is added to all logits: other hidden states, the same distribution.
    assert identity.divergence(p, p + 2, kind).abs().max().item() < 1e-6
    assert (identity.divergence(p, p, kind).abs() < 1e-6).all()


def test_distributions_that_share_nothing(identity: Decoder) -> None:
    p, q = torch.zeros(1, 32), torch.zeros(1, 32)
    p[0, 3], q[0, 4] = 1e4, 1e4
    assert identity.divergence(p, q, "js").item() == pytest.approx(math.log(2))
    assert identity.divergence(p, q, "kl").item() == pytest.approx(1e4)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma3", "gpt2"])
def test_packed_targets_have_the_numbers_of_padded_ones(
    architecture: str, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Kind(architecture).save(tmp_path, tiny_backbone)
    device = torch.device("cpu")
    packed, padded = (
        Decoder(load_model(tmp_path, device=device, head=True, attention=name)) for name in ("packed", "sdpa")
    )
    factor_M = torch.linspace(1, 2, sum(map(len, TARGETS)))[:, None]

    def both(decoder: Decoder, *, recompute: bool = False) -> tuple[Tensor, Tensor, Ledger]:
        prefix_NkD = prefixes().requires_grad_()
        ledger = Ledger()
        with charging(ledger):
            hidden_MD = decoder.hidden(prefix_NkD, TARGETS, recompute=recompute)
        (gradient,) = torch.autograd.grad((factor_M * hidden_MD.sin()).sum(), prefix_NkD)
        return hidden_MD.detach(), gradient, ledger

    wanted, wanted_gradient, theirs = both(padded)
    for recompute, tokens in ((False, 1024), (True, 1024), (False, 12), (False, 1)):
        monkeypatch.setitem(TOKENS_PER_PASS, "cpu", tokens)
        got, gradient, ours = both(packed, recompute=recompute)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-3, atol=1e-5 * float(wanted_gradient.abs().max()))
        assert ours.padded_tokens == ours.real_tokens == theirs.real_tokens == 5 * (K - 1) + len(factor_M)
        assert ours.model_flops == theirs.model_flops
    assert theirs.padded_tokens == 5 * (K - 1 + 40)
