"""Writes image_processors.npz: what processors of transformers make of drawn pictures.

    python tests/golden/make_image_processors.py

transformers 4.57.6 and Pillow; no torch.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
import transformers

SIZES = ((37, 23), (9, 30), (16, 16), (400, 10))
KINDS = {
    "vit": ("ViTImageProcessor", {"size": {"height": 12, "width": 12}}),
    "deit": (
        "DeiTImageProcessor",
        {"size": {"height": 15, "width": 15}, "crop_size": {"height": 12, "width": 12}},
    ),
    "clip": ("CLIPImageProcessor", {"size": {"shortest_edge": 12}, "crop_size": 12}),
    "clip_small": ("CLIPImageProcessor", {"size": {"shortest_edge": 9}, "crop_size": 14}),
    "chinese_clip": (
        "ChineseCLIPImageProcessor",
        {"size": {"height": 14, "width": 13}, "crop_size": 12},
    ),
    "siglip": ("SiglipImageProcessor", {"size": {"height": 12, "width": 12}}),
    "blip": ("BlipImageProcessor", {"size": {"height": 11, "width": 11}}),
    "dinov2": ("BitImageProcessor", {"size": {"shortest_edge": 16}, "crop_size": 13}),
    "beit": ("BeitImageProcessor", {"size": 16, "crop_size": 12}),
    "convnext": ("ConvNextImageProcessor", {"size": {"shortest_edge": 12}}),
    "convnext_warped": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
}


def picture(width: int, height: int) -> PIL.Image.Image:
    """Waves and noise, the same on every machine."""
    y, x = np.mgrid[:height, :width]
    waves = [(x * a + y * b) % 256 for a, b in ((7, 3), (2, 11), (5, 5))]
    return PIL.Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


def main() -> None:
    found = {}
    for name, (kind, options) in KINDS.items():
        made = getattr(transformers, kind)(**options)
        with tempfile.TemporaryDirectory() as folder:
            made.save_pretrained(folder)
            text = (Path(folder) / "preprocessor_config.json").read_text()
        found[f"{name}/config"] = np.array(json.dumps(json.loads(text), sort_keys=True))
        for index, size in enumerate(SIZES[:1] if name == "convnext_warped" else SIZES):
            pixels = made(images=[picture(*size)], do_normalize=False, return_tensors="np")
            values = pixels["pixel_values"][0]
            # Every eighth of a large one tells as much.
            found[f"{name}/{index}"] = values[:, ::8, ::8] if len(values[0]) > 64 else values
    np.savez_compressed(Path(__file__).with_name("image_processors.npz"), **found)


if __name__ == "__main__":
    main()
