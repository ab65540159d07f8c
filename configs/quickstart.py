"""Text + image classification of EMOJI concepts, from scratch, in minutes on two CPU cores.

The name of a concept is its text, its two drawings are two views of one picture: training draws
one, evaluation averages both. Every setting was chosen on the validation rows; what it gives on the
test rows, and in what time, is in `benchmarks/results/quickstart.md`. `get_space` is what
`mmjax tune configs/quickstart.py` looks through.
"""

from mmjax.core.registry import Spec
from mmjax.core.space import FloatRange, Simplex, Space
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig


def get_config() -> Config:
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
                "image": Spec(
                    "image",
                    columns=("twemoji", "noto"),
                    evaluate_views="all",
                    size=32,
                    mean=(1.0,),
                    std=(0.5,),
                    augment={
                        "affine": {"degrees": 8, "scale": 0.1, "pixels": 2, "flip": 0.5},
                        "jitter": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.2},
                    },
                ),
            },
            targets={"label": Spec("category", column="group")},
            split=SplitConfig(column="split"),
            id_column="index",
            batch_size=32,
            eval_batch_size=128,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec(
                    "bag_of_subwords", width=32, combiner="sqrtn", token_dropout=0.5, dropout=0.3
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
            fusion=Spec(
                "weighted_sum", width=128, weights="fixed", values={"text": 1.0, "image": 1.0}
            ),
            auxiliary_loss=3.0,
        ),
        task=Spec("classification", label_smoothing=0.1),
        optimizer=OptimizerConfig(
            learning_rate=2e-3, b2=0.99, weight_decay=0.05, warmup="10%", end_fraction=0.01
        ),
        train=TrainConfig(
            duration="40 epochs",
            steps_per_call=10,
            ema_decay=0.99,
            evaluate_every="5 epochs",
            save_every="5 epochs",
            single_modality_baselines=True,
        ),
    )


def get_space() -> Space:
    return {
        "optimizer.learning_rate": FloatRange(5e-4, 5e-3, log=True),
        "model.fusion.values": Simplex("text", "image", parts=10, zero=False),
    }
