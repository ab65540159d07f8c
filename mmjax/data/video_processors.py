"""Hugging Face image processors on the frames of videos, up to augmentation and normalisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Shaped
from mmjax.data import image_processors

VIDEO_CLASSES = ("VideoMAEImageProcessor", "VivitImageProcessor")


class HuggingFace:
    """Resizes and crops frames as the processor does; x in [0, 1] is then (x - `mean`) / `std`.

    Takes VideoMAE's and ViViT's processors, and any image processor, whose model then sees frames.
    """

    def __init__(self, backend: Any):
        self._backend = backend
        self._images: image_processors.HuggingFace | None = None
        if type(backend).__name__ not in VIDEO_CLASSES:
            self._images = image_processors.HuggingFace(backend)
            self.mean, self.std = self._images.mean, self._images.std
            self.size = self._images.size
            return
        if not backend.do_rescale:
            raise ConfigError(
                111,
                f"{type(backend).__name__} does not rescale pixels",
                fix="set do_rescale in its preprocessor_config.json",
            )
        normalised = backend.do_normalize
        mean = np.array(backend.image_mean if normalised else (0.0,), np.float64)
        std = np.array(backend.image_std if normalised else (1.0,), np.float64)
        # ViViT rescales to [-1, 1] first; here both steps are one.
        scale = 255 * backend.rescale_factor
        self.mean = tuple(((mean + float(getattr(backend, "offset", False))) / scale).tolist())
        self.std = tuple((std / scale).tolist())
        height, width, _ = self(PIL.Image.new("RGB", (64, 48))).shape
        if height != width:
            raise ConfigError(
                111,
                f"{type(backend).__name__} makes frames of {width} x {height}",
                fix="use a processor that makes squares",
            )
        self.size = int(height)

    @classmethod
    def load(cls, name: str) -> HuggingFace:
        """From a folder or a hub id. Raises ConfigError if there is no image processor."""
        return cls(image_processors.load_backend(name))

    def __call__(self, picture: PIL.Image.Image) -> Shaped[np.ndarray, "h w c"]:
        """uint8, or float32 in [0, 1]."""
        if self._images is not None:
            return self._images(picture)
        # ViViT's offset belongs to its rescaling.
        off = {"offset": False} if hasattr(self._backend, "offset") else {}
        made = self._backend([[picture]], do_rescale=False, do_normalize=False, **off)
        frame = np.asarray(made["pixel_values"][0][0])
        return np.ascontiguousarray(frame.transpose(1, 2, 0))

    def part(
        self, picture: PIL.Image.Image, box: tuple[int, int, int, int]
    ) -> Shaped[np.ndarray, "h w c"]:
        """As a call, but of the part in `box` alone, stretched to the whole."""
        if self._images is not None:
            return self._images.part(picture, box)
        method = PIL.Image.Resampling(self._backend.resample)
        return np.asarray(picture.resize((self.size, self.size), method, box))

    def save(self, folder: Path) -> None:
        """`preprocessor_config.json`."""
        self._backend.save_pretrained(str(folder))
