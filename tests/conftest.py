"""Tiny things that every test may stand on: a backbone, triplets, STS files, and the command itself.

Nothing here needs the network or files outside the checkout, except `shared`, which skips where there are none.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]

SUBJECTS = [
    "cat",
    "dog",
    "fox",
    "crow",
    "pilot",
    "nurse",
    "baker",
    "child",
    "robot",
    "wolf",
    "judge",
    "singer",
    "miller",
    "sailor",
    "teacher",
]
VERBS = [
    "chases",
    "sees",
    "carries",
    "paints",
    "follows",
    "builds",
    "mends",
    "sells",
    "hides",
    "draws",
    "lifts",
    "counts",
]
ADJECTIVES = ["red", "small", "heavy", "broken", "golden", "quiet", "wooden", "strange", "empty", "bright"]
OBJECTS = [
    "ball",
    "river",
    "lamp",
    "ladder",
    "wagon",
    "letter",
    "window",
    "garden",
    "engine",
    "basket",
    "mirror",
    "candle",
]
PLACES = [
    "in the yard",
    "near the bridge",
    "behind the old mill",
    "on a cold morning",
    "under the stairs",
    "at the market",
]


def sentence(random_source: random.Random, words: int = 0) -> str:
    """Make a sentence of the word lists; ``words`` above 0 makes it at least that long."""
    choose = random_source.choice
    parts = [f"the {choose(SUBJECTS)} {choose(VERBS)} a {choose(ADJECTIVES)} {choose(OBJECTS)} {choose(PLACES)}"]
    while sum(len(part.split()) for part in parts) < words:
        parts.append(f"and a {choose(SUBJECTS)} {choose(VERBS)} the {choose(OBJECTS)} {choose(PLACES)}")
    return " ".join(parts)


def write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


# Files that take minutes, the longest first: two processes share the suite file by file, and should end together.
LONG = (
    "runners/test_compare_demo.py",
    "runners/test_compare.py",
    "runners/test_export.py",
    "runners/test_bad_input.py",
    "runners/test_course_command.py",
    "runners/test_published.py",
    "contract/test_methods.py",
    "test_plugins.py",
    "runners/parallel/test_together.py",
    "runners/parallel/test_run.py",
    "runners/test_tune.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files."""
    rank = {CHECKOUT / "tests" / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(LONG)))


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a two-layer Llama (hidden size 32, four heads on two key heads) with a byte-level BPE tokenizer.

    Saved by ``save_pretrained`` as any backbone is: tied embeddings, safetensors, ``<s>`` put in front by the
    tokenizer's post-processor. Random weights of a fixed seed, so two sessions get the same files.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("backbone") / "tiny-llama"
    source = random.Random(0)
    special = ["<s>", "</s>", "<pad>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([sentence(source) for _ in range(200)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=512
    )
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_triplets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON lines of 120 different triplets: some of a few words, some of dozens, some with several negatives.

    No text stands in `tiny_sts`: every row is usable.
    """
    source = random.Random(1)
    rows: dict[str, dict[str, Any]] = {}
    while len(rows) < 120:
        query = sentence(source, words=40 if len(rows) % 5 == 0 else 0)
        if len(rows) % 7 == 0:
            query = " ".join(query.split()[:3]) + f" {len(rows)}"
        negatives = [sentence(source), sentence(source, words=25)]
        rows[query] = {
            "query": query,
            "positive": f"{query.split()[1]} and {sentence(source)}",
            "negative": negatives if len(rows) % 3 == 0 else negatives[0],
        }
    return write_lines(tmp_path_factory.mktemp("triplets") / "triplets.jsonl", list(rows.values()))


@pytest.fixture(scope="session")
def tiny_instruct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON lines of 40 instruct rows, each with a context of its own: some of a few words, some of dozens.

    No text stands in `tiny_sts`: every row is usable.
    """
    source = random.Random(2)
    contexts = list(dict.fromkeys(sentence(source, words=30 if i % 4 == 0 else 0) for i in range(60)))[:40]
    rows = [
        {"context": one, "instruction": source.choice(["Who is it?", "What is done, and where?"]), "target": target}
        for one, target in ((one, " ".join(one.split()[1 : source.randrange(3, 9)])) for one in contexts)
    ]
    return write_lines(tmp_path_factory.mktemp("instruct") / "instruct.jsonl", rows)


@pytest.fixture(scope="session")
def tiny_sts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data folder with 30 pairs each of STS16, STS17 and BIOSSES; the score falls with the words that differ."""
    folder = tmp_path_factory.mktemp("sts")
    for number, task in enumerate(("STS16", "STS17", "BIOSSES")):
        source = random.Random(100 + number)
        rows = []
        for _ in range(30):
            # No triplet begins with this word, so nothing here overlaps with training data.
            first = ["today", *sentence(source).split()]
            changed = set(source.sample(range(1, len(first)), source.randrange(len(first))))
            second = [source.choice(OBJECTS) if i in changed else word for i, word in enumerate(first)]
            same = sum(one == other for one, other in zip(first, second, strict=True))
            rows.append(
                {
                    "sentence1": " ".join(first),
                    "sentence2": " ".join(second),
                    "score": round(5 * same / len(first) + source.random() / 100, 4),
                }
            )
        write_lines(folder / f"{task}.test.jsonl", rows)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ``shared`` next to the checkout, with real models and data; skips where there is none."""
    folder = CHECKOUT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder.name} next to the checkout")
    return folder


Finished = subprocess.CompletedProcess[str]
Command = Callable[..., Finished]


def command_environment(**extra: str) -> dict[str, str]:
    """Return the environment of a command under test: one thread, the hub out of reach, no terminal colours."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **extra}


@pytest.fixture(scope="session")
def genembench() -> Command:
    """Run the real command: ``genembench("compare", "--methods", ...)`` gives code, stdout and stderr.

    Keywords: ``cwd``, ``env`` (additions), ``timeout`` in seconds, ``program`` (instead of ``-m genembench``).
    """

    def run(
        *arguments: str | Path,
        cwd: Path = CHECKOUT,
        env: Mapping[str, str] | None = None,
        timeout: float = 180,
        program: Sequence[str] = ("-m", "genembench"),
    ) -> Finished:
        return subprocess.run(
            [sys.executable, *program, *map(str, arguments)],
            cwd=cwd,
            env=command_environment(**(env or {})),
            timeout=timeout,
            capture_output=True,
            text=True,
        )

    return run
