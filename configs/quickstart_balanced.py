"""The quickstart with balanced modalities: the one that is learnt first is held back (OGM-GE).

    mmjax train configs/quickstart_balanced.py --workdir runs/balanced
    mmjax evaluate runs/balanced --modalities all-subsets   # what each modality adds

In every step the encoder of the modality that says more of the truth gets a smaller share of its
gradient, and gradients of encoders get noise of their own size (Peng et al. 2022), which takes the
place of the quickstart's losses of each modality alone. The shares are `gradient_balance/text` and
`gradient_balance/image` in `metrics.jsonl`. The rule is SGD, as in the paper: Adam would undo a
share that stays. Hardware: a laptop CPU. What it gives on the test rows is not measured.
"""

import dataclasses
import runpy
from pathlib import Path

from mmjax.train.config import Config


def get_config() -> Config:
    quick = runpy.run_path(str(Path(__file__).with_name("quickstart.py")))["get_config"]()
    sgd = dataclasses.replace(
        quick.optimizer, name="sgd", learning_rate=0.1, weight_decay=1e-4, gradient_noise=1.0
    )
    model = dataclasses.replace(quick.model, gradient_balance=0.3, auxiliary_loss=0.0)
    return dataclasses.replace(quick, model=model, optimizer=sgd)
