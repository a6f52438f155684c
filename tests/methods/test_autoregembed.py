"""AutoRegEmbed against the plain implementation: on every architecture, with every kind of tokenizer, full and LoRA."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from genembench.problem import Problem
from methods.autoregembed import AutoRegEmbed
from methods.contract import Example, Stage, Trainable
from methods.encoder import Encoder, make_encoder
from methods.parts.forward import TOKENS_PER_PASS
from methods.parts.losses import LossTerm
from methods.parts.observe import Observations, observing
from tests.conftest import sentence
from tests.methods.backbones import CONFIGURATIONS, Files, Kind
from tests.methods.stages.common import assert_gradients, build, finished
from tests.reference import autoregembed as plain

K = 3
# Strong enough for a difference of a few nats to show.
BETA, TEMPERATURE = 0.2, 0.5

KINDS = [
    Kind("llama", tied=True, bos="added", side="left"),
    Kind("llama", tied=False, bos="known", side="right"),
    Kind("mistral", tied=True, bos="none", side="right"),
    Kind("mistral", tied=False, bos="added", side="left"),
    Kind("qwen2", tied=True, bos="none", side="left", spare=20),
    Kind("qwen2", tied=False, bos="known", side="right"),
    Kind("qwen3", tied=True, bos="none", side="right"),
    Kind("qwen3", tied=False, bos="none", side="left", spare=2),
    Kind("gemma", tied=True, bos="added", side="left"),
    Kind("gemma", tied=False, bos="added", side="right"),
    Kind("gemma2", tied=True, bos="added", side="right"),
    Kind("gemma2", tied=False, bos="known", side="left"),
    Kind("gemma3", tied=True, bos="added", side="left"),
    Kind("gemma3", tied=False, bos="known", side="right"),
    Kind("gpt2", tied=True, bos="known", side="right"),
    Kind("gpt2", tied=False, bos="known", side="left"),
]
ONE_OF_EACH = KINDS[::2]
VARIANTS = ["compress", "sigmoid", "released", "log_sigmoid", "kl", "js"]
FULL = [
    *[(kind, "sigmoid") for kind in KINDS],
    *[(kind, "compress") for kind in KINDS[1::2]],
    # An untied Llama, an untied Gemma 2 (whose logits are capped), a tied GPT-2.
    *[(KINDS[i], variant) for i in (1, 11, 14) for variant in VARIANTS[2:]],
]
LORA = [*[(kind, "sigmoid") for kind in ONE_OF_EACH], (KINDS[1], "compress")]


def names(case: tuple[Kind, str]) -> str:
    return f"{case[0]}-{case[1]}"


# ---------------------------------------------------------------------------------------------------- data


def instruct() -> list[Example]:
    source = random.Random(0)
    rows = [
        {
            "context": sentence(source, words=words),
            "instruction": f"what does {sentence(source)} say?",
            "target": sentence(source, words=words // 2),
        }
        for words in (0, 30, 0, 45)
    ]
    return [*rows, {"context": "a", "instruction": "7", "target": "é 🦊"}]


def triplets(negatives: int = 2) -> list[Example]:
    """Texts from one letter to dozens of words; an end token stands inside one of them."""
    source = random.Random(1)
    rows = [
        {
            "query": sentence(source, words=words),
            "positive": sentence(source, words=40 - words),
            "negative": [sentence(source, words=12 * i) for i in range(negatives)],
        }
        for words in (0, 30, 0, 40)
    ]
    strange = {
        "query": "the cat</s> sees </s> a ball",
        "positive": "a</s>b",
        "negative": ["</s>", "x", "y"][:negatives],
    }
    return [*rows, {"query": "é", "positive": "a", "negative": ["b", "🦊 fox", "c"][:negatives]}, strange]


def make(**changes: Any) -> AutoRegEmbed:
    settings: dict[str, Any] = {
        "compressed_tokens": K,
        "beta": BETA,
        "temperature": TEMPERATURE,
        "hard_negatives": 2,
        "tuning": "full",
        "lora_rank": 4,
        "lora_alpha": 12,
        "lora_dropout": 0.0,
    }
    return AutoRegEmbed(**settings | changes)


def stage_of(variant: str, **changes: Any) -> Stage:
    """One of `VARIANTS`."""
    if variant == "released":
        changes |= {"reference_sign": "released"}
    elif variant != "compress":
        changes |= {"loss": variant}
    compress, align = make(**changes).stages()
    return compress if variant == "compress" else align


# ---------------------------------------------------------------------------------------------------- both sides


@dataclass
class Plain:
    """The other side: what a stage leaves on disk, loaded by transformers alone."""

    body: Any
    decoder: Any
    tokenizer: Any
    marks: list[int]

    @classmethod
    def load(cls, backbone: Path, folder: Path) -> Plain:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return cls(
            AutoModel.from_pretrained(folder).train(),
            AutoModelForCausalLM.from_pretrained(backbone).eval().requires_grad_(False),
            tokenizer,
            plain.compressed_token_ids(tokenizer, K),
        )

    def ids(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        return [plain.training_ids(self.tokenizer, text, prompt) for text in texts]

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        return [plain.target_ids(self.tokenizer, text) for text in texts]

    def reference(self, rows: Sequence[Example], prompt: str) -> Tensor:
        return plain.reference_logp(
            self.body,
            self.decoder,
            self.ids([row["query"] for row in rows], prompt),
            self.targets([row["positive"] for row in rows]),
            [self.targets(texts) for texts in zip(*(row["negative"] for row in rows), strict=True)],
            self.marks,
        )

    def loss(self, variant: str, rows: Sequence[Example], prompt: str) -> Tensor:
        body, decoder, marks = self.body, self.decoder, self.marks
        if variant == "compress":
            ids = [plain.training_ids(self.tokenizer, row["context"], row["instruction"]) for row in rows]
            targets = self.targets([row["target"] for row in rows])
            return plain.compression_loss(body, decoder, ids, targets, marks)
        queries, positives = [row["query"] for row in rows], [row["positive"] for row in rows]
        negatives = list(zip(*(row["negative"] for row in rows), strict=True))
        query_ids = self.ids(queries, prompt)
        if variant in ("kl", "js"):
            documents = [positives, *negatives]
            return plain.divergence_loss(
                body,
                decoder,
                query_ids,
                [self.ids(texts, prompt) for texts in documents],
                [self.targets(texts) for texts in documents],
                marks,
                temperature=TEMPERATURE,
                kind="kl" if variant == "kl" else "js",
            )
        scores = plain.alignment_logp(
            body,
            decoder,
            query_ids,
            self.ids(positives, prompt),
            self.targets(positives),
            [self.targets(texts) for texts in negatives],
            marks,
        )
        return plain.alignment_loss(
            *scores,
            torch.stack([row["reference_logp"] for row in rows]),
            beta=BETA,
            temperature=TEMPERATURE,
            sign="released" if variant == "released" else "paper",
            kind="log_sigmoid" if variant == "log_sigmoid" else "sigmoid",
        )


def with_reference(rows: Sequence[Example], seed: int = 2) -> list[Example]:
    """Any reference will do for a comparison, as long as it is not what the model itself says."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {**row, "reference_logp": -50 + 5 * torch.randn(1 + len(row["negative"]), generator=generator)} for row in rows
    ]


