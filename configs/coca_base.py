"""CoCa's base model from scratch: contrastive and captioning on one forward (Yu et al. 2022).

    mmjax train configs/coca_base.py data.source.paths='data/{000..999}.tar' --workdir runs/coca

reads tar shards in the form of WebDataset (members `jpg`, `png` or `webp`, and `txt`). A manifest
with the columns `image` and `text` serves as well: `data.source=jsonl data.source.path=pairs.jsonl`
(or `csv`, `parquet`). Without a network, `data.modalities.text.tokenizer=bpe` learns a vocabulary
from the texts.

CoCa is two objectives here. `coca_text` are its unimodal layers, whose class token is `pooled`;
`attention_pool` makes 256 tokens of the picture's, and of these `pooled`. `contrastive` compares
the two; `captioning` goes on from the words' tokens with the multimodal layers, which look at the
picture's, and counts twice as much. Each encoder runs once a step.

Sizes, loss weights, schedule and batch are the paper's (table 1 and section 4.1), which has a
vocabulary of 64,000 of its own and Adafactor. Hardware: 65,536 pairs a step want a hundred
accelerators or more; on fewer, `train.gradient_accumulation_steps=16` gives the same step in parts
(GradCache). Time and accuracy of this config: not measured.
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

TOKENIZER = "openai/clip-vit-base-patch16"


def get_config() -> Config:
    blocks = {"width": 768, "depth": 12, "heads": 12, "mlp_dim": 3072, "scan": True}
    still = {"dropout": 0.0, "attention_dropout": 0.0}
    return Config(
        data=DataConfig(
            source=Spec("webdataset", paths=("data/pairs/*.tar",), held_out={"validation": 0.0001}),
            modalities={
                "text": Spec("text", column="text", tokenizer=TOKENIZER, max_length=64),
                "image": Spec(
                    "image",
                    columns=("image",),
                    size=288,
                    augment={"random_resized_crop": {"smallest": 0.9}},
                ),
            },
            batch_size=65536,
            eval_batch_size=4096,
            threads=16,
            on_bad_sample="quarantine",
            max_bad=1_000_000,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("coca_text", activation="gelu", **blocks, **still),
                "image": Spec(
                    "attention_pool",
                    encode_with=Spec("vit", patch=18, **blocks, **still),
                    queries=256,
                    width=768,
                    heads=12,
                ),
            },
            joint_dim=512,
            dtype="bfloat16",
        ),
        objectives={
            "contrastive": Spec("contrastive", temperature=0.07),
            "captioning": Spec("captioning", weight=2.0, decoder_on="tokens", tied=False, **blocks),
        },
        optimizer=OptimizerConfig(
            learning_rate=8e-4, schedule="linear", warmup="2%", weight_decay=0.01
        ),
        train=TrainConfig(
            duration="500000 steps",
            evaluate_every="5000 steps",
            save_every="1000 steps",
            best_metric="recall@1",
        ),
    )
