# mypy: allow-untyped-defs, allow-untyped-calls
"""my-method: a query's vector is pulled to its positive's, away from the batch's other positives. Make it yours."""

from dataclasses import dataclass

import torch

from genembench import Facts, Hyper, LossTerm, Method, Recipe, Stage, TextTemplate, hyper, register, run_body


@register("my-method", readout_kind="mean")  # "mean" of the last hidden states over all tokens; or the "last" token's
@dataclass(frozen=True, kw_only=True)
class MyMethod(Method):
    """What can be set, and how a text becomes a vector: tokenize, then readout and pool, which are inherited here."""

    facts = Facts(family="My ideas", paper="none yet", summary="in-batch contrast of mean-pooled vectors")
    presets = {"paper": {}, "small": {"batch_size": Hyper(32, "my choice: more steps from little data")}}
    learning_rate: float = hyper(1e-3, "AdamW's peak learning rate")
    batch_size: int = hyper(64, "examples in one optimizer step")
    temperature: float = hyper(0.05, "divides the cosine")
    prompt: str = hyper("sentence: ", "stands before every text", encodes=True)  # encodes: it shapes the vectors

    def tokenize(self, tokenizer, texts, role, phase):
        """Treat every role (query, document, symmetric) and phase (train, evaluate) alike."""
        return TextTemplate(prefix=self.prompt).rows(tokenizer, texts, self.max_length)

    def stages(self):
        """Train in one stage; several run one after the other, each from the weights that the last one left."""
        return (Pull(self),)


@dataclass(frozen=True)
class Pull(Stage):
    """What is trained: all weights. With adapters or a head, define build too, as methods/stages/contrast.py does."""

    method: MyMethod
    name, data = "pull", "triplets"  # or instruct, pairs, text
    loss_kind = "joint"  # or "additive": forward returns its LossTerms itself, and weigh tells their weights before

    @property
    def recipe(self):
        """Optimise with AdamW."""
        return Recipe(learning_rate=self.method.learning_rate, batch_size=self.method.batch_size, warmup=0.1)

    def collate(self, examples, tokenizer):
        """Make the batch that forward takes from rows of the data."""
        texts = [row["query"] for row in examples] + [row["positive"] for row in examples]
        return self.method.tokenize(tokenizer, texts, "symmetric", "train")

    def forward(self, body, batch):
        """Give one row an example. run_body groups texts by length and charges the run for every token."""
        queries, positives = self.method.pool(run_body(body, batch, self.method.readout)).chunk(2)
        return {"query": queries, "positive": positives}

    def joint_loss(self, outputs):
        """Compute the loss of a whole batch, however it was split to fit into memory: a sum, and what divides it."""
        scores = outputs["query"] @ outputs["positive"].T / self.method.temperature
        own = torch.arange(len(scores), device=scores.device)
        return {"pull": LossTerm(torch.nn.functional.cross_entropy(scores, own, reduction="sum"), weight=len(own))}
