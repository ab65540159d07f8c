"""Contrastive pretraining on EMOJI: names and drawings in one space, from scratch.

    mmjax train configs/pretrain_emoji.py --workdir runs/pretrain
    mmjax embed runs/pretrain --split test --out embeddings.npz
    mmjax search runs/pretrain --index embeddings.npz --query "red apple"

Each concept has a name and two drawings (Twemoji and Noto), which are modalities of their own here
and paired each with each. The test rows are concepts that training never saw.
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
    picture = Spec(
        "image", columns=("twemoji", "noto"), size=32, mean=(1.0,), std=(0.5,), augment=augment
    )
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
                    buckets=16_000,
                ),
                "image": picture,
            },
            split=SplitConfig(column="split"),
            id_column="index",
            batch_size=128,
            eval_batch_size=128,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("bag_of_subwords", width=128, combiner="sqrtn", token_dropout=0.3),
                "image": Spec(
                    "image_cnn",
                    channels=(32, 64, 128),
                    blocks=(0, 1, 1),
                    pools=("quadrants", "max", "early_mean"),
                    width=128,
                    dropout=0.1,
                ),
            },
            joint_dim=128,
        ),
        objectives={"contrastive": Spec("contrastive", temperature=0.1)},
        optimizer=OptimizerConfig(
            learning_rate=2e-3, b2=0.99, weight_decay=0.05, warmup="10%", end_fraction=0.01
        ),
        train=TrainConfig(
            duration="60 epochs",
            ema_decay=0.99,
            evaluate_every="10 epochs",
            save_every="10 epochs",
            best_metric="recall@10",
        ),
    )
