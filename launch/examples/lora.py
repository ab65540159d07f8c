"""A fused model is trained, then goes on to another label with its text encoder under a LoRA.

python launch/examples/lora.py

The encoders of the first run are taken by `init.run`; the text tower stays frozen but for adapters
of rank 4, which are saved alone at the end.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

import mmjax
from mmjax.core import config as config_lib
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

rng = np.random.default_rng(0)
words = np.array(["wing", "beak", "fin", "gill", "small", "old", "grey", "red"])
frame = pd.DataFrame(
    {
        "text": [" ".join(rng.choice(words, 6)) for _ in range(120)],
        "size": rng.normal(size=120),
    }
)
frame["animal"] = np.where(frame.text.str.count("wing|beak") > 1, "bird", "fish")
frame["large"] = np.where(frame["size"] + frame.text.str.count("old") > 0.5, "yes", "no")

first = Config(
    data=DataConfig(
        source=Spec("frame"),
        modalities={
            "text": Spec("text", column="text", tokenizer="subwords", max_length=32),
            "facts": Spec("table", numbers=("size",)),
        },
        targets={"label": Spec("category", column="animal")},
        batch_size=16,
    ),
    model=ModelConfig(
        encoders={
            "text": Spec("text_transformer", width=32, depth=2, heads=2, mlp_dim=64),
            "facts": Spec("table", width=16),
        },
        fusion=Spec("concat", width=32),
    ),
    task=Spec("classification"),
    optimizer=OptimizerConfig(learning_rate=3e-3),
    train=TrainConfig(duration="200 steps"),
)
mmjax.train(first, "runs/lora_first", frame=frame)

second = dataclasses.replace(
    config_lib.override(first, ["init.run=runs/lora_first", "data.targets.label.column=large"]),
    adapt={"text": Spec("lora", rank=4, alpha=8.0, targets=("/(query|value)$",))},
)
run = mmjax.train(second, "runs/lora", frame=frame)
print(run.evaluate(frame)["accuracy"])
folder = Path(run.save_adapter("runs/lora_adapter"))
print(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()), "bytes of adapters")
