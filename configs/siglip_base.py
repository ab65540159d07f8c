"""SigLIP's B/16 from scratch on pairs of a picture and a text (Zhai et al. 2023).

    mmjax train configs/siglip_base.py data.source.paths='data/{000..999}.tar' --workdir runs/siglip

reads tar shards in the form of WebDataset (members `jpg`, `png` or `webp`, and `txt`). A manifest
with the columns `image` and `text` serves as well: `data.source=jsonl data.source.path=pairs.jsonl`
(or `csv`, `parquet`). Without a network, `data.modalities.text.tokenizer=bpe` learns a vocabulary
from the texts.

The towers, the temperature, the bias and the sigmoid loss are the paper's, which trains on WebLI
with batches of 32,768 and Adafactor; here AdamW has its learning rate, weight decay and second
moment. Beyond the paper's towers, each has one projection to the joint space. Hardware: several
dozen accelerators of 32 GB or more; on fewer, `train.gradient_accumulation_steps=16` gives the same
step in parts (GradCache), and `objectives.siglip.chunk` bounds the similarities that exist at once.
Time and accuracy of this config: not measured.
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

TOKENIZER = "google/siglip-base-patch16-224"


def get_config() -> Config:
    base = {
        "width": 768,
        "depth": 12,
        "heads": 12,
        "mlp_dim": 3072,
        "scan": True,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    }
    return Config(
        data=DataConfig(
            source=Spec("webdataset", paths=("data/pairs/*.tar",), held_out={"validation": 0.0001}),
            modalities={
                "text": Spec("text", column="text", tokenizer=TOKENIZER, max_length=64),
                "image": Spec("image", columns=("image",), size=224, resize="squash"),
            },
            batch_size=32768,
            eval_batch_size=4096,
            threads=16,
            on_bad_sample="quarantine",
            max_bad=1_000_000,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("siglip_text", **base),
                "image": Spec("siglip_vision", patch=16, **base),
            },
            joint_dim=768,
            dtype="bfloat16",
        ),
        objectives={"siglip": Spec("siglip")},
        optimizer=OptimizerConfig(
            learning_rate=1e-3, b2=0.95, weight_decay=1e-4, warmup="10000 steps"
        ),
        train=TrainConfig(
            duration="100000 steps",
            evaluate_every="2000 steps",
            save_every="1000 steps",
            best_metric="recall@1",
        ),
    )
