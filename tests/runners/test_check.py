"""Methods that are broken on purpose: each must be caught by its check and explained to its author."""

from __future__ import annotations

from pathlib import Path

import pytest

from genembench.problem import Problem
from runners.check import find, main, preset_of
from runners.contract_checks import CHECKS, Subject, perform
from runners.contract_checks.subject import make_backbone, training_rows
from runners.new_method import write
from tests.conftest import CHECKOUT, Command

BY_NAME = {check.name: check for check in CHECKS}

Edits = tuple[tuple[str, str], ...]
"""What to replace in the example of `genembench new-method`, and by what."""

# The example's loss, made additive: each query against its own negative.
ADDITIVE: Edits = (
    ('loss_kind = "joint"', 'loss_kind = "additive"'),
    (
        'texts = [row["query"] for row in examples] + [row["positive"] for row in examples]',
        'sides = [[row[name] for row in examples] for name in ("query", "positive", "negative")]\n'
        "        texts = sides[0] + sides[1] + [negatives[0] for negatives in sides[2]]",
    ),
    (
        '.chunk(2)\n        return {"query": queries, "positive": positives}',
        ".chunk(3)[:2]\n        negatives = vectors[2 * len(queries) :]\n"
        "        margins = ((positives - negatives) * queries).sum(dim=1)\n"
        '        return {"pull": LossTerm(-torch.nn.functional.logsigmoid(margins).sum(), weight=len(margins))}\n\n'
        "    def weigh(self, batch):\n"
        '        return {"pull": len(batch) / 3}',
    ),
    ("queries, positives = self.method.pool", "queries, positives = (vectors := self.method.pool"),
    (".chunk(3)[:2]", ").chunk(3)[:2]"),
)


def method(body: str) -> Edits:
    """Add to the class of the method."""
    return (("    def stages(self):", f"{body}\n    def stages(self):"),)


def stage(body: str) -> Edits:
    """Add to the class of the stage."""
    return (("    def collate(self", f"{body}\n    def collate(self"),)


SNEAKY_BUILD = """
    def build(self, start):
        trained = super().build(start)
        {}
        return trained
"""

