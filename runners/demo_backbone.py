"""The demo's backbone: pre-trained on the demo's text the first time it is asked for, then kept."""

from __future__ import annotations

from pathlib import Path

from benchmarks.training_data import load_training_data
from runners.cache import cache_folder
from runners.demo import DEMO
from runners.engine import Engine
from runners.new_backbone import Shape
from runners.pretraining import Pretraining, pretrain, read_pretraining
from runners.progress import say

PRETRAINING = Pretraining(shape=Shape(), learning_rate=3e-3)
"""A Llama of a million parameters, one pass over the demo's text: about a minute on two CPU cores."""


def demo_backbone(engine: Engine) -> Path:
    """Return the folder of the demo's backbone.

    The name holds a hash of the text, the settings and the engine's version, so another demo has another backbone.
    """
    data = load_training_data("text", DEMO, mapping={}, seed=PRETRAINING.seed, held_out=None)
    folder = cache_folder() / "backbones" / f"demo-{PRETRAINING.address(data, engine.precision)[:16]}"
    if read_pretraining(folder) is None:
        say(f"Pre-training the demo's backbone, once; it is kept in {folder}.")
        pretrain(PRETRAINING, data, folder, engine, "demo backbone")
    return folder
