"""CLIP's ViT-B/16 from scratch on pairs of a picture and a text (Radford et al. 2021).

    mmjax train configs/clip_vit_b16.py data.source.paths='data/{000..999}.tar' --workdir runs/clip

reads tar shards in the form of WebDataset (members `jpg`, `png` or `webp`, and `txt`). A manifest
with the columns `image` and `text` serves as well: `data.source=jsonl data.source.path=pairs.jsonl`
(or `csv`, `parquet`). Without a network, `data.modalities.text.tokenizer=bpe` learns a vocabulary
from the texts, and `model.encoders.text.end_id=3` is its end.

Settings are those of the paper's tables 18 to 20, on 400 M pairs. Hardware: 32,768 pairs a step
want about 170 GPUs of 40 GB or 64 of 80 GB; on fewer,
`train.gradient_accumulation_steps=16` gives the same step in parts (GradCache). Expected, not
measured here: OpenCLIP's run of this shape on LAION-400M took 61 hours on 176 A100 of 40 GB and
gave 67.1 % zero-shot accuracy on ImageNet (its docs/PRETRAINED.md).
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

TOKENIZER = "openai/clip-vit-base-patch16"


def get_config() -> Config:
    base = {"depth": 12, "scan": True, "dropout": 0.0, "attention_dropout": 0.0}
    return Config(
        data=DataConfig(
            source=Spec("webdataset", paths=("data/pairs/*.tar",), held_out={"validation": 0.0001}),
            modalities={
                "text": Spec("text", column="text", tokenizer=TOKENIZER, max_length=77),
                "image": Spec(
                    "image",
                    columns=("image",),
                    size=224,
                    mean=(0.48145466, 0.4578275, 0.40821073),
                    std=(0.26862954, 0.26130258, 0.27577711),
                    augment={"random_resized_crop": {"smallest": 0.9}},
                ),
            },
            batch_size=32768,
            eval_batch_size=4096,
            threads=16,
            on_bad_sample="quarantine",
            max_bad=1_000_000,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("clip_text", width=512, heads=8, mlp_dim=2048, **base),
                "image": Spec("clip_vision", patch=16, width=768, heads=12, mlp_dim=3072, **base),
            },
            joint_dim=512,
            dtype="bfloat16",
        ),
        objectives={"contrastive": Spec("contrastive", temperature=0.07, max_scale=100.0)},
        optimizer=OptimizerConfig(
            learning_rate=5e-4,
            b2=0.98,
            eps=1e-6,
            weight_decay=0.2,
            warmup="2000 steps",
            max_grad_norm=None,
        ),
        train=TrainConfig(
            duration="32 epochs",
            evaluate_every="2000 steps",
            save_every="1000 steps",
            best_metric="recall@1",
        ),
    )
