"""The English name of an EMOJI concept, written from its drawings alone, from scratch.

    mmjax train configs/emoji_captioning.py --workdir runs/emoji_captioning

The concepts of the test rows are in no training row: their names are put together from words that
others have. Training draws one of the two drawings, evaluation looks at both. What to compare with
is the name of the concept whose drawings are nearest, which `benchmarks/emoji_captioning.py`
measures on the same rows.

Test rows, three seeds on one H100 (two minutes each): chrF 22.3 ± 0.7 and no exact match; with
`get_config(beside=True)`, which also learns tags, groups and subgroups from the drawings, 23.0 ±
0.9 and one name in 389 to the letter. The nearest name by the features that the validation rows
choose has 20.1, by those that suit the test rows best 23.6, and neither an exact match. Twice the
epochs, wider networks, a smaller vocabulary and choosing among many texts by consensus gave no more
(`benchmarks/results/emoji_captioning.md`, `sweep_gpu.md`).
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig


def get_config(*, beside: bool = False) -> Config:
    augment = {
        "affine": {"degrees": 8, "scale": 0.1, "pixels": 2, "flip": 0.5},
        "jitter": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.2},
    }
    task = Spec(
        "captioning",
        width=256,
        depth=2,
        heads=4,
        mlp_dim=512,
        dropout=0.3,
        label_smoothing=0.1,
        decoding={"num_beams": 4},
    )
    targets = {"label": Spec("text", column="name", vocab_size=1200, max_length=24)}
    if beside:
        targets |= {
            "tags": Spec("labels", column="tags", min_count=5, others="ignore"),
            "group": Spec("category", column="group"),
            "subgroup": Spec("labels", column="subgroup", separator="|", others="ignore"),
        }
        task = Spec(
            "several",
            tasks={
                "name": task,
                "tags": Spec("multi_label", target="tags"),
                "group": Spec("classification", target="group"),
                "subgroup": Spec("multi_label", target="subgroup"),
            },
            # Losses of yes and no are means over all labels, that of the name a sum over its words.
            weights={"tags": 20.0, "group": 2.0, "subgroup": 20.0},
        )
    return Config(
        data=DataConfig(
            source=Spec("emoji"),
            modalities={
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
            targets=targets,
            split=SplitConfig(column="split"),
            id_column="index",
            batch_size=32,
            eval_batch_size=128,
        ),
        model=ModelConfig(
            encoders={
                "image": Spec(
                    "image_cnn",
                    channels=(32, 64, 128),
                    blocks=(0, 1, 1),
                    pools=("quadrants", "max", "early_mean"),
                    width=256,
                    dropout=0.3,
                ),
            },
            fusion=Spec("concat", width=256),
        ),
        task=task,
        optimizer=OptimizerConfig(
            learning_rate=2e-3, b2=0.99, weight_decay=0.05, warmup="10%", end_fraction=0.01
        ),
        train=TrainConfig(
            duration="120 epochs",
            ema_decay=0.99,
            evaluate_every="30 epochs",
            save_every="30 epochs",
            best_metric="name/chrf" if beside else "chrf",
        ),
    )
