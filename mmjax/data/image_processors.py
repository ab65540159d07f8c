"""Hugging Face image processors, as one step before augmentation and normalisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from mmjax.core.errors import ConfigError
from mmjax.core.packages import locate
from mmjax.core.typing import Float
from mmjax.data.pixels import Pixels


class HuggingFace:
    """Resizes, crops and rescales as the processor does; `mean` and `std` normalise after it."""

    def __init__(self, backend: Any):
        self._backend = backend
        normalised = getattr(backend, "do_normalize", True)
        self.mean = tuple(map(float, backend.image_mean)) if normalised else (0.0,)
        self.std = tuple(map(float, backend.image_std)) if normalised else (1.0,)
        if not getattr(backend, "do_rescale", True):
            raise ConfigError(
                111,
                f"{type(backend).__name__} does not rescale pixels to [0, 1]",
                fix="set do_rescale in its preprocessor_config.json",
            )
        height, width, _ = self(PIL.Image.new("RGB", (64, 48))).shape
        if height != width:
            raise ConfigError(
                111,
                f"{type(backend).__name__} makes pictures of {width} x {height}",
                fix="use a processor that makes squares",
            )
        self.size = int(height)
        # What black and white become, which some processors move to -1 and 1.
        ends = (self(PIL.Image.new("RGB", (height, height), c)) for c in ("black", "white"))
        self._black, self._white = (float(end[height // 2, height // 2, 0]) for end in ends)

    @classmethod
    def load(cls, name: str) -> HuggingFace:
        """From a folder or a hub id. Raises ConfigError if there is no image processor."""
        return cls(load_backend(name))

    def __call__(self, picture: PIL.Image.Image) -> Float[np.ndarray, "h w c"]:
        """float32 in [0, 1], resized and cropped."""
        made = self._backend(images=[picture], do_normalize=False, return_tensors="np")
        return np.ascontiguousarray(made["pixel_values"][0].transpose(1, 2, 0), np.float32)

    def part(
        self, picture: PIL.Image.Image, box: tuple[int, int, int, int]
    ) -> Float[np.ndarray, "h w c"]:
        """As a call, but of the part in `box` alone, stretched to the whole."""
        given = getattr(self._backend, "resample", None)
        method = PIL.Image.Resampling.BICUBIC if given is None else PIL.Image.Resampling(given)
        pixels = np.asarray(picture.resize((self.size, self.size), method, box), np.float32)
        return self._black + pixels * np.float32((self._white - self._black) / 255)

    def save(self, folder: Path) -> None:
        """`preprocessor_config.json`."""
        self._backend.save_pretrained(str(folder))


def load_backend(name: str) -> Any:
    """The image processor of `transformers` in a folder or of a hub id, Pillow's version of it, or
    a `Pixels` that does the same.

    Raises ConfigError if there is none.
    """
    known = Pixels.of(Path(locate(name)))
    if known is not None:
        return known
    from transformers import AutoImageProcessor

    try:
        # Code from the folder is never run, nor is anyone asked on the console whether to.
        return AutoImageProcessor.from_pretrained(
            locate(name), use_fast=False, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ConfigError(
            111,
            f"no image processor '{name}': {str(error).splitlines()[0]}",
            fix="give a folder with preprocessor_config.json, or a hub id",
        ) from error
