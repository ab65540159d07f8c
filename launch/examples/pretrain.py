"""Names and drawings of emoji brought into one space by contrast, and searched by words.

python launch/examples/pretrain.py
"""

import mmjax
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

config = Config(
    data=DataConfig(
        source=Spec("emoji"),
        modalities={
            "text": Spec("text", column="name", tokenizer="subwords", max_length=32),
            "image": Spec("image", columns=("twemoji",), size=32),
        },
        split=SplitConfig(column="split"),
        id_column="index",
        batch_size=128,
    ),
    model=ModelConfig(
        encoders={
            "text": Spec("bag_of_subwords", width=64),
            "image": Spec("image_cnn", channels=(16, 32), blocks=(1, 1), groups=4, width=64),
        },
        fusion=Spec("concat", width=64),
    ),
    objectives={"clip": Spec("contrastive")},
    optimizer=OptimizerConfig(learning_rate=2e-3),
    train=TrainConfig(duration="10 epochs", best_metric="recall@10"),
)
run = mmjax.train(config, "runs/pretrain")
found = run.evaluate(split="test")
print({name: round(found[name], 3) for name in found if name.endswith("recall@10")})
index = run.embed(split="test")
for hit in run.search(index, "red apple", top=3):
    print(hit)
