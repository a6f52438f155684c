"""Published LLM2Vec models: weights merged by hand, a plain forward pass, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, LlamaConfig, LlamaForCausalLM

from genembench.problem import Problem
from methods.contract import Role
from methods.parts.adapter import adapted
from methods.parts.backbone import load_model, load_tokenizer
from methods.published import Parts, Published, check, load_published, read_method
from tests.methods.published_folders import Folders, add_adapter, change, llama, merged_by_hand

INSTRUCTION = "Retrieve semantically similar text:"
TEXTS = ["the cat sees a red ball", "a pilot", "the judge mends the small wooden lamp near the bridge, twice"]
LLAMA_3 = "meta-llama/Meta-Llama-3-8B-Instruct"


@pytest.fixture
def folders(tiny_backbone: Path, tmp_path: Path) -> Folders:
    return Folders.make(tmp_path, tiny_backbone)


def parts(folders: Folders) -> Parts:
    return Parts(folders.base, (folders.mntp, folders.supervised))


def by_hand(folders: Folders, role: Role, pooling: str, skip: bool) -> torch.Tensor:
    """Vectors ``[B, D]`` of `TEXTS`, by what the package's documentation says and its source does."""
    weights = merged_by_hand(folders.base, [folders.mntp, folders.supervised])
    config = json.loads((folders.base / "config.json").read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(folders.base)
    vectors = []
    for text in TEXTS:
        end = " </s>" if pooling == "eos_token" else ""
        said = "" if role == "document" else f"{INSTRUCTION} "
        ids = tokenizer(said + text + end)["input_ids"]
        count = len(tokenizer(text + end, add_special_tokens=False)["input_ids"]) if skip else len(ids)
        hidden = llama(weights, config, ids)
        read = hidden[-count:]
        places = torch.arange(1, count + 1, dtype=torch.float32)
        vectors.append(
            {
                "mean": read.mean(0),
                "weighted_mean": places @ read / places.sum(),
                "last_token": hidden[-1],
                "eos_token": hidden[-1],
                "bos_token": hidden[0],
            }[pooling]
        )
    return torch.nn.functional.normalize(torch.stack(vectors), dim=-1)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "weighted_mean", "last_token", "eos_token", "bos_token"])
def test_vectors_are_those_of_weights_merged_by_hand(folders: Folders, pooling: str, skip: bool) -> None:
    change(folders.supervised / "llm2vec_config.json", pooling_mode=pooling, skip_instruction=skip)
    encoder = load_published("x", parts(folders), content="")
    roles: tuple[Role, ...] = ("query", "document", "symmetric")
    for role in roles:
        np.testing.assert_allclose(encoder.encode(TEXTS, role), by_hand(folders, role, pooling, skip), atol=2e-5)


def test_every_adapter_counts_and_the_first_token_sees_the_last(folders: Folders) -> None:
    alone = load_published("x", Parts(folders.base, (folders.mntp,)), content="").encode(TEXTS)
    both = load_published("x", parts(folders), content="").encode(TEXTS)
    other = load_published("x", Parts(folders.base), content="").encode(TEXTS)
    for one, another in ((alone, both), (alone, other), (both, other)):
        assert np.abs(one - another).max() > 1e-2


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        (LLAMA_3, "<|start_header_id|>user<|end_header_id|>\n\nsay: a b<|eot_id|>"),
        ("meta-llama/Llama-2-7b-chat-hf", "[INST] say: a b [/INST]"),
        ("mistralai/Mistral-7B-Instruct-v0.2", "[INST] say: a b [/INST]"),
        ("google/gemma-2-9b-it", "<bos><start_of_turn>user\nsay: a b<end_of_turn>"),
        ("Qwen/Qwen2-7B-Instruct", "<|im_start|>user\nsay: a b<|im_end|>"),
        ("meta-llama/Meta-Llama-3-8B", "say: a b \n"),
        ("/elsewhere/base", "say: a b \n"),
    ],
)
@pytest.mark.parametrize("recorded_in", ["config", "adapter"])
def test_the_wrapper_goes_by_the_recorded_name(folders: Folders, name: str, whole: str, recorded_in: str) -> None:
    if recorded_in == "config":
        change(folders.mntp / "config.json", _name_or_path=name)
    else:
        change(folders.mntp / "config.json", _name_or_path=None)
        change(folders.mntp / "adapter_config.json", base_model_name_or_path=name)
    tokenizer = load_tokenizer(folders.base)
    method = read_method(parts(folders), tokenizer)
    said = Published(**method.config() | {"instruction": " say: "})
    (row,) = said.tokenize(tokenizer, ["a b \n"], "query", "evaluate")
    assert row.ids == tokenizer(whole)["input_ids"]
    # The closing is read, the opening and the instruction are not.
    tail = whole[whole.index("a b") :]
    assert sum(row.content) == len(tokenizer(tail, add_special_tokens=False)["input_ids"])
    assert row.content == sorted(row.content)


