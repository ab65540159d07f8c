"""Writes resize_positions.npz with torch: `python tests/golden/make_resize_positions.py`."""

from pathlib import Path

import numpy as np
import torch

CASES = {
    "bicubic": [((4, 4), (7, 5)), ((5, 3), (2, 9)), ((6, 6), (3, 3)), ((1, 3), (4, 4))],
    "linear": [((4, 4), (7, 5)), ((6, 5), (3, 2)), ((3,), (7,)), ((2, 3, 4), (3, 2, 5))],
}
MODES = {"linear1": "linear", "linear2": "bilinear", "linear3": "trilinear", "bicubic2": "bicubic"}

arrays = {}
for method, cases in CASES.items():
    for old, new in cases:
        table = np.random.default_rng(len(arrays)).standard_normal((*old, 3)).astype(np.float32)
        first = torch.from_numpy(np.moveaxis(table, -1, 0)[None].copy())
        found = torch.nn.functional.interpolate(
            first, size=new, mode=MODES[f"{method}{len(old)}"], align_corners=False
        )
        case = f"{method}_{'x'.join(map(str, old))}_{'x'.join(map(str, new))}"
        arrays[f"{case}_table"] = table.reshape(1, -1, 3)
        arrays[f"{case}_resized"] = np.moveaxis(found.numpy()[0], 0, -1).reshape(1, -1, 3)
np.savez_compressed(Path(__file__).with_name("resize_positions.npz"), **arrays)
