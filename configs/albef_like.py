"""Align before fuse: contrastive with momentum, matching and masked LM (Li et al. 2021).

    mmjax train configs/albef_like.py data.source.paths='data/{000..999}.tar' --workdir runs/albef

reads tar shards in the form of WebDataset (members `jpg`, `png` or `webp`, and `txt`). A manifest
with the columns `image` and `text` serves as well: `data.source=jsonl data.source.path=pairs.jsonl`
(or `csv`, `parquet`). Without a network, `data.modalities.text.tokenizer=wordpiece` learns a
vocabulary from the texts.

Two encoders are aligned by a contrastive loss against their averages and a queue of 65,536, with
soft targets; words then look at the picture through six cross-attention layers, over which pairs
are told from hard negatives and hidden words are guessed. Sizes, weights and schedule are the
paper's, which starts from DeiT and BERT: `model.pretrained.image` and `.text` name such folders.
Unlike the paper's, fusion layers have no self-attention among words, and the masked words have no
soft targets. `alpha_warmup` is one epoch of 4 M pairs: set it to yours.

Hardware: the paper's 512 pairs a step fit 8 GPUs of 40 GB. Time and accuracy of this config: not
measured.
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

TOKENIZER = "bert-base-uncased"


def get_config() -> Config:
    blocks = {"width": 768, "heads": 12, "mlp_dim": 3072, "scan": True}
    return Config(
        data=DataConfig(
            source=Spec("webdataset", paths=("data/pairs/*.tar",), held_out={"validation": 0.001}),
            modalities={
                "text": Spec("text", column="text", tokenizer=TOKENIZER, max_length=30),
                "image": Spec(
                    "image",
                    columns=("image",),
                    size=256,
                    augment={
                        "random_resized_crop": {"smallest": 0.2},
                        "flip": 0.5,
                        "randaugment": {"operations": 2, "magnitude": 7},
                    },
                ),
            },
            batch_size=512,
            eval_batch_size=512,
            threads=16,
            on_bad_sample="quarantine",
            max_bad=100_000,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("text_transformer", depth=6, **blocks),
                "image": Spec("vit", patch=16, depth=12, **blocks),
            },
            fusion=Spec("cross_attention", queries=("text",), depth=6, dropout=0.1, **blocks),
            joint_dim=256,
            dtype="bfloat16",
        ),
        objectives={
            "contrastive": Spec(
                "momentum_contrastive", queue_size=65536, alpha=0.4, alpha_warmup=4_000_000
            ),
            "matching": Spec("matching", pair=("text", "image")),
            "masked_lm": Spec("masked_lm", visible=("image",)),
        },
        optimizer=OptimizerConfig(
            learning_rate=1e-4, end_fraction=0.1, weight_decay=0.02, warmup="1000 steps"
        ),
        train=TrainConfig(
            duration="30 epochs",
            ema_decay=0.995,
            evaluate_every="1 epoch",
            save_every="1 epoch",
            best_metric="recall@1",
        ),
    )