@pytest.mark.parametrize(
    ("name", "model_type", "end"),
    [
        ("x", "llama", " </s>"),
        ("x", "mistral", " </s>"),
        ("x", "gemma", "<eos>"),
        ("x", "qwen2", "<|endoftext|>"),
        ("x", "gpt2", ""),
        ("meta-llama/Meta-Llama-3-8B", "llama", "<|end_of_text|>"),
        (LLAMA_3, "llama", "<|eot_id|>"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama", " [/INST] </s>"),
    ],
)
def test_the_end_token_is_the_one_the_package_writes(folders: Folders, name: str, model_type: str, end: str) -> None:
    change(folders.supervised / "llm2vec_config.json", pooling_mode="eos_token")
    change(folders.mntp / "config.json", _name_or_path=name)
    change(folders.base / "config.json", model_type=model_type)
    assert read_method(parts(folders), load_tokenizer(folders.mntp)).closing == end


def test_a_model_without_adapters_goes_by_its_hub_id_else_by_its_own_record(folders: Folders) -> None:
    assert Parts(folders.base, hub_id=LLAMA_3).known_as() == LLAMA_3
    change(folders.base / "config.json", _name_or_path="saved/as/this")
    assert Parts(folders.base).known_as() == "saved/as/this"
    # With adapters, the base's own name means nothing: they say what they were trained with.
    assert Parts(folders.base, (folders.mntp,), LLAMA_3).known_as() == "/elsewhere/base"


def test_settings_that_are_not_there_are_the_packages(folders: Folders) -> None:
    method = read_method(Parts(folders.base, (folders.mntp,)), load_tokenizer(folders.base))
    assert (method.readout_kind, method.max_length, method.max_text_length, method.content) == (
        "mean",
        512,
        400,
        "text",
    )


def test_long_texts_lose_words_and_long_rows_their_end(folders: Folders) -> None:
    tokenizer = load_tokenizer(folders.base)
    method = Published(max_text_length=10, max_length=24, instruction="say:", closing="<end>")
    text = "the cat sees a red ball and the dog follows a pilot behind the old mill"
    (row,) = method.tokenize(tokenizer, [text], "query", "evaluate")
    kept = tokenizer.decode([i for i, read in zip(row.ids, row.content, strict=True) if read])
    words = str(kept).removesuffix("<end>").split()
    assert words == text.split()[: len(words)]
    assert 0 < len(tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]) <= 10
    # A word of its own cannot lose words.
    (row,) = method.tokenize(tokenizer, ["x" * 40], "document", "evaluate")
    assert str(tokenizer.decode(row.ids)).endswith("x" * 10 + "<end>")
    # The row is cut at its end, the wrapper too.
    short = Published(max_length=8, instruction="say:", closing="<end>")
    (row,) = short.tokenize(tokenizer, [text], "query", "evaluate")
    assert row.ids == tokenizer(f"say: {text}<end>")["input_ids"][:8]
    assert all(row.content)


def test_an_empty_text_has_a_vector(folders: Folders) -> None:
    encoder = load_published("x", parts(folders), content="")
    roles: tuple[Role, ...] = ("query", "document")
    for role in roles:
        assert np.isfinite(encoder.encode(["", " ", "\n"], role)).all()


def test_code_that_lies_with_a_model_is_not_run(folders: Folders) -> None:
    shutil.copy(folders.mntp / "config.json", folders.base / "config.json")
    shutil.copy(folders.mntp / "modeling_trap.py", folders.base)
    check(parts(folders))
    load_published("x", parts(folders), content="")
    change(folders.base / "config.json", model_type="trap")
    with pytest.raises(Problem, match="no model can be made from"):
        check(parts(folders))


def test_adapters_of_other_habits_are_merged_too(folders: Folders) -> None:
    """A rank of its own for some layers, rank-stabilised scaling, weights in bfloat16."""
    shutil.rmtree(folders.supervised)
    add_adapter(folders.supervised, folders.base, rank=4, alpha=8, seed=3, rank_pattern={"q_proj": 2}, use_rslora=True)
    file = folders.supervised / "adapter_model.safetensors"
    factors = {name: tensor.bfloat16() for name, tensor in load_file(file).items()}
    save_file(factors, file)
    body = load_model(folders.base, device=torch.device("cpu"), causal=False)
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    after = adapted(body, folders.supervised).merge_and_unload().state_dict()
    assert after.keys() == before.keys()
    changed = 0
    for name, tensor in after.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}.lora_"
        if f"{stem}A.weight" in factors:
            first, second = (factors[f"{stem}{side}.weight"].float() for side in "AB")
            wanted = before[name] + 8 / len(first) ** 0.5 * second @ first
            torch.testing.assert_close(tensor, wanted, atol=1e-6, rtol=1e-5)
            changed += 1
        else:
            assert torch.equal(tensor, before[name])
    assert changed == 14