def rows_of(variant: str) -> list[Example]:
    return instruct() if variant == "compress" else with_reference(triplets())


def step(stage: Stage, trained: Trainable, rows: Sequence[Example]) -> Tensor:
    """Return the loss as the trainer divides it, its gradients left at the weights."""
    batch = stage.collate(rows, trained.tokenizer)
    terms: dict[str, LossTerm] = trained.module(batch)
    assert {name: term.weight for name, term in terms.items()} == stage.weigh(batch)
    (term,) = terms.values()
    loss = term.coefficient * term.sum / term.weight
    loss.backward()
    return loss


def body_of(trained: Trainable) -> Any:
    return trained.module.body


def embeddings(body: Any) -> Tensor:
    weight = body.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight


# ---------------------------------------------------------------------------------------------------- equality


@pytest.mark.parametrize("case", FULL, ids=names)
def test_loss_and_gradients_are_the_plain_ones(
    case: tuple[Kind, str], backbone: Callable[[Kind], Path], tmp_path: Path
) -> None:
    kind, variant = case
    stage = stage_of(variant)
    trained = build(stage, backbone(kind))
    other = Plain.load(backbone(kind), finished(stage, trained, tmp_path / "left"))
    rows = rows_of(variant)
    wanted = other.loss(variant, rows, make().prompt)
    wanted.backward()
    loss = step(stage, trained, rows)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    assert_gradients(
        {name: parameter.grad for name, parameter in body_of(trained).named_parameters()},
        {name: parameter.grad for name, parameter in other.body.named_parameters()},
    )


