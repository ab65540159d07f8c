r"""The English name of an EMOJI concept by a language model that sees its drawings: LLaVA's shape.

    mmjax train configs/emoji_llava.py --workdir runs/emoji_llava

The patches of a drawing go through a connector of two layers and stand before the words. The
language model has Llama's blocks and starts from nothing, as its tokenizer is learnt. With one that
is pretrained, frozen:

    mmjax train configs/emoji_llava.py task.pretrained=FOLDER task.decode_with=null \
        'optimizer.multipliers={"^/task/decoder/": 0.0}' --workdir runs/emoji_llava

Splits and views are those of `emoji_captioning.py`. Not measured.
"""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig


def get_config() -> Config:
    language_model = Spec(
        "causal_lm",
        width=128,
        depth=3,
        heads=4,
        mlp_dim=256,
        positions="rotary",
        norm_kind="rms",
        gated=True,
        activation="silu",
        use_bias=False,
        mlp_bias=False,
        dropout=0.2,
        embeddings_dropout=0.2,
    )
    return Config(
        data=DataConfig(
            source=Spec("emoji"),
            modalities={
                "image": Spec(
                    "image",
                    columns=("twemoji", "noto"),
                    size=32,
                    mean=(1.0,),
                    std=(0.5,),
                    augment={
                        "affine": {"degrees": 8, "scale": 0.1, "pixels": 2, "flip": 0.5},
                        "jitter": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.2},
                    },
                ),
            },
            targets={"label": Spec("text", column="name", vocab_size=1200, max_length=24)},
            split=SplitConfig(column="split"),
            id_column="index",
            batch_size=32,
            eval_batch_size=128,
        ),
        model=ModelConfig(
            encoders={"image": Spec("vit", patch=4, width=128, depth=3, heads=4, mlp_dim=256)},
            fusion=Spec("unchanged", width=128),
        ),
        task=Spec(
            "captioning",
            reads="prefix",
            connector="mlp",
            decode_with=language_model,
            label_smoothing=0.1,
        ),
        optimizer=OptimizerConfig(
            learning_rate=1e-3, b2=0.99, weight_decay=0.05, warmup="10%", end_fraction=0.01
        ),
        train=TrainConfig(
            duration="30 epochs",
            ema_decay=0.99,
            evaluate_every="10 epochs",
            save_every="10 epochs",
            best_metric="chrf",
        ),
    )
