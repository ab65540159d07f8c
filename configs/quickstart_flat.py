"""The quickstart towards flat minima: sharpness-aware steps, and the mean of late weights.

    mmjax train configs/quickstart_flat.py --workdir runs/flat
    mmjax compare runs/quickstart runs/flat                 # against the quickstart, row by row

Each step takes its gradient where the loss is highest within a radius of 0.05 (SAM, Foret et al.
2021), which costs a second gradient. Over the last quarter the weights after each step are averaged
(SWA, Izmailov et al. 2018) in place of the quickstart's exponential average, at a learning rate
that ends at a fifth of its peak, so that they do not all lie in one point. Hardware: a laptop CPU,
about twice the quickstart's time. What it gives on the test rows is not measured.
"""

import dataclasses
import runpy
from pathlib import Path

from mmjax.train.config import Config


def get_config() -> Config:
    quick = runpy.run_path(str(Path(__file__).with_name("quickstart.py")))["get_config"]()
    return dataclasses.replace(
        quick,
        optimizer=dataclasses.replace(quick.optimizer, sam=0.05, end_fraction=0.2),
        train=dataclasses.replace(quick.train, ema_decay=0.0, average_from="75%"),
    )
