"""Record what the package llm2vec 0.2.3 computes on tiny random models: ``python record.py OUTPUT [--seed N]``.

Runs in an environment of its own (README.md beside this file); float32, CPU, dropout off. It writes

- ``OUTPUT/backbone/``: a Llama with a language-model head and a byte-level BPE tokenizer;
- ``OUTPUT/llm2vec/cases.json`` and ``expected.safetensors``: texts, and what the package's own classes make of them;
- ``OUTPUT/llm2vec/families/FAMILY/``: one tiny model per family that the package has bidirectional classes for;
- ``OUTPUT/llm2vec/published/{base,mntp,supervised}/``: the folders that the authors publish, with random adapters.

The seed draws weights and texts, and turns through what may vary: layers, heads, a tokenizer with and without a BOS
token, a config with and without a padding token, the wording of the instruction, the pooling of the published model.

Keys of ``expected.safetensors``:

``encode.bidirectional_mean.plain`` and ``.instructed``, ``encode.causal_weighted_mean.plain``
    ``LLM2Vec.encode`` of ``cases["encode"]``, not normalised, instructed with ``cases["instruction"]``. The package
    joins ``instruction.strip()``, a space and the text, counts the tokens of the text alone (no BOS), and pools over
    that many last positions. Where a word is cut differently after a space, these reach into the instruction or leave
    out the first token of the text; ``assert_cut_differently`` sees to it that there is such a text.
``mntp.input_ids``, ``.attention_mask``, ``.labels``, ``.loss``, ``.grad.PARAMETER``
    ``LlamaBiForMNTP`` on rows padded on the right. A position with a label holds ``cases["mask_token"]``; BOS and
    padding have none.
``supervised.loss.scale20``, ``supervised.loss.scale50``, ``supervised.grad.PARAMETER`` (scale 50)
    ``HardNegativeNLLLoss`` over bidirectional mean pooling of ``cases["supervised"]``. The query follows
    ``cases["instruction"]``, joined as above, attended to and not pooled; positive and negative have none.
``bidirectional.input_ids``, ``.attention_mask``, ``bidirectional.FAMILY.hidden.KERNEL``
    Last hidden states of the package's ``BiModel`` of the family under ``eager`` and ``sdpa``, for rows without
    padding, with padding on the left and on the right. The states of padding mean nothing.
``bidirectional.unpadded.input_ids``, ``bidirectional.FAMILY.unpadded.KERNEL``
    The same for one row and a mask of ones, which some versions of transformers drop (issues 74 and 79 of llm2vec).
    ``cases["families"][FAMILY]["sees_ahead"][KERNEL]`` says whether its first position reacts to its last token.
    Qwen2's does not: of the four classes it alone leaves the causal mask of transformers in place, so here it is a
    causal model under both kernels, padded or not. That is recorded as it is.
``published.mntp``, ``published.supervised``
    ``LLM2Vec.from_pretrained(mntp)``, and the same with ``peft_model_name_or_path=supervised``, of ``cases["encode"]``,
    instructed. A folder with ``config.json`` and an adapter means: the base that ``adapter_config.json`` names, with
    that adapter merged; the second adapter comes on top, and its ``llm2vec_config.json`` says how to pool. Held here
    against weights added up by hand.
``published.prompted.N``
    ``published.supervised`` as if the ``_name_or_path`` in mntp's ``config.json`` were
    ``cases["published"]["prompted"][N]``: by that name the package wraps every text in a chat template.

``base_model_name_or_path`` in both adapters is the absolute path at the time of recording. Whoever reads a folder that
was moved must be able to say where the base lies: it is ``published/base`` beside the adapters.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from llm2vec import LLM2Vec
from llm2vec.loss import HardNegativeNLLLoss
from llm2vec.models import GemmaBiModel, LlamaBiForMNTP, LlamaBiModel, MistralBiModel, Qwen2BiModel
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

BOS, EOS, MASK = "<s>", "</s>", "_"
VOCABULARY = 500
SCALE = 50.0
KERNELS = ("eager", "sdpa")
MERGE_TOLERANCE = 1e-5

SENTENCES = (
    "The ferry leaves the harbour before dawn and returns after the market closes.",
    "Nobody expected the small orchestra to play without a conductor.",
    "She repaired the old clock with a spring taken from a toy.",
    "Interest rates rose again, so the family postponed buying a house.",
    "Given a question, find the passage that answers the question.",
    "Two children were building a raft from barrels, rope and a broken door.",
    "The committee rejected the proposal because its costs were not known.",
    "Rain fell on the vineyard for eleven days and the harvest was lost.",
    "An engineer measured the bridge twice and wrote down different numbers.",
    "Retrieve sentences that mean the same as the given sentence.",
    "He sells bread, cheese and apples from a cart near the station.",
    "The museum is closed on Monday, but the garden stays open.",
    "A claim is refuted when a document says that it is false.",
    "Her brother learned to swim in a cold lake behind the school.",
    "The price of copper fell after the mine was opened again.",
    "They painted the ceiling blue and the door a darker blue.",
    "The doctor asked whether the medicine had been taken with water.",
    "It is cheaper to mend a roof in summer than in winter.",
    "A fox crossed the frozen field and looked back at the dogs.",
    "The topic of this text is trade between cities on the river.",
    "Words at the start of a line are cut differently from words after a space.",
    "Its engine stopped twice on the mountain, yet the bus arrived early.",
)
SELDOM = ("café", "Zürich", "naïve", "1987", "e-mail,", "(twice)", "don't", "WHO")
INSTRUCTIONS = (
    "Retrieve sentences that mean the same: ",
    "Given a claim, find documents that refute it:",
    "Identify the topic of the text:  ",
    "Find the passage; ",
)
HEADS = ((4, 2), (6, 2), (3, 1), (4, 1))
LAYERS = (2, 3, 1)
PROMPTED = (
    "meta-llama/Meta-Llama-3-8B-Instruct",
    "mistralai/Mistral-7B-Instruct-v0.2",
    "meta-llama/Llama-2-7b-chat-hf",
    "google/gemma-2-9b-it",
    "Qwen/Qwen2-1.5B-Instruct",
    "Qwen/Qwen2-7B-Instruct",
)
FAMILIES: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, LlamaBiModel, {}),
    "mistral": (MistralConfig, MistralForCausalLM, MistralBiModel, {}),
    "gemma": (GemmaConfig, GemmaForCausalLM, GemmaBiModel, {"head_dim": 8, "hidden_activation": "gelu_pytorch_tanh"}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, Qwen2BiModel, {}),
}


def learn_tokenizer(with_bos: bool) -> Any:
    """Return a byte-level BPE tokenizer learned from ``SENTENCES``; with ``with_bos`` it puts BOS before a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS, MASK],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if with_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
        )
    # The package passes on whatever the tokenizer returns, and a Llama takes no token types.
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def text_length(tokenizer: Any, text: str) -> int:
    """Count the tokens of a text by itself, as the package does."""
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def draw_texts(rng: random.Random, count: int) -> list[str]:
    """Draw texts of 3 to 14 words; the first word is no more often capitalised than any other."""
    words = [word for sentence in SENTENCES for word in sentence.split()]
    words += SELDOM * 3
    return [" ".join(rng.choices(words, k=rng.randint(3, 14))) + "." for _ in range(count)]


