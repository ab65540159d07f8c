"""A label for each frame of a video, on generated clips with a sensor beside them.

    mmjax train configs/time_tagging.py --workdir runs/time_tagging

The clips are drawn by a program (`mmjax.data.sources.generated`) and show the way from end to end:
a spot now and then moves to its left or right, and a sensor says whether the picture is mirrored.
Segments are in seconds; the frame-wise accuracy, the segment F1 at overlaps of 10, 25 and 50 % and
the edit score are those of action segmentation.

Of 120 test rows, one seed: accuracy of frames, edit score, segment F1 and average precision are all
1.000 (57 s of one busy core, compilation in it). The video alone is not measured; it does not tell
left from right.
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        data=DataConfig(
            source=Spec("generated", scene="clips", rows=600),
            modalities={
                "video": Spec(
                    "video",
                    column="clip",
                    frames=16,
                    size=12,
                    channels=1,
                    frame_jitter=0.0,
                    seconds=True,
                    frame_rate=8.0,
                ),
                "sensor": Spec("sequence", column="sensor", max_length=32, step_seconds=0.0625),
            },
            targets={"segments": Spec("segments", column="segments", most=4)},
            split=SplitConfig(column="split"),
            id_column="index",
            batch_size=32,
            eval_batch_size=200,
        ),
        model=ModelConfig(
            encoders={
                "video": Spec(
                    "frames",
                    image=Spec("image_cnn", stem=1, channels=(16,), blocks=(0,), width=32),
                    width=32,
                    depth=1,
                    heads=2,
                    mlp_dim=64,
                    temporal="transformer",
                ),
                "sensor": Spec("conv1d", fold=4, channels=(32,)),
            },
            fusion=Spec("concat", width=48, depth=2),
        ),
        task=Spec("time_tagging", hidden=64, smoothing=0.15),
        optimizer=OptimizerConfig(learning_rate=4e-3, weight_decay=0.05, warmup="10%"),
        train=TrainConfig(
            duration="20 epochs",
            evaluate_every="20 epochs",
            save_every="20 epochs",
            best_metric="map",
        ),
    )
