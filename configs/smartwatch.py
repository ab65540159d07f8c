"""Shoulder exercises from a smartwatch, of a person who was not trained on, from scratch.

    pip install --no-deps seglearn==1.2.5      # the data, as a package
    mmjax train configs/smartwatch.py --workdir runs/smartwatch
    python -m benchmarks.smartwatch            # every person left out in turn

A window is eight seconds of both sensors, cut every two seconds, a left arm mirrored. Each of the
ten persons left out in turn, three seeds: 0.901 of the windows and 0.936 of the recordings, 11 to
21 s a training of one busy core (`benchmarks/results/smartwatch.md`).
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(
            source=Spec("smartwatch", width=400, step=100),
            modalities={
                "watch": Spec(
                    "sequence",
                    column="readings",
                    max_length=400,
                    augment={"rotation": 15, "scale": 0.1},
                ),
            },
            targets={"label": Spec("category", column="exercise")},
            split=SplitConfig(column="split"),
            id_column="index",
            batch_size=64,
            eval_batch_size=256,
        ),
        model=ModelConfig(
            encoders={"watch": Spec("conv1d", fold=10, channels=(64,), dropout=0.4)},
            fusion=Spec("concat", width=64),
        ),
        task=Spec("classification", hidden=64, dropout=0.4, label_smoothing=0.1),
        optimizer=OptimizerConfig(
            learning_rate=6e-3, b2=0.99, weight_decay=0.05, warmup="10%", end_fraction=0.01
        ),
        train=TrainConfig(
            duration="8 epochs",
            ema_decay=0.95,
            evaluate_every="8 epochs",
            save_every="8 epochs",
        ),
    )