BROKEN: dict[str, tuple[str, Edits, tuple[str, ...]]] = {
    "no paper": ("facts", (('paper="none yet"', 'paper=""'),), ("facts.paper is ''", "short text")),
    "no parity": (
        "facts",
        (('paper="none yet"', 'paper="none yet", parity=" "'),),
        ("facts.parity is ' '", "short text"),
    ),
    "no documentation": (
        "facts",
        (('hyper(64, "examples in one optimizer step")', "64"),),
        ("hyper-parameter batch_size has no documentation", "hyper(DEFAULT"),
    ),
    "no evidence": (
        "facts",
        (('"my choice: more steps from little data"', '""'),),
        ("preset small does not say where batch_size = 32 comes from", "Hyper(VALUE"),
    ),
    "a preset of nothing": (
        "facts",
        (('{"batch_size": Hyper', '{"batchsize": Hyper'),),
        ("preset small sets batchsize", "Did you mean batch_size?"),
    ),
    "no such data": (
        "facts",
        (('"pull", "triplets"', '"pull", "triplet"'),),
        ("trains on 'triplet'", "Did you mean triplets?"),
    ),
    "json cannot hold it": (
        "configuration",
        (("64, ", "frozenset({64}), "),),
        ("batch_size = frozenset({64}) JSON cannot hold it", "a number, a text, a truth value or None"),
    ),
    "json makes a list of it": (
        "configuration",
        (
            (
                'temperature: float = hyper(0.05, "',
                'layers: tuple = hyper((1, 2), "which"); temperature: float = hyper(0.05, "',
            ),
        ),
        ("layers = (1, 2) comes back from JSON as [1, 2]", "several values as one text"),
    ),
    "text cannot set it": (
        "configuration",
        (("temperature: float = hyper(0.05,", "temperature: float | None = hyper(0.05,"),),
        ("--set faulty.temperature=0.05 gives '0.05', not 0.05", "an int, a float, a str"),
    ),
    "values change by themselves": (
        "configuration",
        method("    def __post_init__(self):\n        object.__setattr__(self, 'batch_size', self.batch_size + 1)\n"),
        ("made from its own configuration, batch_size is 66 and was 65", "__post_init__"),
    ),
    "the end is cut off": (
        "tokenize",
        (
            (
                "prefix=self.prompt).rows(tokenizer, texts, self.max_length)",
                "suffix=self.prompt).rows(tokenizer, texts, 10**9)",
            ),
            ("        return TextTemplate", "        rows = TextTemplate"),
            (
                "10**9)",
                "10**9)\n        end = self.max_length\n"
                "        return [type(row)(row.ids[:end], row.content[:end]) for row in rows]",
            ),
        ),
        ("at its end, of 3000 words", "Cut the text, not the prompt"),
    ),
    "nothing is cut": (
        "tokenize",
        (("texts, self.max_length)", "texts, 10**9)"),),
        ("and max_length is", "Cut the text, not the prompt"),
    ),
    "no content": (
        "tokenize",
        (
            ("        return TextTemplate", "        rows = TextTemplate"),
            (
                "texts, self.max_length)",
                "texts, self.max_length)\n        return [type(r)(r.ids, [False] * len(r)) for r in rows]",
            ),
        ),
        ("has no content position", "Mark at least one token"),
    ),
    "sorted by length": (
        "tokenize",
        (("(tokenizer, texts, self", "(tokenizer, sorted(texts, key=len), self"),),
        ("another row of 'ball' alone than among other texts", "in the order of the texts"),
    ),
    "nothing of nothing": (
        "tokenize",
        (("        return TextTemplate", "        first = texts[0]\n        return TextTemplate"),),
        ("IndexError: list index out of range", "in tokenize: first = texts[0]"),
    ),
    "the last position, padding or not": (
        "vectors",
        method("    def readout(self, hidden_BLD, content_BL):\n        return hidden_BLD[:, -1:]\n"),
        ("padded on the left instead of the right", "hidden[:, -1] is padding"),
    ),
    "normalised over the batch": (
        "vectors",
        method(
            "    def pool(self, readout_BkD):\n        vectors = super().pool(readout_BkD)\n"
            "        return vectors - vectors.mean(dim=0)\n"
        ),
        ("alone instead of among others", "no statistics over the batch"),
    ),
    "one vector for all": (
        "vectors",
        method("    def pool(self, readout_BkD):\n        return torch.ones_like(readout_BkD[:, 0])\n"),
        ("have the same vector", "must depend on its text"),
    ),
    "not a number": (
        "vectors",
        method("    def pool(self, readout_BkD):\n        return super().pool(readout_BkD) / 0 * 0\n"),
        ("is not finite", "division"),
    ),
    "a list of vectors": (
        "vectors",
        method("    def pool(self, readout_BkD):\n        return readout_BkD\n"),
        ("gives [8, 1, 32]", "one vector a text: [B, D]"),
    ),
    "it saves what it started from": (
        "save",
        stage(
            "    def finish(self, trained, folder):\n"
            "        fresh = type(trained.module.body)(trained.module.body.config)\n"
            "        torch.nn.Module.load_state_dict(fresh, START)\n"
            "        fresh.save_pretrained(folder)\n        trained.tokenizer.save_pretrained(folder)\n"
        )
        + stage(
            SNEAKY_BUILD.format("START.update({k: v.clone() for k, v in trained.module.body.state_dict().items()})")
        )
        + (("import torch\n", "import torch\n\nSTART = {}\n"),),
        ("vectors differ by 0.0e+00 from the untrained ones", "finish must write the weights that were trained"),
    ),
    "it forgets the tokenizer": (
        "save",
        stage("    def finish(self, trained, folder):\n        trained.module.body.save_pretrained(folder)\n"),
        ("finish left no tokenizer", "save_merged"),
    ),
    "it keeps something beside the weights": (
        "save",
        method(
            "    def pool(self, readout_BkD):\n        scale = self.__dict__.setdefault('scale', torch.rand(32))\n"
            "        return super().pool(readout_BkD * scale)\n"
        ),
        ("the loaded encoder's vectors differ", "must be a hyper-parameter or one of the weights"),
    ),
    "weigh lies": (
        "loss",
        (*ADDITIVE, ("len(batch) / 3", "len(batch)")),
        ("weigh promises {'pull': 48}, forward returns terms of weight {'pull': 16}", "They must agree"),
    ),
    "weigh is missing": (
        "loss",
        (*ADDITIVE, ("def weigh", "def weight")),
        ("TypeError: stage pull is additive: it must say what its terms weigh, in weigh(batch)",),
    ),
    "no forward": (
        "loss",
        (("def forward(self, body", "def fordward(self, body"),),
        ("TypeError: stage pull has neither a forward(body, batch) nor a build(start) of its own",),
    ),
    "a build that gives half": (
        "loss",
        stage("    def build(self, start):\n        return start.model()\n"),
        ("stage pull: build returns LlamaModel", "Trainable(module, tokenizer)"),
    ),
    "nothing that could be saved": (
        "save",
        (
            *stage(SNEAKY_BUILD.format("return type(trained)(Hidden(trained.module), trained.tokenizer)")),
            (
                "import torch\n",
                "import torch\n\n\nclass Hidden(torch.nn.Module):\n    def __init__(self, module):\n"
                "        super().__init__()\n        self.inner, self.forward = module, module.forward\n\n\n",
            ),
        ),
        ("its module has no attribute body, so it needs a finish() of its own",),
    ),
    "a mean, not a sum": (
        "loss",
        (*ADDITIVE, ("logsigmoid(margins).sum()", "logsigmoid(margins).mean()")),
        ("with micro-batches of 3, gradients differ by", "never a mean"),
    ),
    "an additive loss that looks at the batch": (
        "loss",
        (*ADDITIVE, ("* queries).sum(dim=1)", "* (queries - queries.mean(dim=0))).sum(dim=1)")),
        ("with micro-batches of 3, gradients differ by", "a loss that needs them is joint"),
    ),
    "a joint loss that is summed already": (
        "loss",
        (('return {"query": queries, "positive"', 'return {"query": queries.sum(), "positive"'),),
        ("forward of 16 examples returns query of []", "whose first dimension is the examples"),
    ),
    "a loss that is no number": (
        "loss",
        (("/ self.method.temperature", "/ self.method.temperature * float('nan')"),),
        ("term pull of the loss is nan", "must be finite numbers"),
    ),
    "a gradient that is no number": (
        "loss",
        (("cross_entropy(scores", "cross_entropy((scores - scores).sqrt() + scores"),),
        ("the loss is finite, the gradient of", "the root of 0"),
    ),
    "nothing to learn from": (
        "loss",
        (("/ self.method.temperature", "/ self.method.temperature\n        scores = scores.detach()"),),
        ("does not depend on what is trained", "detach()"),
    ),
    "an error of its own": (
        "loss",
        (("        own = torch", "        own = 1 / 0\n        own = torch"),),
        ("ZeroDivisionError: division by zero", "in joint_loss: own = 1 / 0"),
    ),
    "a parameter that nothing uses": (
        "moves",
        stage(SNEAKY_BUILD.format("trained.module.spare = torch.nn.Linear(3, 3)")),
        ("2 of 22 trainable parameters do not move, the first is spare.bias", "The loss does not depend on them"),
    ),
    "a frozen parameter that moves": (
        "moves",
        (
            *stage(SNEAKY_BUILD.format("trained.module.body.embed_tokens.requires_grad_(False)")),
            ("        queries, pos", "        body.embed_tokens.weight.data += 0.01\n        queries, pos"),
        ),
        ("1 frozen parameters have changed, the first is body.embed_tokens.weight", "Only the optimizer"),
    ),
    "nothing to train": (
        "moves",
        stage(SNEAKY_BUILD.format("trained.module.requires_grad_(False)")),
        ("build leaves no parameter that requires a gradient", "requires_grad_(True)"),
    ),
    "uphill": (
        "improves",
        (("self.method.temperature\n", "self.method.temperature\n        scores = 2 * scores.detach() - scores\n"),),
        ("30 steps on 32 examples took the loss from", "gradients of your own making"),
    ),
    "a counter that no checkpoint holds": (
        "resume",
        (
            ("        queries, pos", '        body.seen = getattr(body, "seen", 0) + 1\n        queries, pos'),
            ('return {"query"', 'queries = queries / body.seen\n        return {"query"'),
        ),
        ("stopped after step 4 and resumed, 20 of 20 parameters end at other values", "Keep no counters"),
    ),
    "texts past the till": (
        "budget",
        (
            (
                "run_body(body, batch, self.method.readout)",
                "torch.cat([body(torch.tensor([r.ids])).last_hidden_state[:, -1:] for r in batch])",
            ),
        ),
        ("were charged 0 FLOPs and 0 tokens", "run_body"),
    ),
    "chance of another kind": (
        "seed",
        (
            ("import torch\n", "import random\n\nimport torch\n"),
            ("/ self.method.temperature", "/ self.method.temperature * random.random()"),
        ),
        ("two trainings with one seed differ in 20 of 20 parameters", "not from random or numpy"),
    ),
    "one seed for all": (
        "seed",
        (
            (
                '[row["query"] for row in examples] + [row["positive"] for row in examples]',
                '["a cat", "so"] + ["a dog", "no"]',
            ),
        ),
        ("trainings with seeds 0 and 1 give the same weights", "Something throws the seed away"),
    ),
}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_backbone(tmp_path_factory.mktemp("checked") / "backbone")


