"""Pretraining on EMOJI from scratch: contrastive, matching and masked LM, on names and drawings.

    mmjax train configs/pretrain_emoji.py --workdir runs/pretrain
    mmjax embed runs/pretrain --split test --out embeddings.npz
    mmjax search runs/pretrain --index embeddings.npz --query "red apple"

A training text of a concept is its English name, its name in one of 15 other languages, or some of
its tags; a picture is one of its two drawings (Twemoji and Noto). Evaluation reads the English
name. The text is read twice: as a bag of words and their n-grams, which finds unseen drawings best,
and as word pieces, which look at the places of the picture to tell true pairs from the most similar
wrong ones, and to guess hidden pieces. All meet the picture in one space. The test rows are
concepts that training never saw.

Two CPU cores. Recall, the other objectives' figures and the time that it takes, over three seeds:
`benchmarks/results/pretrain_emoji.md`, from `python -m benchmarks.pretrain_emoji`.
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig


def get_config() -> Config:
    augment = {
        "affine": {
            "degrees": 12,
            "scale": 0.15,
            "stretch": 0.05,
            "shear": 0.1,
            "pixels": 3,
            "flip": 0.5,
        },
        "jitter": {"brightness": 0.15, "contrast": 0.15, "saturation": 0.3, "hue": 0.02},
    }
    return Config(
        data=DataConfig(
            source=Spec("emoji"),
            modalities={
                "text": Spec(
                    "texts",
                    column="name",
                    also={"tags": 0.4, "names": 0.2},
                    together=4,
                    tokenizer="subwords",
                    vocab_size=4000,
                    max_length=96,
                    min_count=2,
                    buckets=16_000,
                ),
                "pieces": Spec(
                    "texts",
                    column="name",
                    also={"tags": 0.2, "names": 0.2},
                    tokenizer="wordpiece",
                    vocab_size=3000,
                    max_length=16,
                ),
                "image": Spec(
                    "image",
                    columns=("twemoji", "noto"),
                    size=32,
                    mean=(1.0,),
                    std=(0.5,),
                    augment=augment,
                ),
            },
            split=SplitConfig(column="split"),
            id_column="index",
            batch_size=128,
            eval_batch_size=128,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("bag_of_subwords", width=128, combiner="sqrtn", token_dropout=0.3),
                "pieces": Spec("bag_of_subwords", width=64),
                "image": Spec(
                    "image_cnn",
                    channels=(32, 64, 128),
                    blocks=(0, 1, 1),
                    pools=("quadrants", "max", "early_mean"),
                    width=128,
                    dropout=0.2,
                ),
            },
            fusion=Spec(
                "cross_attention",
                queries=("pieces",),
                width=64,
                depth=2,
                heads=4,
                mlp_dim=128,
                dropout=0.1,
            ),
            joint_dim=128,
        ),
        objectives={
            "contrastive": Spec("contrastive", temperature=0.1, centre="image"),
            "matching": Spec("matching", pair=("pieces", "image"), weight=0.1),
            "masked_lm": Spec(
                "masked_lm", modality="pieces", visible=("image",), share=0.3, weight=0.2
            ),
        },
        optimizer=OptimizerConfig(
            learning_rate=2e-3, b2=0.99, weight_decay=0.1, warmup="10%", end_fraction=0.01
        ),
        train=TrainConfig(
            duration="80 epochs",
            ema_decay=0.99,
            evaluate_every="10 epochs",
            save_every="20 epochs",
            best_metric="text_image/recall@10",
        ),
    )