@pytest.mark.parametrize("case", LORA, ids=names)
def test_adapters_get_the_gradients_of_the_weights_they_change(
    case: tuple[Kind, str], backbone: Callable[[Kind], Path], tmp_path: Path
) -> None:
    """With W' = W + s B A: dL/dA = s Bᵀ dL/dW' and dL/dB = s dL/dW' Aᵀ, of the merged model's dL/dW'."""
    kind, variant = case
    stage = stage_of(variant, tuning="lora")
    trained = build(stage, backbone(kind))
    generator = torch.Generator().manual_seed(3)
    adapters = {name: p for name, p in body_of(trained).named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, parameter in adapters.items():
            if "lora_B" in name:  # 0 to begin with, which would hide A
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    other = Plain.load(backbone(kind), finished(stage, trained, tmp_path / "left"))
    rows = rows_of(variant)
    wanted = other.loss(variant, rows, make().prompt)
    wanted.backward()
    loss = step(stage, trained, rows)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)

    merged = dict(other.body.named_parameters())
    expected: dict[str, Tensor | None] = {}
    new_rows = 0
    for name in adapters:
        if ".lora_" in name:
            layer, part = name.removeprefix("base_model.model.").split(".lora_")
            full = merged[f"{layer}.weight"].grad
            assert full is not None
            full = full.T if kind.architecture == "gpt2" else full  # its matrices lie the other way round
            scale = 12 / 4
            a, b = (adapters[f"base_model.model.{layer}.lora_{which}.default.weight"].detach() for which in "AB")
            expected[name] = scale * (b.T @ full if part.startswith("A") else full @ a.T)
        else:
            new_rows += 1
            rows_gradient = embeddings(other.body).grad
            assert rows_gradient is not None
            expected[name] = rows_gradient[other.marks]
    assert new_rows == 1
    assert len(adapters) > 2 * 2 * 4
    assert_gradients({name: parameter.grad for name, parameter in adapters.items()}, expected)


@pytest.mark.parametrize("kind", ONE_OF_EACH, ids=str)
def test_reference_scores_are_the_plain_ones(kind: Kind, backbone: Callable[[Kind], Path], tmp_path: Path) -> None:
    stage = stage_of("sigmoid")
    trained = build(stage, backbone(kind))
    other = Plain.load(backbone(kind), finished(stage, trained, tmp_path / "left"))
    with torch.no_grad():
        got = stage.prepare(trained, triplets())["reference_logp"]
    torch.testing.assert_close(got, other.reference(triplets(), make().prompt), atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS[::3], ids=str)
