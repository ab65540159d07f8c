"""Two towers for pictures and texts that are nowhere: only their shapes are."""

from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config

BLOCKS = {"width": 8, "depth": 2, "heads": 2, "mlp_dim": 16, "scan": True, "dropout": 0.0}


def pairs(**settings):
    """Two towers of pictures and texts that are nowhere."""
    return Config(
        data=DataConfig(
            source=Spec("webdataset", paths=("nowhere/*.tar",)),
            modalities={
                "text": Spec("text", column="text", tokenizer="bpe", vocab_size=40, max_length=4),
                "image": Spec("image", columns=("image",), size=8),
            },
            batch_size=16,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("text_transformer", **BLOCKS),
                "image": Spec("vit", patch=4, **BLOCKS),
            },
            joint_dim=8,
        ),
        objectives={"contrastive": Spec("contrastive")},
        **settings,
    )
