"""Tags of EMOJI concepts, several a concept, from name and drawings, from scratch.

    mmjax train configs/emoji_tags.py --workdir runs/emoji_tags

A tag counts if ten training concepts have it, which leaves 98 tags; a concept may have none of
them, and some are words of its name. Encoders are those of `quickstart.py`. One threshold for all
tags is chosen on the validation rows after training and kept with the run.

Each modality decides by itself and the answers are averaged: with `weighted_sum` the drawings,
which do not help as they do with groups, took away part of what the name tells (`sweep_gpu.md`).

Test rows, seeds 0 and 1: mean average precision 0.504 and micro-F1 0.648, the name alone 0.480 and
0.631 (`benchmarks/results/emoji_tags.md`). TF-IDF of its characters with logistic regression gets
0.556 and 0.675, which is better: 98 labels of 1,283 names are linear in their letters, and what is
learnt jointly for all of them is learnt from few rows each. `python -m benchmarks.emoji_tags`.
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig


def get_config() -> Config:
    augment = {
        "affine": {"degrees": 8, "scale": 0.1, "pixels": 2, "flip": 0.5},
        "jitter": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.2},
    }
    return Config(
        data=DataConfig(
            source=Spec("emoji"),
            modalities={
                "text": Spec(
                    "text",
                    column="name",
                    tokenizer="subwords",
                    max_length=96,
                    min_count=2,
                    ngrams=(1, 4),
                    buckets=32_000,
                ),
                "image": Spec(
                    "image",
                    columns=("twemoji", "noto"),
                    evaluate_views="all",
                    size=32,
                    mean=(1.0,),
                    std=(0.5,),
                    augment=augment,
                ),
            },
            targets={"label": Spec("labels", column="tags", min_count=10, others="ignore")},
            split=SplitConfig(column="split"),
            id_column="index",
            batch_size=32,
            eval_batch_size=128,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec(
                    "bag_of_subwords", width=256, combiner="sqrtn", token_dropout=0.3, dropout=0.3
                ),
                "image": Spec(
                    "image_cnn",
                    channels=(32, 64, 128),
                    blocks=(0, 1, 1),
                    pools=("quadrants", "max", "early_mean"),
                    width=128,
                    dropout=0.3,
                ),
            },
            fusion=Spec("decision"),
            auxiliary_loss=1.0,
        ),
        task=Spec("multi_label", tuned_thresholds="shared"),
        optimizer=OptimizerConfig(
            learning_rate=1e-2,
            b2=0.99,
            weight_decay=0.05,
            warmup="10%",
            end_fraction=0.01,
            multipliers={"/encoders_image/": 0.2},
        ),
        train=TrainConfig(
            duration="40 epochs",
            ema_decay=0.99,
            evaluate_every="10 epochs",
            save_every="10 epochs",
            best_metric="map",
        ),
    )