def test_vectors_are_the_plain_ones(kind: Kind, backbone: Callable[[Kind], Path], tmp_path: Path) -> None:
    stage = stage_of("compress")
    folder = finished(stage, build(stage, backbone(kind)), tmp_path / "left")
    other = Plain.load(backbone(kind), folder)
    texts = [*(row["query"] for row in triplets()), *(row["context"] for row in instruct())]
    ids = [plain.evaluation_ids(other.tokenizer, text, make().prompt, 512) for text in texts]
    wanted = plain.encode_for_evaluation(other.body.eval(), ids, other.marks)
    body = Files(folder, folder).model()
    encoder = Encoder("autoregembed", "", make(), body, Files(folder, folder).tokenizer())
    torch.testing.assert_close(torch.from_numpy(encoder.encode(texts)), wanted, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------------- the loss itself


def test_at_the_reference_the_negative_scores_half(backbone: Callable[[Kind], Path]) -> None:
    """An align stage starts at its own reference: S2 = -½ for every triplet, and the loss is log 2 at least."""
    kind = KINDS[0]
    stage = stage_of("sigmoid", hard_negatives=1)
    trained = build(stage, backbone(kind))
    rows = triplets(negatives=1)
    with torch.no_grad():
        scores = stage.prepare(trained, rows)["reference_logp"]
        for row, score in zip(rows, scores, strict=True):
            seen = Observations()
            with observing(seen):
                batch = stage.collate([{**row, "reference_logp": score}], trained.tokenizer)
                (term,) = trained.module(batch).values()
            assert seen.means()["S2"] == pytest.approx(-0.5, abs=1e-5)
            s1 = seen.means()["S1"]
            assert -1 < s1 < -0.5
            assert term.sum.item() == pytest.approx(math.log(1 + math.exp((-0.5 - s1) / TEMPERATURE)), rel=1e-4)
            assert term.sum.item() >= math.log(2)


def test_the_released_sign_at_the_reference(backbone: Callable[[Kind], Path]) -> None:
    """There S2 = -σ(2β(ρ⁺ - ρ⁻)): what the backbone prefers decides, not what training changed."""
    kind = KINDS[0]
    stage = stage_of("released", hard_negatives=1)
    trained = build(stage, backbone(kind))
    rows = triplets(negatives=1)
    with torch.no_grad():
        scores = stage.prepare(trained, rows)["reference_logp"]
        for row, score in zip(rows, scores, strict=True):
            seen = Observations()
            with observing(seen):
                trained.module(stage.collate([{**row, "reference_logp": score}], trained.tokenizer))
            positive, negative = score.tolist()
            expected = -1 / (1 + math.exp(-2 * BETA * (positive - negative)))
            assert seen.means()["S2"] == pytest.approx(expected, abs=1e-4)


def test_triplets_may_have_fewer_negatives(backbone: Callable[[Kind], Path], tmp_path: Path) -> None:
    kind = KINDS[0]
    stage = stage_of("sigmoid", hard_negatives=3)
    trained = build(stage, backbone(kind))
    other = Plain.load(backbone(kind), finished(stage, trained, tmp_path / "left"))
    rows: list[Any] = [{**row, "negative": row["negative"][: 1 + i % 3]} for i, row in enumerate(triplets(negatives=3))]
    with torch.no_grad():
        scores = stage.prepare(trained, rows)["reference_logp"]
    assert scores.shape == (len(rows), 4)
    noise = torch.randn(scores.shape, generator=torch.Generator().manual_seed(0))
    losses = []
    for row, score in zip(rows, scores, strict=True):
        count = 1 + len(row["negative"])
        torch.testing.assert_close(score[:count], other.reference([row], make().prompt)[0], atol=1e-3, rtol=1e-5)
        assert (score[count:] == 0).all()
    changed = scores + 5 * noise
    for row, score in zip(rows, changed, strict=True):
        one = {**row, "reference_logp": score[: 1 + len(row["negative"])]}
        losses.append(other.loss("sigmoid", [one], make().prompt).item())
    together = step(stage, trained, [{**row, "reference_logp": s} for row, s in zip(rows, changed, strict=True)])
    assert together.item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_negatives_beyond_the_setting_are_not_used(backbone: Callable[[Kind], Path]) -> None:
    kind = KINDS[0]
    stage = stage_of("sigmoid", hard_negatives=1)
    trained = build(stage, backbone(kind))
    many = [{**row, "reference_logp": row["reference_logp"][:2]} for row in with_reference(triplets(negatives=3))]
    few = [{**row, "negative": row["negative"][:1]} for row in many]
    assert step(stage, trained, many).item() == step(stage, trained, few).item()


def test_alignment_without_reference_scores_says_so(backbone: Callable[[Kind], Path]) -> None:
    stage = stage_of("sigmoid")
    trained = build(stage, backbone(KINDS[0]))
    with pytest.raises((Problem, ValueError, KeyError), match="reference"):
        step(stage, trained, triplets())


def test_reference_scores_of_some_rows_are_not_taken_for_all(backbone: Callable[[Kind], Path]) -> None:
    """One row's scores would broadcast over the batch without a word."""
    stage = stage_of("sigmoid")
    trained = build(stage, backbone(KINDS[0]))
    complete = with_reference(triplets())
    with pytest.raises((Problem, ValueError, KeyError), match="reference"):
        step(stage, trained, [complete[0], *triplets()[1:]])


@pytest.mark.parametrize("variant", ["compress", "sigmoid", "js"])
@pytest.mark.parametrize("tokens", [1, 40])
def test_how_rows_are_grouped_changes_nothing(
    variant: str, tokens: int, backbone: Callable[[Kind], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = KINDS[0]
    stage = stage_of(variant)
    trained = build(stage, backbone(kind))
    wanted = step(stage, trained, rows_of(variant)).item()
    gradients = {name: p.grad for name, p in trained.module.named_parameters()}
    trained.module.zero_grad()
    monkeypatch.setitem(TOKENS_PER_PASS, "cpu", tokens)
    assert step(stage, trained, rows_of(variant)).item() == pytest.approx(wanted, rel=1e-5)
    assert_gradients({name: p.grad for name, p in trained.module.named_parameters()}, gradients)


@pytest.mark.parametrize("variant", ["compress", "sigmoid"])
def test_the_padding_side_of_the_tokenizer_changes_nothing(variant: str, backbone: Callable[[Kind], Path]) -> None:
    stage = stage_of(variant)
    losses = []
    for side in ("left", "right"):
        kind = Kind(side=side)
        losses.append(step(stage, build(stage, backbone(kind)), rows_of(variant)).item())
    assert losses[0] == losses[1]


# ---------------------------------------------------------------------------------------------------- what is trained


def optimizer_step(trained: Trainable, rate: float = 1e-2) -> None:
    parameters = [parameter for parameter in trained.module.parameters() if parameter.requires_grad]
    torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0).step()


def decoder_of(trained: Trainable) -> Any:
    decoder: Any = trained.module.decoder
    return decoder.model


@pytest.mark.parametrize(
    ("variant", "tuning"), [*[(variant, "full") for variant in VARIANTS], ("compress", "lora"), ("sigmoid", "lora")]
)
def test_the_decoder_is_frozen(variant: str, tuning: str, backbone: Callable[[Kind], Path]) -> None:
    kind = KINDS[0]  # tied: its embeddings are its head
    stage = stage_of(variant, tuning=tuning)
    trained = build(stage, backbone(kind))
    untouched = AutoModelForCausalLM.from_pretrained(backbone(kind)).state_dict()
    for _ in range(2):
        trained.module.train()
        step(stage, trained, rows_of(variant))
        optimizer_step(trained)
    decoder = decoder_of(trained)
    own = {id(parameter) for parameter in trained.module.parameters()}
    assert not decoder.training
    for name, parameter in decoder.named_parameters():
        assert not parameter.requires_grad, name
        assert parameter.grad is None, name
        assert id(parameter) not in own, name
    assert decoder.state_dict().keys() == untouched.keys()
    for name, value in decoder.state_dict().items():
        assert torch.equal(value, untouched[name]), name
    assert not [name for name in trained.module.state_dict() if "decoder" in name]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_new_row_is_trained(variant: str, backbone: Callable[[Kind], Path]) -> None:
    kind = KINDS[0]
    stage = stage_of(variant)
    trained = build(stage, backbone(kind))
    marks = plain.compressed_token_ids(trained.tokenizer, K)
    assert len(set(marks)) == K
    step(stage, trained, rows_of(variant))
    gradient = embeddings(body_of(trained)).grad
    assert gradient is not None
    assert (gradient[marks].abs().amax(dim=-1) > 0).all()
    # And each by what it alone says.
    assert not torch.allclose(gradient[marks[0]], gradient[marks[1]])


@pytest.mark.parametrize("kind", ONE_OF_EACH, ids=str)
def test_lora_trains_the_new_rows_and_no_others(kind: Kind, backbone: Callable[[Kind], Path], tmp_path: Path) -> None:
    variant = "compress"
    stage = stage_of(variant, tuning="lora")
    trained = build(stage, backbone(kind))
    before = Plain.load(backbone(kind), finished(stage, trained, tmp_path / "before"))
    for _ in range(2):
        trained.module.zero_grad()
        step(stage, trained, rows_of(variant))
        optimizer_step(trained)
    after = Plain.load(backbone(kind), finished(stage, trained, tmp_path / "after"))
    old, new = embeddings(before.body), embeddings(after.body)
    assert old.shape == new.shape
    moved = (old != new).any(dim=-1).nonzero().flatten().tolist()
    assert moved == sorted(after.marks)
    base = embeddings(AutoModel.from_pretrained(backbone(kind)))
    kept = [i for i in range(len(base)) if i not in after.marks]
    assert torch.equal(new[kept], base[kept])
    # Plain weights: of the layers every matrix has taken up its adapter, and nothing else has changed.
    assert not [path.name for path in (tmp_path / "after").iterdir() if "adapter" in path.name]
    weights = dict(after.body.named_parameters())
    inside = {name for name in weights if name.startswith(("layers.", "h."))}
    changed = {name for name, one in before.body.named_parameters() if not torch.equal(one, weights[name])}
    assert changed & inside == {name for name in inside if weights[name].ndim == 2}
    assert len(changed - inside) == 1
    # What was trained is what is saved.
    rows = rows_of(variant)
    loss = step(stage, trained, rows).item()
    assert after.loss(variant, rows, make().prompt).item() == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "tuning"),
    [*[(kind, "full") for kind in ONE_OF_EACH], *[(kind, "lora") for kind in ONE_OF_EACH[::3]]],
    ids=str,
)
def test_the_second_stage_starts_where_the_first_ended(
    kind: Kind, tuning: str, backbone: Callable[[Kind], Path], tmp_path: Path
) -> None:
    compress, align = stage_of("compress", tuning=tuning), stage_of("sigmoid", tuning=tuning)
    first = build(compress, backbone(kind))
    step(compress, first, rows_of("compress"))
    optimizer_step(first)
    folder = finished(compress, first, tmp_path / "compressed")
    second = build(align, backbone(kind), folder)
    assert second.tokenizer.get_vocab() == first.tokenizer.get_vocab()
    between = Plain.load(backbone(kind), folder)
    start = Plain.load(backbone(kind), finished(align, second, tmp_path / "start"))
    assert start.marks == between.marks
    for name, value in between.body.state_dict().items():
        assert torch.equal(start.body.state_dict()[name], value), name
    # The decoder is the backbone, not what compression made of it, and knows the backbone's vocabulary only.
    untouched = AutoModelForCausalLM.from_pretrained(backbone(kind)).state_dict()
    for name, value in decoder_of(second).state_dict().items():
        assert torch.equal(value, untouched[name]), name