def example(folder: Path, edits: Edits = (), name: str = "faulty") -> Path:
    """Write the example of `genembench new-method`, edited."""
    file = write(name, folder / "faulty_method.py")
    text = file.read_text(encoding="utf-8")
    for old, new in edits:
        assert text.count(old) == 1, (old, text)
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")
    return file


def subject_of(file: Path, backbone: Path, scratch: Path) -> Subject:
    (entry,) = find(str(file), [])
    scratch.mkdir()
    return Subject(
        entry=entry,
        backbone=backbone,
        rows=training_rows(),
        scratch=scratch,
        preset=preset_of(entry, None),
        method_file=file,
    )


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_broken_is_caught_and_explained(backbone: Path, tmp_path: Path, fault: str) -> None:
    name, edits, said = BROKEN[fault]
    subject = subject_of(example(tmp_path, edits), backbone, tmp_path / "scratch")
    outcome = perform(BY_NAME[name], subject)
    assert outcome.mark == "broken", outcome.detail
    text = " ".join(outcome.explanation)
    for words in said:
        assert words in text
    assert "Traceback" not in text


@pytest.mark.parametrize("edits", [(), ADDITIVE], ids=["joint", "additive"])
def test_what_the_faults_were_made_of_is_not_broken(backbone: Path, tmp_path: Path, edits: Edits) -> None:
    subject = subject_of(example(tmp_path, edits), backbone, tmp_path / "scratch")
    for check in CHECKS:
        outcome = perform(check, subject)
        assert outcome.mark == "kept", (check.name, outcome.explanation)


