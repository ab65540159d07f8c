"""A run as a folder that can be served: its program, parameters, processors and model card.

    mmjax.export("runs/first", "exported")
    program = mmjax.export.load("exported")
    program.predict({"text": "red apple", "image": "a.png"})

- `program.py`: what a servable model promises, whatever it is made of.
- `inputs.py`: raw items to arrays, in buckets of lengths. `loaded.py`: a folder as a program.
- `tracing.py`: a model as StableHLO for several platforms; `streaming.py`: one that writes texts,
  as the first token and one token more. `variants.py`: how parameters are kept.
- `folder.py`: the files, their sums, and how they are written at once. `card.py`: the model card.
- `pointer.py`: which folder is served, and which was before.

All but `tracing.py` and `streaming.py` are read without Flax. To add a way to store parameters: a
name in `VARIANTS` with its branch in `stored` and `restored`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmjax.export.loaded import Exported, load

__all__ = ["Exported", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("mmjax.export.loaded"), name)
    raise AttributeError(f"module 'mmjax.export' has no attribute '{name}'")