def test_embeddings_are_never_made_fewer(backbone: Callable[[Kind], Path], tmp_path: Path) -> None:
    kind = Kind("qwen2", bos="none", spare=20)
    stage = stage_of("compress")
    trained = build(stage, backbone(kind))
    rows = embeddings(AutoModel.from_pretrained(backbone(kind)))
    assert len(embeddings(body_of(trained))) == len(rows)
    marks = plain.compressed_token_ids(trained.tokenizer, K)
    assert max(marks) < len(rows)


# ---------------------------------------------------------------------------------------------------- texts


LONG = " ".join(["the cat sees a ball"] * 1200)


@pytest.mark.parametrize("phase", ["train", "evaluate"])
@pytest.mark.parametrize("kind", KINDS[:3], ids=str)
def test_a_long_text_keeps_its_prompt_and_its_tokens(kind: Kind, phase: Any, backbone: Callable[[Kind], Path]) -> None:
    tokenizer: Any = build(stage_of("sigmoid"), backbone(kind)).tokenizer
    assert len(plain.pieces(tokenizer, LONG)) > 5000
    method = make(max_length=200)
    marks = plain.compressed_token_ids(tokenizer, K)
    long, short = method.tokenize(tokenizer, [LONG, "a"], "symmetric", phase)
    ending = "\n" + method.prompt + ("\n" if phase == "train" else "")
    for row in (long, short):
        assert row.ids[-K:] == marks
        assert row.content == [False] * (len(row) - K) + [True] * K
        assert tokenizer.decode(row.ids[:-K]).endswith(ending)
    assert len(long) == 200
    assert tokenizer.decode(long.ids[:-K]).removeprefix("<s>").startswith("the cat sees a ball the cat")


