from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from genembench.problem import Problem
from methods.parts.backbone import load_model, load_tokenizer
from runners.new_backbone import Shape, learn_tokenizer, random_llama
from tests.conftest import CHECKOUT, command_environment

TINY = Shape(hidden=16, layers=2, heads=4, key_value_heads=2, intermediate=24, vocabulary=300, context=40)
TEXTS = ["the cat sees the dog", "the dog sees the cat", "a cat and a dog and the fox"] * 3
FOREIGN = [
    "caf\u00e9 \U0001f98a\U0001f3fd",
    "  two  spaces\nand a line\t",
    "don't 123,456",
    "\u4f60\u597d",
    "\u200d",
    "cat",
]


def test_a_tokenizer_spells_every_text_and_puts_a_beginning_in_front(tmp_path: Path) -> None:
    learn_tokenizer(TEXTS, TINY).save_pretrained(tmp_path)
    random_llama(learn_tokenizer(TEXTS, TINY), TINY, 0).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    for text in (*TEXTS, *FOREIGN):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1
        assert max(ids) < len(tokenizer) <= 300
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids[1:]
    assert tokenizer.model_max_length == 40
    assert [tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token] == ["<s>", "</s>", "<pad>"]
    # What stood in the texts often is one token, what did not is spelt in bytes: four of them a fox.
    assert len(tokenizer(" the", add_special_tokens=False)["input_ids"]) == 1
    assert len(tokenizer("\U0001f98a", add_special_tokens=False)["input_ids"]) == 4


LEARN = """
from itertools import islice
from benchmarks.demo.rows import text
from runners.new_backbone import Shape, learn_tokenizer

texts = [row["text"] for row in islice(text(), 300)]
learnt = learn_tokenizer(texts, Shape(vocabulary=600)).backend_tokenizer.to_str()
"""


def test_the_same_texts_give_the_same_tokenizer_in_every_process() -> None:
    # Rust's hash tables are seeded anew in each; a resumed pre-training learns its tokenizer again.
    here: dict[str, Any] = {}
    exec(LEARN, here)
    command = [sys.executable, "-c", f"{LEARN}\nprint(learnt)"]
    done = subprocess.run(command, cwd=CHECKOUT, env=command_environment(), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(here["learnt"])
    assert len(json.loads(done.stdout)["model"]["merges"]) == 600 - 256 - 3


def test_a_model_has_the_shape_that_was_asked_for_and_the_weights_of_its_seed() -> None:
    tokenizer = learn_tokenizer(TEXTS, TINY)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, same, other = (random_llama(tokenizer, TINY, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    # Embeddings once (tied), then for each of two layers: query and output 16x16, key and value 16x8, three of the
    # gated MLP 16x24, two norms; one norm at the end.
    layer = 2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 24 + 2 * 16
    assert sum(p.numel() for p in one.parameters()) == len(tokenizer) * 16 + 2 * layer + 16
    assert one.config.max_position_embeddings == 40
    assert one.lm_head.weight is one.model.embed_tokens.weight


def test_it_is_loaded_as_every_backbone(tmp_path: Path) -> None:
    tokenizer = learn_tokenizer(TEXTS, TINY)
    made = random_llama(tokenizer, TINY, 0).eval()
    made.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ids = torch.tensor([load_tokenizer(tmp_path)("the cat")["input_ids"]])
    with torch.no_grad():
        body = load_model(tmp_path, device=torch.device("cpu"))
        torch.testing.assert_close(body(input_ids=ids).last_hidden_state, made.model(input_ids=ids).last_hidden_state)


@pytest.mark.parametrize(
    ("numbers", "what", "hint"),
    [
        ({"hidden": 18}, "hidden=18 cannot be shared by 4 heads", "even number of dimensions"),
        ({"hidden": 12}, "hidden=12 cannot be shared by 4 heads", "even number of dimensions"),
        ({"key_value_heads": 3}, "4 heads cannot share 3 key-value heads", "multiple"),
        ({"key_value_heads": 8}, "4 heads cannot share 8 key-value heads", "multiple"),
        ({"vocabulary": 258}, "a vocabulary of 258 has no room for 256 bytes and 3 special tokens", "at least 259"),
        ({"context": 1}, "a context of 1 has no room for a token behind <s>", "at least 2"),
    ],
)
def test_numbers_that_make_no_transformer_are_refused(numbers: dict[str, int], what: str, hint: str) -> None:
    fine = {"hidden": 16, "heads": 4, "key_value_heads": 4, "intermediate": 24, "layers": 2}
    with pytest.raises(Problem) as caught:
        Shape(**fine | numbers)
    assert what in caught.value.what
    assert hint in caught.value.hint


def test_the_smallest_numbers_will_do() -> None:
    shape = Shape(hidden=8, layers=1, heads=4, key_value_heads=1, intermediate=1, vocabulary=259, context=2)
    assert len(learn_tokenizer(TEXTS, shape)) == 259
