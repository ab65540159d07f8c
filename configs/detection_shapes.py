"""Detection of coloured shapes on noise, with captions that some rows lack. The data is generated.

    mmjax train configs/detection_shapes.py --workdir runs/detection_shapes

3,000 drawn pictures of 64 x 64 pixels with one to four circles, squares and triangles, 2,400 of
them for training, 300 each for validation and test; 30 % have no caption.

Seed 0, on one H100: AP50 0.851 and AP 0.643 on the test pictures, 0.890 and 0.692 on those for
validation; after 20 epochs instead of 50, 0.691 and 0.485 (`benchmarks/results/sweep_gpu.md`).
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(
            source=Spec("generated_shapes"),
            modalities={
                "image": Spec("image", columns=("image",), size=64, resize="squash"),
                "text": Spec("text", column="caption", vocab_size=64, max_length=24),
            },
            targets={"boxes": Spec("boxes", column="boxes", size=("width", "height"), most=4)},
            split=SplitConfig(column="split"),
            batch_size=32,
            eval_batch_size=100,
        ),
        model=ModelConfig(
            encoders={
                "image": Spec("image_cnn", stem=4, channels=(32, 64), blocks=(1, 1), width=64),
                "text": Spec("text_transformer", width=64, depth=1, heads=4, mlp_dim=128),
            },
            fusion=Spec("concat", width=64),
        ),
        task=Spec("detection", anchors="tokens", depth=1, heads=4, mlp_dim=128),
        optimizer=OptimizerConfig(
            learning_rate=2e-3, weight_decay=0.01, warmup="5%", end_fraction=0.01
        ),
        train=TrainConfig(
            duration="50 epochs",
            best_metric="ap50",
            evaluate_every="10 epochs",
            save_every="10 epochs",
            log_every="25 steps",
        ),
    )
