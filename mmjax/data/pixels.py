"""What image processors of `transformers` make of a picture, from their saved config alone."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from mmjax.core.files import write_json
from mmjax.core.typing import Float, Shaped

CONFIG = "preprocessor_config.json"

_ALIKE = ("ViT", "DeiT", "CLIP", "ChineseCLIP", "Siglip", "Blip", "Bit", "Beit")
_CONVNEXT = "ConvNext"
_WARPED = 384
"""A ConvNext processor takes all of a picture from this size on, and crops below it."""
_STEPS = ("do_resize", "do_rescale", "do_normalize", "rescale_factor", "size", "resample")


class Pixels:
    """Resizes, crops and rescales as a processor does whose config says every step.

    Equal to transformers 4.57 to the bit, for those of ViT, DeiT, CLIP, Chinese CLIP, SigLIP,
    BLIP, BiT (DINOv2), BEiT and ConvNeXt; called as they are, and never normalises.
    """

    def __init__(self, config: Mapping[str, Any]):
        self._config = dict(config)
        self.image_mean, self.image_std = config["image_mean"], config["image_std"]
        self.do_normalize, self.do_rescale = config["do_normalize"], config["do_rescale"]
        self.resample = config["resample"]
        factor = float(config["rescale_factor"])
        self._values = (np.arange(256) * factor).astype(np.float32)

    @classmethod
    def of(cls, folder: Path) -> Pixels | None:
        """Of a folder's config; None where there is none, or none of which all is known."""
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return cls(config) if isinstance(config, Mapping) and covers(config) else None

    def __call__(self, *, images: Sequence[PIL.Image.Image], **_: Any) -> dict[str, Any]:
        """`pixel_values`, each [c h w]."""
        return {"pixel_values": [self._one(one).transpose(2, 0, 1) for one in images]}

    def save_pretrained(self, folder: str) -> None:
        write_json(Path(folder) / CONFIG, self._config)

    def _one(self, picture: PIL.Image.Image) -> Float[np.ndarray, "h w c"]:
        config = self._config
        if config.get("do_convert_rgb", True):
            picture = picture.convert("RGB")
        crop = config.get("crop_size") if config.get("do_center_crop") else None
        size = config["size"]
        if _name(config) == _CONVNEXT:
            edge = size["shortest_edge"]
            size = {"height": edge, "width": edge}
            if edge < _WARPED:
                crop, size = size, {"shortest_edge": int(edge / config["crop_pct"])}
        picture = picture.resize(_size(picture, size), PIL.Image.Resampling(config["resample"]))
        pixels = np.asarray(picture)
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        if crop is not None:
            pixels = cropped(pixels, int(crop["height"]), int(crop["width"]))
        return self._values[pixels]


def covers(config: Mapping[str, Any]) -> bool:
    """Whether a config is of a known kind and says all that `Pixels` reads."""
    name = _name(config)
    if name not in (*_ALIKE, _CONVNEXT) or any(config.get(one) is None for one in _STEPS):
        return False
    if any(config.get(one) is None for one in ("image_mean", "image_std")):
        return False
    size, crop = config["size"], config.get("crop_size")
    if not isinstance(size, Mapping) or not (config["do_resize"] and config["do_rescale"]):
        return False
    if name == _CONVNEXT:
        return set(size) == {"shortest_edge"} and config.get("crop_pct") is not None
    if config.get("do_center_crop") and (
        not isinstance(crop, Mapping) or set(crop) != {"height", "width"}
    ):
        return False
    return set(size) in ({"shortest_edge"}, {"height", "width"})


@functools.lru_cache(maxsize=64)
def _plain(named: str) -> str:
    for end in ("Fast", "ImageProcessor", "FeatureExtractor"):
        named = named.removesuffix(end)
    return named


def _name(config: Mapping[str, Any]) -> str:
    return _plain(str(config.get("image_processor_type") or ""))


def _size(picture: PIL.Image.Image, size: Mapping[str, int]) -> tuple[int, int]:
    """Width and height: those asked for, or the shorter edge so long and the other in proportion,
    rounded down.
    """
    if "shortest_edge" not in size:
        return size["width"], size["height"]
    edge, (width, height) = size["shortest_edge"], picture.size
    longer = int(edge * max(width, height) / min(width, height))
    return (edge, longer) if width <= height else (longer, edge)


def cropped(
    pixels: Shaped[np.ndarray, "h w c"], height: int, width: int
) -> Shaped[np.ndarray, "_ _ c"]:
    """The middle, on zeros where the picture is smaller."""
    for axis, wanted in enumerate((height, width)):
        there = pixels.shape[axis]
        start = (there - wanted) // 2
        if start >= 0:
            pixels = pixels[(slice(None),) * axis + (slice(start, start + wanted),)]
            continue
        before = math.ceil((wanted - there) / 2)
        padding = [(0, 0)] * pixels.ndim
        padding[axis] = (before, wanted - there - before)
        pixels = np.pad(pixels, padding)
    return pixels