def test_the_command_explains_what_is_broken_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A readout that fails is the failure of every check that needs vectors, and is explained once."""
    crash = "    def readout(self, hidden_BLD, content_BL):\n        return hidden_BLD[content_BL, 99]\n"
    file = example(tmp_path, (*method(crash), ('paper="none yet"', 'paper=""')))
    assert main([str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    marks = [line.split()[0] for line in lines if line[:7].rstrip() in ("kept", "broken", "skipped")]
    assert marks == ["broken", "kept", "kept", *["broken"] * 8]
    text = " ".join(line.strip() for line in lines)
    assert text.count("IndexError: index 99 is out of bounds") == 1
    number = file.read_text().splitlines().index("        return hidden_BLD[content_BL, 99]") + 1
    assert f"faulty_method.py, line {number}, in readout: return hidden_BLD[content_BL, 99]" in text
    assert text.count("(for the same reason as vectors)") == 7
    assert "faulty breaks the contract: 9 of 11 checks (facts, vectors, save, loss, moves," in text
    assert f"run `genembench check {file}` again" in text
    assert "Traceback" not in text


def test_every_method_of_a_file_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Siblings of one class, which train nothing."""
    file = example(
        tmp_path,
        (
            ("        return (Pull(self),)", "        return ()"),
            ('@register("faulty"', '@register("sibling", readout_kind="last")\n@register("faulty"'),
        ),
    )
    assert main([str(file), "--set", "*.prompt=Represent: ", "--preset", "default"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines if "the contract" in line] == [
        "faulty keeps the contract: 5 of 5 checks",
        "sibling keeps the contract: 5 of 5 checks",
    ]
    assert sum(line.startswith("skipped") and line.endswith("(nothing is trained)") for line in lines) == 12


def test_a_built_in_methods_own_file_can_be_given() -> None:
    names = [entry.name for entry in find(str(CHECKOUT / "methods" / "untrained.py"), [])]
    assert names == ["untrained-last", "untrained-mean"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["infonce-maen"], "Did you mean infonce-mean"),
        (["nowhere.py"], "nowhere.py: no such file"),
        (["infonce-mean", "--preset", "smal"], "Did you mean small"),
        (["infonce-mean", "--set", "infonce-mean.epoch=1"], "Did you mean epochs"),
        (["infonce-mean", "--set", "infonce-last.epochs=1"], "takes no part"),
        (["infonce-mean", "--backbone", "nowhere"], "no config.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_user_has_to_mend(arguments: list[str], said: str) -> None:
    with pytest.raises(Problem) as raised:
        main(arguments)
    assert said in str(raised.value)


def test_a_file_that_cannot_be_loaded_is_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\nx / 0\n")
    with pytest.raises(Problem, match=r"mine\.py, line 2: ZeroDivisionError"):
        main([str(tmp_path / "mine.py")])


def test_a_method_with_adapters_and_dropout_through_the_real_command(genembench: Command, tmp_path: Path) -> None:
    result = genembench("check", "infonce-inbatch-last", "--preset", "paper", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert sum(line.startswith("kept ") for line in lines) == 11
    assert any("28 trained, 20 frozen" in line for line in lines)
    assert lines[-1].startswith("infonce-inbatch-last keeps the contract: 11 of 11 checks, ")
    assert list(tmp_path.iterdir()) == []
