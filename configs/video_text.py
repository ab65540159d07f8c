"""Video-text pretraining: a contrastive loss and matching with hard negatives, from scratch.

    mmjax train configs/video_text.py data.source.path=clips/captions.jsonl --workdir runs/clips
    mmjax embed runs/clips --split test --out embeddings.npz
    mmjax search runs/clips --index embeddings.npz --query "a dog runs on the beach"

The data is a folder of clips and a JSON Lines file beside them, one object a clip:

    {"clip": "0001.mp4", "caption": "a dog runs on the beach"}

Clips of one recording belong into one split: give them a common column and name it in
`data.split.group`. Eight frames of 112 pixels are 196 tubelets, which a transformer of the size of
ViT-S sees together; the fusion of matching lets the captions look at them. `model.pretrained.text`
and `.video` take weights instead, such as MiniLM and VideoMAE.

Meant for one accelerator with 40 GB (`model.dtype=bfloat16`, or `model.encoders.video.remat=full`
where memory is short) and 10,000 clips or more. Time and figures: not measured.
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig


def get_config() -> Config:
    size = {"width": 384, "heads": 6, "mlp_dim": 1536}
    pair = ("text", "video")
    return Config(
        data=DataConfig(
            source=Spec("jsonl", path="clips/captions.jsonl"),
            modalities={
                "text": Spec("text", column="caption", vocab_size=8000, max_length=32),
                "video": Spec(
                    "video",
                    column="clip",
                    frames=8,
                    size=112,
                    augment={"random_resized_crop": {"smallest": 0.5}},
                ),
            },
            split=SplitConfig(fractions=(0.9, 0.05, 0.05)),
            batch_size=256,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("text_transformer", depth=6, pooling="mean", **size),
                "video": Spec("video_transformer", patch=16, tubelet=2, depth=12, **size),
            },
            fusion=Spec("cross_attention", queries=("text",), depth=3, **size),
            joint_dim=256,
        ),
        objectives={
            "contrastive": Spec("contrastive", modalities=pair),
            "matching": Spec("matching", pair=pair),
        },
        optimizer=OptimizerConfig(
            learning_rate=5e-4, b2=0.98, weight_decay=0.1, warmup="5%", end_fraction=0.01
        ),
        train=TrainConfig(duration="30 epochs", best_metric="recall@10"),
    )
