"""InfoNCE on triplets: the contrastive baselines, with and without in-batch negatives, last token or mean."""

from __future__ import annotations

from dataclasses import dataclass

from methods.contract import Facts, Hyper, Stage, hyper
from methods.registry import register
from methods.stages.contrast import Contrast
from methods.trained import TrainedMethod
from methods.untrained import ONE_WORD, OneWordPrompt

_PAPER = {
    "max_length": Hyper(512, "authors' code"),
    "prompt": Hyper(ONE_WORD, "authors' code"),
    "learning_rate": Hyper(1e-4, "paper: best of 1e-5, 5e-5, 1e-4, 2e-4"),
    "epochs": Hyper(1, "our choice: unstated in paper and code"),
    "schedule": Hyper("linear", "our choice: unstated in paper and code"),
    "warmup": Hyper(0.05, "our choice: the warm-up of the authors' other scripts"),
    "weight_decay": Hyper(0.0, "our choice: unstated in paper and code"),
    "temperature": Hyper(0.02, "authors' code default; unstated in the paper"),
    "hard_negatives": Hyper(1, "authors' code default"),
    "tuning": Hyper("lora", "our reading: authors' code default, and the learning rate suggests it"),
    "lora_rank": Hyper(32, "authors' code default"),
    "lora_alpha": Hyper(64, "authors' code default"),
    "lora_dropout": Hyper(0.1, "authors' code (hard-coded)"),
}
_TRIED = "our choice: best held-out retrieval of a small grid, docs/results/small-preset.md"
_SMALL = {
    **_PAPER,
    "learning_rate": Hyper(lambda values: 3e-4 if values["in_batch"] else 1e-4, _TRIED),
    "temperature": Hyper(lambda values: 0.02 if values["in_batch"] else 0.2, _TRIED),
    "tuning": Hyper("full", "our choice: a small backbone is cheaper to train whole"),
    "batch_size": Hyper(32, "our choice: dozens of steps from a thousand examples"),
}


@register("infonce-last", readout_kind="last", in_batch=False)
@register("infonce-mean", readout_kind="mean", in_batch=False)
@register("infonce-inbatch-last", readout_kind="last", in_batch=True)
@register("infonce-inbatch-mean", readout_kind="mean", in_batch=True)
@dataclass(frozen=True, kw_only=True)
class InfoNCE(OneWordPrompt, TrainedMethod):
    """The contrastive baselines of AutoRegEmbed's Table 1 (LLaMA2-L and -M, with and without in-batch negatives)."""

    facts = Facts(
        family="Contrastive",
        paper="arXiv 2502.11401, Table 1 (baselines)",
        summary="InfoNCE on triplets, cosine over temperature",
        deviations=("The text is truncated, never the prompt; the authors' code cuts the prompt off long texts.",),
        parity="No recording; the loss with in-batch negatives is that of llm2vec's supervised recording. "
        "That is tests/parity/test_llm2vec.py; tests/methods/test_losses.py holds the loss to sentence-transformers, "
        "and with and without in-batch negatives to an example worked out by hand.",
    )
    presets = {
        "paper": {
            **_PAPER,
            "batch_size": Hyper(lambda values: 512 if values["in_batch"] else 32, "paper: 512 in-batch, 32 without"),
        },
        "small": _SMALL,
    }

    in_batch: bool = hyper(True, "whether the other queries' documents of the global batch are negatives too")
    hard_negatives: int = hyper(1, "hard negatives taken from each triplet, the first ones")
    temperature: float = hyper(0.02, "divides the cosine")
    learning_rate: float = hyper(1e-4, "AdamW's peak learning rate")
    batch_size: int = hyper(512, "examples in an optimizer step, over all processes")
    epochs: int = hyper(1, "passes over the budget's examples")

    def stages(self) -> tuple[Stage, ...]:
        """One stage of InfoNCE over triplets."""
        contrast = Contrast(
            self,
            self.recipe(self.learning_rate, self.batch_size, self.epochs),
            self.tuning,
            self.lora,
            temperature=self.temperature,
            hard_negatives=self.hard_negatives,
            in_batch=self.in_batch,
        )
        return (contrast,)
