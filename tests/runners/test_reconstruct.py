from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from benchmarks.order import example_id
from genembench.problem import Problem
from methods.autoregembed import PROMPT
from methods.encoder import make_encoder, write_manifest
from methods.parts.backbone import load_model, load_tokenizer
from methods.parts.decode import Decoder
from methods.registry import discover
from runners.engine import Engine
from runners.reconstruct import main
from runners.reconstruction import OTHERS, Reader, reconstruct
from runners.stages import FromFiles
from runners.trainer import Trainer
from tests.conftest import Command

METHOD = "autoregembed-compress-only"
TEXTS = ["the red ball", "the broken mirror", "the golden lamp", "a wagon"]
TWO = ["the cat sees a ball", "a dog near the bridge"]


# ------------------------------------------------------------------------------------- a run, through the command


@pytest.fixture(scope="module")
def output(
    genembench: Command, tiny_backbone: Path, tiny_instruct: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output folder of one training by the real command; tests only read it, or copy it."""
    folder = tmp_path_factory.mktemp("reconstruct") / "out"
    options = {
        "method": METHOD,
        "backbone": tiny_backbone,
        "instruct": tiny_instruct,
        "budget": "instruct=16",
        "preset": "small",
        "set": f"{METHOD}.compress_batch_size=8",
        "device": "cpu",
        "output": folder,
    }
    result = genembench("train", *(f"--{name}={value}" for name, value in options.items()))
    assert result.returncode == 0, result.stderr
    return folder


def run_of(output: Path) -> Path:
    (run,) = (output / "runs").iterdir()
    return run


@pytest.fixture
def copy(output: Path, tmp_path: Path) -> Path:
    """A run of its own to change."""
    return run_of(shutil.copytree(output, tmp_path / "copy"))


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(file.read_text(encoding="utf-8"))
    change(values)
    file.write_text(json.dumps(values), encoding="utf-8")


def lines(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[dict[str, Any]]:
    assert main([*map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_command_decodes_each_text_and_says_how_well_it_is_remembered(genembench: Command, output: Path) -> None:
    result = genembench("reconstruct", run_of(output), *TWO, "--json", "--max-tokens=5", "--device=cpu")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["text"] for each in found] == TWO
    for each in found:
        assert set(each) == {"text", "decoded", "ended", "logp_per_token", "logp_behind_others"}
        assert each["logp_per_token"] < 0
        assert each["logp_behind_others"] < 0


def test_in_words(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, run_of(output), *TWO)
    assert main([str(run_of(output)), *TWO]) == 0
    blocks = [block.splitlines() for block in capsys.readouterr().out.rstrip("\n").split("\n\n")]
    assert len(blocks) == 2
    for (text, decoded, memory), each in zip(blocks, found, strict=True):
        assert text == f'text     "{each["text"]}"'
        assert decoded.startswith(f"decoded  {json.dumps(each['decoded'], ensure_ascii=False)}")
        assert memory == (
            f"memory   {each['logp_per_token']:.2f} nats a token; behind other texts' compressed tokens "
            f"{each['logp_behind_others']:.2f}"
        )


def test_the_encoder_in_the_run_is_as_good_as_the_run(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, run_of(output), *TWO) == lines(capsys, run_of(output) / "encoder", *TWO)


def test_texts_come_from_standard_input(
    output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = lines(capsys, run_of(output), *TWO, "a ball")
    given = f"{TWO[0]}\r\n\n  \n{TWO[1]}\n".encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert lines(capsys, run_of(output), "-", "a ball") == expected


def test_a_text_alone_has_no_others_to_compare_with(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone, again = lines(capsys, run_of(output), TWO[0], TWO[0])
    assert alone == again
    assert alone["logp_behind_others"] is None
    assert main([str(run_of(output)), TWO[0]]) == 0
    assert "other texts" not in capsys.readouterr().out


def test_a_backbone_that_was_moved_is_found_by_its_option(
    copy: Path, tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    expected = lines(capsys, copy, *TWO)
    moved = shutil.copytree(tiny_backbone, tmp_path / "elsewhere")
    edit(copy / "run.json", lambda record: record["backbone"].update(given="gone/backbone"))
    with pytest.raises(Problem, match=r"gone/backbone(.|\n)*say where that is with --backbone"):
        main([str(copy), *TWO])
    assert lines(capsys, copy, *TWO, f"--backbone={moved}") == expected
    with (moved / "config.json").open("a") as file:
        file.write("\n")
    with pytest.raises(Problem, match=r"elsewhere is not the one that run autoregembed-compress-only-"):
        main([str(copy), *TWO, f"--backbone={moved}"])


def test_any_method_that_has_what_it_takes_can_be_reconstructed(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom methods.autoregembed import AutoRegEmbed\n"
        "from methods.registry import register\n\n"
        '@register("mine")\n@dataclass(frozen=True, kw_only=True)\nclass Mine(AutoRegEmbed):\n    pass\n'
    )
    expected = lines(capsys, copy, *TWO)
    edit(copy / "encoder" / "encoder.json", lambda facts: facts.update(method="mine", method_file=str(file)))
    assert lines(capsys, copy, *TWO) == expected
    file.unlink()
    with pytest.raises(Problem, match=r"mine\.py: no such file"):
        main([str(copy), *TWO])


# ------------------------------------------------------------------------------------- what compressed tokens hold


@pytest.fixture(scope="module")
def learnt(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Compression trained until it knows `TEXTS` by heart, in front of a backbone whose weights are not tiny.

    (The logits of the tiny backbone lie between -1 and 1 whatever it reads: nothing can make it sure of a word.)
    """
    folder = tmp_path_factory.mktemp("learnt")
    backbone = folder / "backbone"
    model = load_model(tiny_backbone, device=torch.device("cpu"), head=True)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(20)
    model.save_pretrained(backbone)
    load_tokenizer(tiny_backbone).save_pretrained(backbone)

    rows = [{"context": text, "instruction": PROMPT, "target": text} for text in TEXTS]
    values = {"compress_learning_rate": "5e-3", "compress_batch_size": "4", "compress_epochs": "400"}
    method = discover().get(METHOD).create("small", values)
    (stage,) = method.stages()
    start = FromFiles(backbone, backbone, Engine())
    torch.manual_seed(0)
    trained = stage.build(start)
    ids = [example_id("instruct", row) for row in rows]
    Trainer(stage, trained, ids, rows, engine=Engine(), seed=0, folder=folder).train()
    stage.finish(trained, folder / "weights")
    encoder = make_encoder(METHOD, method, "", folder / "weights")
    return Reader(encoder, Decoder(start.untouched()), load_tokenizer(backbone))


class Plain:
    """The same by transformers alone: one text at a time, no padding, no cache, all logits."""

    def __init__(self, reader: Reader) -> None:
        folder, backbone = (str(one.config.name_or_path) for one in (reader.encoder.body, reader.decoder.model))
        self.body: Any = AutoModel.from_pretrained(folder).eval()
        self.decoder: Any = AutoModelForCausalLM.from_pretrained(backbone).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    @torch.no_grad()
    def prefix(self, text: str, instruction: str) -> torch.Tensor:
        marks = self.tokenizer.convert_tokens_to_ids([f"<EMBED{i}>" for i in range(5)])
        ids = [self.tokenizer.bos_token_id, *self.ids(text + "\n"), *self.ids(instruction + "\n"), *marks]
        found: torch.Tensor = self.body(input_ids=torch.tensor([ids])).last_hidden_state[:, -5:]
        return found

    @torch.no_grad()
    def logits(self, prefix: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
        """Logits at the positions that predict ``ids`` and what follows them."""
        tokens = self.decoder.get_input_embeddings()(torch.tensor([list(ids)], dtype=torch.long))
        found: torch.Tensor = self.decoder(inputs_embeds=torch.cat([prefix, tokens], dim=1)).logits[0, 4:]
        return found

    def logp_per_token(self, prefix: torch.Tensor, text: str) -> float:
        ids = [*self.ids(text), self.tokenizer.eos_token_id]
        logp = self.logits(prefix, ids[:-1]).log_softmax(-1)
        return logp[torch.arange(len(ids)), ids].mean().item()

    def greedy(self, prefix: torch.Tensor, limit: int) -> tuple[list[int], bool]:
        written: list[int] = []
        while len(written) < limit:
            following = int(self.logits(prefix, written)[-1].argmax())
            if following == self.tokenizer.eos_token_id:
                return written, True
            written.append(following)
        return written, False


def test_what_was_learnt_by_heart_is_decoded_to_the_letter(learnt: Reader) -> None:
    found = reconstruct(learnt, TEXTS)
    assert [(each.decoded, each.ended) for each in found] == [(text, True) for text in TEXTS]
    for each in found:
        assert each.logp_behind_others is not None
        # Less than a nat a token where the text's own tokens are read, a guess behind those of the others.
        assert each.logp_per_token > -1
        assert each.logp_behind_others < -4


@pytest.mark.parametrize("instruction", [None, "Where are they?"])
def test_numbers_and_answers_are_those_of_transformers_alone(learnt: Reader, instruction: str | None) -> None:
    texts = ["a wagon", "the nurse counts a bright candle near the bridge", "🦊", "the red ball"]
    plain = Plain(learnt)
    prefixes = [plain.prefix(text, instruction or PROMPT) for text in texts]
    for i, each in enumerate(reconstruct(learnt, texts, instruction=instruction, max_tokens=12)):
        assert each.text == texts[i]
        assert each.logp_per_token == pytest.approx(plain.logp_per_token(prefixes[i], texts[i]), abs=1e-4)
        others = [plain.logp_per_token(prefixes[j], texts[i]) for j in range(4) if j != i]
        assert each.logp_behind_others == pytest.approx(sum(others) / 3, abs=1e-4)
        written, ended = plain.greedy(prefixes[i], 12)
        assert (each.decoded, each.ended) == (learnt.tokenizer.decode(written), ended)


def test_the_instruction_is_what_compression_is_asked_for(learnt: Reader) -> None:
    own = reconstruct(learnt, TEXTS)
    assert reconstruct(learnt, TEXTS, instruction=PROMPT) == own
    assert reconstruct(learnt, TEXTS, instruction="Where are they?") != own


def test_an_answer_is_cut_at_the_limit(learnt: Reader) -> None:
    ids = learnt.tokenizer("the red ball", add_special_tokens=False)["input_ids"]
    assert len(ids) > 2
    (found,) = reconstruct(learnt, ["the red ball"], max_tokens=2)
    assert (found.decoded, found.ended) == (learnt.tokenizer.decode(ids[:2]), False)


def test_decoding_is_greedy_whatever_the_backbone_prefers(learnt: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = reconstruct(learnt, TEXTS)
    model: Any = learnt.decoder.model
    wild = GenerationConfig(do_sample=True, temperature=9.0, repetition_penalty=9.0, max_new_tokens=3, min_new_tokens=3)
    monkeypatch.setattr(model, "generation_config", wild)
    assert reconstruct(learnt, TEXTS) == expected


def test_many_texts_are_compared_with_a_few_of_the_others(learnt: Reader) -> None:
    texts = [f"the cat {i}" for i in range(OTHERS + 3)]
    plain = Plain(learnt)
    found = reconstruct(learnt, [texts[0], *texts], max_tokens=1)
    # Those that follow, around the end; the same text once more is no other text.
    wanted = [plain.logp_per_token(plain.prefix(text, PROMPT), texts[0]) for text in texts[1 : 1 + OTHERS]]
    assert found[0].logp_behind_others == pytest.approx(sum(wanted) / OTHERS, abs=1e-4)


def test_an_answer_longer_than_the_backbone_reads_is_refused(learnt: Reader) -> None:
    with pytest.raises(Problem, match=r"--max-tokens 508 is more than the backbone can write\n.*up to 507"):
        reconstruct(learnt, TEXTS, max_tokens=508)


def test_a_text_longer_than_the_backbone_reads_is_scored_as_far_as_it_does(learnt: Reader) -> None:
    text = "the cat sees a red ball " * 200
    plain = Plain(learnt)
    assert len(plain.ids(text)) > 600
    prefix = learnt.encoder.method.tokenize(learnt.encoder.tokenizer, [text], "query", "train")[0].ids
    assert len(prefix) == 512
    with torch.no_grad():
        prefix_1kD = plain.body(input_ids=torch.tensor([prefix])).last_hidden_state[:, -5:]
    ids = plain.ids(text)[:508]
    logp = plain.logits(prefix_1kD, ids[:-1]).log_softmax(-1)[torch.arange(508), ids]
    (found,) = reconstruct(learnt, [text], max_tokens=1)
    assert found.logp_per_token == pytest.approx(logp.mean().item(), abs=1e-4)


# ------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([""], "text 1 is empty"),
        (["a ball", " \n"], "text 2 is empty"),
        (["a \udcff ball"], "text 1 is not UTF-8"),
        (["-"], "standard input holds no text"),
        (["-", "-"], "- was given 2 times"),
        (["a ball", "--instruction="], "--instruction is empty"),
    ],
)
def test_texts_that_are_none_are_refused(
    output: Path, texts: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n  \n")))
    with pytest.raises(Problem, match=message):
        main([str(run_of(output)), *texts])


def test_standard_input_that_is_not_utf_8_is_refused(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a ball\n\xff\n")))
    with pytest.raises(Problem, match="standard input is not UTF-8: invalid start byte at byte 7"):
        main([str(run_of(output)), "-"])


def test_what_is_no_run_is_refused(output: Path, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"nowhere is not a run: it has no run\.json\n.*runs/<id>"):
        main([str(tmp_path / "nowhere"), "a ball"])
    # Above the runs, they are named.
    with pytest.raises(Problem, match=rf"is not a run(.|\n)*Give one of its runs: .*{run_of(output).name}"):
        main([str(output), "a ball"])


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": "compare"}', '{"run": "x", "method": null, "backbone": null}'])
def test_a_record_that_is_none_is_refused(copy: Path, text: str) -> None:
    (copy / "run.json").write_text(text)
    with pytest.raises(Problem, match=r"run\.json (cannot be read|is not the record of a run)"):
        main([str(copy), "a ball"])


def test_a_run_that_is_not_finished_is_refused(copy: Path) -> None:
    edit(copy / "run.json", lambda record: record.update(status="diverged", reason="loss nan"))
    with pytest.raises(Problem, match=r"run autoregembed-compress-only-\S+ is not finished: diverged \(loss nan\)"):
        main([str(copy), "a ball"])
    (copy / "run.json").unlink()
    partial = copy.rename(copy.parent / f".partial-{copy.name}")
    for given in (copy, partial):
        with pytest.raises(Problem, match=rf"run {copy.name} is not finished: it has no run\.json yet"):
            main([str(given), "a ball"])


def _record(folder: Path, method: str, backbone: dict[str, str] | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {"run": folder.name, "status": "done", "reason": "", "method": {"name": method}, "backbone": backbone}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")


def _encoder(folder: Path, method: str, weights: Path, method_file: Path | None = None) -> None:
    (folder / "encoder").mkdir(parents=True)
    made = discover([method_file] if method_file else []).get(method).create("default")
    write_manifest(folder / "encoder", name=method, method=made, method_file=method_file, weights=str(weights))


def test_methods_that_no_decoder_reads_are_refused_with_those_it_does(tiny_backbone: Path, tmp_path: Path) -> None:
    facts = {"given": str(tiny_backbone), "address": "0"}
    _record(tmp_path / "untrained-mean-0", "untrained-mean", facts)
    _encoder(tmp_path / "untrained-mean-0", "untrained-mean", tiny_backbone)
    _record(tmp_path / "minilm-0", "minilm", None)
    for run, what in (("untrained-mean-0", "method untrained-mean"), ("minilm-0", "a finished model, minilm")):
        with pytest.raises(Problem, match=f"run {run} is of {what}, whose vectors no decoder can read") as caught:
            main([str(tmp_path / run), "a ball"])
        assert "autoregembed, autoregembed-align-only, autoregembed-compress-only" in caught.value.hint
        assert "infonce" not in caught.value.hint


def test_a_refusal_is_two_lines_and_exit_code_2(genembench: Command, tmp_path: Path) -> None:
    result = genembench("reconstruct", tmp_path / "nowhere", "a ball")
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 2
    assert result.stderr.startswith("genembench: ")