def test_a_tensor_too_many_or_too_few_is_refused(folders: Folders) -> None:
    file = folders.supervised / "adapter_model.safetensors"
    stored = load_file(file)
    name = min(stored)
    save_file({key: tensor for key, tensor in stored.items() if key != name}, file)
    with pytest.raises(Problem, match=rf"does not fit LlamaModel: missing tensors: 1, such as {name}"):
        check(parts(folders))
    # As saved from a model with a head around the body: peft alone would load nothing of it and say nothing.
    around = {key.replace("base_model.model.", "base_model.model.model."): tensor for key, tensor in stored.items()}
    save_file(around, file)
    with pytest.raises(Problem, match="tensors without a place: 28, such as"):
        load_published("x", parts(folders), content="")


def test_an_adapter_of_another_base_is_refused(folders: Folders, tmp_path: Path) -> None:
    config = LlamaConfig.from_pretrained(folders.base)
    config.hidden_size = 48
    LlamaForCausalLM(config).save_pretrained(tmp_path / "other")
    shutil.rmtree(folders.supervised)
    add_adapter(folders.supervised, tmp_path / "other", rank=3, alpha=3, seed=0)
    with pytest.raises(
        Problem, match=r"is of another model: .* has shape \(\d+, \d+\), this LlamaModel needs"
    ) as caught:
        check(parts(folders))
    assert str(tmp_path / "other") in caught.value.hint


def test_what_is_damaged_or_unknown_is_refused(folders: Folders) -> None:
    def refused(what: str) -> None:
        with pytest.raises(Problem, match=what):
            check(parts(folders))

    settings = folders.supervised / "llm2vec_config.json"
    good = settings.read_bytes()
    for values, what in (
        ({"pooling_mode": "eos_tokens"}, r"unknown pooling_mode in .*'eos_tokens'(.|\n)*Did you mean eos_token"),
        ({"pooling_mode": 3}, "pooling_mode is 3"),
        ({"max_length": 0}, "max_length is 0"),
        ({"skip_instruction": "no"}, "skip_instruction is 'no'"),
        ({"pool": "mean"}, "unknown setting in .*'pool'"),
    ):
        change(settings, **values)
        refused(what)
        settings.write_bytes(good)
    settings.write_text("[1]", encoding="utf-8")
    refused("holds a list, not an object")
    settings.write_text("{", encoding="utf-8")
    refused("llm2vec_config.json cannot be read")
    settings.write_bytes(good)

    adapter = folders.mntp / "adapter_config.json"
    good = adapter.read_bytes()
    change(adapter, peft_type="IA3")
    refused("is an adapter of kind IA3")
    change(adapter, peft_type="LORA", target_modules=["query"])
    refused("cannot be loaded: Target modules")
    adapter.write_text("{", encoding="utf-8")
    refused("adapter_config.json cannot be read")
    adapter.write_bytes(good)

    weights = folders.mntp / "adapter_model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-10])
    refused("cannot be loaded")
    weights.unlink()
    refused("has no adapter_model.safetensors")
    weights.write_bytes(good)
    check(parts(folders))

    whole = folders.base / "model.safetensors"
    whole.write_bytes(whole.read_bytes()[:-10])
    refused("model.safetensors cannot be read")


def test_bos_without_a_bos_is_refused(folders: Folders) -> None:
    change(folders.supervised / "llm2vec_config.json", pooling_mode="bos_token")
    file = folders.mntp / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(tokenizer | {"post_processor": None}), encoding="utf-8")
    with pytest.raises(Problem, match="reads the BOS token"):
        check(parts(folders))


def test_a_whole_model_is_its_own_first_part(folders: Folders, tmp_path: Path) -> None:
    """What ``LLM2Vec.save`` writes after merging: plain weights of the body, and the settings beside them."""
    body = AutoModel.from_pretrained(folders.base)
    for folder in (folders.mntp, folders.supervised):
        body = adapted(body, folder).merge_and_unload()
    body.save_pretrained(tmp_path / "whole")
    for file in (*folders.base.glob("tokenizer*"), folders.supervised / "llm2vec_config.json"):
        shutil.copy(file, tmp_path / "whole")
    whole = Parts(tmp_path / "whole")
    check(whole)
    wanted = load_published("x", parts(folders), content="").encode(TEXTS)
    np.testing.assert_allclose(load_published("x", whole, content="").encode(TEXTS), wanted, atol=1e-6)