@pytest.mark.parametrize("kind", KINDS[:3], ids=str)
def test_a_long_context_keeps_its_instruction(kind: Kind, backbone: Callable[[Kind], Path]) -> None:
    stage = stage_of("compress", max_length=100)
    tokenizer: Any = build(stage, backbone(kind)).tokenizer
    rows = [{"context": LONG, "instruction": "who sees what?", "target": LONG}]
    batch = stage.collate(rows, tokenizer)
    (source,), (target,) = batch.sources, batch.targets
    assert len(source) == 100
    assert tokenizer.decode(source.ids[:-K]).endswith("\nwho sees what?\n")
    assert len(target) == make().max_target_length
    assert target[-1] == tokenizer.eos_token_id
    assert target[:-1] == plain.pieces(tokenizer, LONG)[: len(target) - 1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_texts_may_spell_out_the_new_tokens(variant: str, backbone: Callable[[Kind], Path], tmp_path: Path) -> None:
    kind = KINDS[1]
    stage = stage_of(variant)
    trained = build(stage, backbone(kind))
    text = "the <EMBED0> token<EMBED2> and <EMBED1>"
    texts = {"context": text, "instruction": text, "target": text, "query": text, "positive": text}
    row = {**texts, "negative": ["<EMBED0>", text], "reference_logp": torch.zeros(3)}
    loss = step(stage, trained, [*rows_of(variant), row])
    assert loss.isfinite()
    vocabulary = embeddings(decoder_of(trained)).shape[0]
    batch = stage.collate([row], trained.tokenizer)
    for target in batch.targets:
        assert max(target) < vocabulary
    assert trained.tokenizer.decode(batch.targets[0][:-1]) == text
    # The vectors are read at the last k tokens, not at those that the text spells out.
    other = Plain.load(backbone(kind), finished(stage, trained, tmp_path / "left"))
    ids = plain.evaluation_ids(other.tokenizer, text, make().prompt, 512)
    encoder = make_encoder("autoregembed", make(), "", tmp_path / "left")
    wanted = plain.encode_for_evaluation(other.body.eval(), [ids], other.marks)
    torch.testing.assert_close(torch.from_numpy(encoder.encode([text])), wanted, atol=1e-5, rtol=0)


def test_variants_of_alignment_stand_on_one_compression() -> None:
    compress, align = make().stages()
    for changes in ({"loss": "js"}, {"reference_sign": "released"}, {"beta": 1.0}, {"hard_negatives": 1}):
        other_compress, other_align = make(**changes).stages()
        assert other_compress.identity() == compress.identity(), changes
        assert other_align.identity() != align.identity(), changes
    other_compress, _ = make(compressed_tokens=5).stages()
    assert other_compress.identity() != compress.identity()


def test_every_architecture_is_tried() -> None:
    assert {kind.architecture for kind in KINDS} == set(CONFIGURATIONS) == {kind.architecture for kind in ONE_OF_EACH}