def assert_cut_differently(tokenizer: Any, instruction: str, texts: list[str]) -> None:
    """Fail unless some text has more or fewer tokens after the instruction than alone."""
    start = instruction.strip()
    before = text_length(tokenizer, start)
    if all(text_length(tokenizer, f"{start} {text}") == before + text_length(tokenizer, text) for text in texts):
        raise SystemExit("every text is cut alike after a space: choose another seed")


def randomise(model: nn.Module) -> None:
    """Move norms and biases off their initial ones and zeros; matrices are random already."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))


def make_llama(folder: Path, tokenizer: Any, *, layers: int, heads: tuple[int, int], pad: int | None) -> None:
    """Save a random Llama of width 48 with an untied head, and its tokenizer."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        max_position_embeddings=512,
        initializer_range=0.15,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=pad,
    )
    model = LlamaForCausalLM(config)
    randomise(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load(folder: Path, **kwargs: Any) -> Any:
    """Load an ``LLM2Vec`` in float32 without dropout."""
    return LLM2Vec.from_pretrained(str(folder), torch_dtype=torch.float32, **kwargs).eval()


def encode(model: Any, texts: list[str], instruction: str | None = None) -> Tensor:
    """Encode as a user of the package does."""
    sentences = texts if instruction is None else [[instruction, text] for text in texts]
    vectors: Tensor = model.encode(sentences, show_progress_bar=False, device="cpu")
    return vectors


def record_encode(backbone: Path, cases: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield ``encode.*``."""
    texts, instruction = cases["encode"], cases["instruction"]
    model = load(backbone, enable_bidirectional=True, pooling_mode="mean")
    yield "encode.bidirectional_mean.plain", encode(model, texts)
    yield "encode.bidirectional_mean.instructed", encode(model, texts, instruction)
    model = load(backbone, enable_bidirectional=False, pooling_mode="weighted_mean")
    yield "encode.causal_weighted_mean.plain", encode(model, texts)


def gradients(body: nn.Module, layers: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the gradients worth keeping, by name of the parameter."""
    parameters = dict(body.named_parameters())
    last = f"layers.{layers - 1}.mlp.down_proj.weight"
    for name in ("embed_tokens.weight", "layers.0.self_attn.q_proj.weight", last, "norm.weight"):
        gradient = parameters[name].grad
        assert gradient is not None, name
        yield name, gradient


def mask_rows(rng: random.Random, tokenizer: Any, texts: list[str]) -> dict[str, Tensor]:
    """Mask a part of the tokens; the longest text is cut to the length of the next, the rest padded on the right."""
    longest = sorted(len(tokenizer(text)["input_ids"]) for text in texts)[-2]
    part = rng.uniform(0.2, 0.4)
    mask = tokenizer.convert_tokens_to_ids(MASK)
    rows: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
    for text in texts:
        ids = tokenizer(text)["input_ids"][:longest]
        start = 1 if ids[0] == tokenizer.bos_token_id else 0
        masked = {p for p in range(start, len(ids)) if rng.random() < part} | {rng.randrange(start + 1, len(ids))}
        padding = longest - len(ids)
        rows["input_ids"].append(
            [mask if p in masked else i for p, i in enumerate(ids)] + [tokenizer.eos_token_id] * padding
        )
        rows["attention_mask"].append([1] * len(ids) + [0] * padding)
        rows["labels"].append([i if p in masked else -100 for p, i in enumerate(ids)] + [-100] * padding)
    batch = {name: torch.tensor(values) for name, values in rows.items()}
    full = batch["attention_mask"].all(dim=1)
    if full.all() or not full.any():
        raise SystemExit("mntp needs a row with padding and a row without: choose another seed")
    return batch


def record_mntp(backbone: Path, batch: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield ``mntp.*``."""
    model = LlamaBiForMNTP.from_pretrained(str(backbone), torch_dtype=torch.float32).eval()
    loss = model(**batch).loss
    loss.backward()
    yield from ((f"mntp.{name}", tensor) for name, tensor in batch.items())
    yield "mntp.loss", loss
    for name, gradient in gradients(model.model, model.config.num_hidden_layers):
        yield f"mntp.grad.{name}", gradient


def record_supervised(backbone: Path, cases: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield ``supervised.*``."""
    model = load(backbone, enable_bidirectional=True, pooling_mode="mean")

    def represent(key: str, instruction: str) -> Any:
        texts = [model._convert_to_str(instruction, case[key]) for case in cases["supervised"]]
        return model(model.tokenize([model.prepare_for_tokenization(text) for text in texts]))

    groups = represent("query", cases["instruction"]), represent("positive", ""), represent("negative", "")
    yield "supervised.loss.scale20", HardNegativeNLLLoss(scale=20.0)(*groups)
    loss = HardNegativeNLLLoss(scale=SCALE)(*groups)
    loss.backward()
    yield "supervised.loss.scale50", loss
    for name, gradient in gradients(model.model, model.config.num_hidden_layers):
        yield f"supervised.grad.{name}", gradient


def padded_rows(rng: random.Random, vocabulary: int, pad: int) -> tuple[Tensor, Tensor]:
    """Return ids and mask of rows without padding, padded on the left, padded on the right."""
    length = 9
    ids = torch.tensor([[rng.randrange(3, vocabulary) for _ in range(length)] for _ in range(5)])
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    mask[2, :1] = 0
    mask[3, -3:] = 0
    mask[4, -6:] = 0
    return ids.masked_fill(mask == 0, pad), mask


def sees_ahead(model: Any, ids: Tensor) -> bool:
    """Say whether the first position depends on the last token."""
    other = ids.clone()
    other[:, -1] = torch.where(ids[:, -1] == 3, 4, 3)
    ones = torch.ones_like(ids)
    first, second = (model(input_ids=i, attention_mask=ones).last_hidden_state[:, 0] for i in (ids, other))
    return bool((first - second).abs().max() > 1e-4)


@torch.no_grad()
def record_families(
    folder: Path, tokenizer: Any, rng: random.Random, cases: dict[str, Any]
) -> Iterator[tuple[str, Tensor]]:
    """Yield ``bidirectional.*``, and fill ``cases["families"]``."""
    ids, mask = padded_rows(rng, len(tokenizer), tokenizer.eos_token_id)
    unpadded, _ = padded_rows(rng, len(tokenizer), tokenizer.eos_token_id)
    unpadded = unpadded[:1]
    yield "bidirectional.input_ids", ids
    yield "bidirectional.attention_mask", mask
    yield "bidirectional.unpadded.input_ids", unpadded
    cases["families"] = {}
    for family, (config_class, head_class, body_class, extra) in FAMILIES.items():
        config = config_class(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            initializer_range=0.15,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
            **extra,
        )
        model = head_class(config)
        randomise(model)
        model.save_pretrained(folder / family)
        tokenizer.save_pretrained(folder / family)
        ahead = {}
        for kernel in KERNELS:
            body = body_class.from_pretrained(folder / family, torch_dtype=torch.float32, attn_implementation=kernel)
            body.eval()
            yield f"bidirectional.{family}.hidden.{kernel}", body(input_ids=ids, attention_mask=mask).last_hidden_state
            ones = torch.ones_like(unpadded)
            hidden = body(input_ids=unpadded, attention_mask=ones).last_hidden_state
            yield f"bidirectional.{family}.unpadded.{kernel}", hidden
            ahead[kernel] = sees_ahead(body, unpadded)
        cases["families"][family] = {"folder": f"families/{family}", "sees_ahead": ahead}


def random_adapter(body: Any, rank: int, alpha: int) -> Any:
    """Put LoRA on all seven projections, with numbers in both factors."""
    projections = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.05, bias="none", target_modules=projections)
    adapted = get_peft_model(body, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.15)
    return adapted


def make_published(folder: Path, tokenizer: Any, heads: tuple[int, int], pooling: str) -> tuple[Path, Path, Path]:
    """Save base, first and second adapter as the authors' training scripts leave them."""
    base, mntp, supervised = folder / "base", folder / "mntp", folder / "supervised"
    make_llama(base, tokenizer, layers=2, heads=heads, pad=None)

    first = LlamaBiForMNTP.from_pretrained(str(base), torch_dtype=torch.float32)
    first.set_model_for_peft(random_adapter(first.get_model_for_peft(), rank=4, alpha=8))
    first.save_peft_model(str(mntp))
    tokenizer.save_pretrained(mntp)
    # The published config.json is the base's, pointing to code of its own that nobody here has.
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config["_name_or_path"] = str(base)
    config["architectures"] = ["LlamaEncoderModel"]
    config["auto_map"] = {"AutoModel": "modeling_llama_encoder.LlamaEncoderModel"}
    write_json(mntp / "config.json", config)

    second = load(base, peft_model_name_or_path=str(mntp), merge_peft=True)
    random_adapter(second.model, rank=3, alpha=12).save_pretrained(supervised)
    settings = {"pooling_mode": pooling, "max_length": 512, "doc_max_length": 400, "skip_instruction": True}
    write_json(supervised / "llm2vec_config.json", settings)
    return base, mntp, supervised


def merged_by_hand(base: Path, *adapters: Path) -> Any:
    """Load the bidirectional body of ``base`` and add ``B A alpha / rank`` of each adapter to its matrices."""
    body = LlamaBiModel.from_pretrained(str(base), torch_dtype=torch.float32)
    weights = dict(body.named_parameters())
    for adapter in adapters:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        factors = load_file(adapter / "adapter_model.safetensors")
        ending = ".lora_A.weight"
        modules = [name.removesuffix(ending) for name in factors if name.endswith(ending)]
        with torch.no_grad():
            for module in modules:
                delta = factors[f"{module}.lora_B.weight"] @ factors[f"{module}{ending}"]
                name = module.removeprefix("base_model.model.")
                weights[f"{name}.weight"].add_(delta, alpha=config["lora_alpha"] / config["r"])
    return body


def assert_merged(name: str, loaded: Any, body: Any, cases: dict[str, Any], got: Tensor) -> None:
    """Fail where the package's own loading differs from weights added up by hand."""
    by_hand = LLM2Vec(body, loaded.tokenizer, loaded.pooling_mode, loaded.max_length, loaded.doc_max_length).eval()
    off = (encode(by_hand, cases["encode"], cases["instruction"]) - got).abs().max().item()
    print(f"{name}: {off:.1e} off weights that were merged by hand")
    if not off <= MERGE_TOLERANCE:
        raise SystemExit(f"{name} is not what its folders hold: off by {off:.2e}")


def record_published(
    folder: Path, tokenizer: Any, heads: tuple[int, int], pooling: str, cases: dict[str, Any]
) -> Iterator[tuple[str, Tensor]]:
    """Yield ``published.*``, and fill ``cases["published"]``."""
    base, mntp, supervised = make_published(folder, tokenizer, heads, pooling)
    cases["published"] = {
        "base": "published/base",
        "mntp": "published/mntp",
        "supervised": "published/supervised",
        "prompted": list(PROMPTED),
    }
    texts, instruction = cases["encode"], cases["instruction"]
    model = load(mntp)
    vectors = encode(model, texts, instruction)
    assert_merged("published.mntp", model, merged_by_hand(base, mntp), cases, vectors)
    yield "published.mntp", vectors

    model = load(mntp, peft_model_name_or_path=str(supervised))
    vectors = encode(model, texts, instruction)
    assert_merged("published.supervised", model, merged_by_hand(base, mntp, supervised), cases, vectors)
    yield "published.supervised", vectors
    for number, name in enumerate(PROMPTED):
        model.model.config._name_or_path = name
        yield f"published.prompted.{number}", encode(model, texts, instruction)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write UTF-8 with a line break at the end."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def collect(expected: dict[str, Tensor], record: Callable[[], Iterator[tuple[str, Tensor]]]) -> None:
    """Keep what a recorder yields; numbers that are not finite are an error."""
    for name, tensor in record():
        if not tensor.isfinite().all():
            raise SystemExit(f"{name} is not finite")
        expected[name] = tensor.detach().clone().contiguous()


def record(output: Path, seed: int) -> None:
    """Write all of it under ``output``, whose former recording is removed."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    backbone, folder = output / "backbone", output / "llm2vec"
    for old in (backbone, folder):
        shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True)

    tokenizer = learn_tokenizer(with_bos=seed % 2 == 1)
    heads = HEADS[seed % len(HEADS)]
    pad = tokenizer.eos_token_id if seed % 2 == 0 else None
    make_llama(backbone, tokenizer, layers=LAYERS[seed % len(LAYERS)], heads=heads, pad=pad)
    groups = ("query", "positive", "negative")
    cases: dict[str, Any] = {
        "instruction": INSTRUCTIONS[seed % len(INSTRUCTIONS)],
        "encode": draw_texts(rng, rng.randint(8, 14)),
        "supervised": [dict(zip(groups, draw_texts(rng, 3), strict=True)) for _ in range(rng.randint(6, 12))],
        "supervised_scale": SCALE,
        "mask_token": MASK,
        "recorded_with": {"seed": seed}
        | {name: version(name) for name in ("llm2vec", "transformers", "peft", "tokenizers", "torch")},
    }
    assert_cut_differently(tokenizer, cases["instruction"], cases["encode"])
    batch = mask_rows(rng, tokenizer, draw_texts(rng, rng.randint(5, 8)))
    pooling = ("mean", "weighted_mean")[seed % 2]

    expected: dict[str, Tensor] = {}
    collect(expected, lambda: record_encode(backbone, cases))
    collect(expected, lambda: record_mntp(backbone, batch))
    collect(expected, lambda: record_supervised(backbone, cases))
    collect(expected, lambda: record_families(folder / "families", tokenizer, rng, cases))
    collect(expected, lambda: record_published((folder / "published").resolve(), tokenizer, heads, pooling, cases))
    write_json(folder / "cases.json", cases)
    save_file(expected, folder / "expected.safetensors")
    print(f"{output}: {len(expected)} tensors, seed {seed}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path, metavar="OUTPUT")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    record(args.output, args.seed)


if __name__ == "__main__":
    main()
