"""What the pixels of a picture hold: jitter, grayscale, cutout, noise."""

from __future__ import annotations

import numpy as np

from mmjax.core.typing import Float

Images = Float[np.ndarray, "b h w c"]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""The weights of red, green and blue in brightness (ITU-R BT.601), as Pillow has them."""

_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)


def jitter(
    images: Images,
    draws: Float[np.ndarray, "b 4"],
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Images:
    """Brightness, contrast, saturation and hue, each by a random amount, in that order.

    Each factor of the first three is uniform in [1 - x, 1 + x]; `hue` is in turns. Contrast is
    about the mean luma, and hue a turn of the chroma plane of YIQ, so that all four are one linear
    map of the colours, clipped to [0, 1] once at the end. One channel takes the first two only.
    """
    b, h, w, c = images.shape
    spread = np.array([brightness, contrast, saturation, hue])
    bright, away, rich, turn = (spread * (2 * draws - 1)).T
    bright, away, rich = (np.maximum(0, 1 + change) for change in (bright, away, rich))
    pixels = images.reshape(b, h * w, c)
    mean = np.full(h * w, 1 / (h * w), np.float32) @ pixels
    if c == 1:
        changed = pixels * (bright * away).astype(np.float32)[:, None, None]
        gray = mean[:, 0]
    else:
        chroma = np.zeros((b, 3, 3))
        chroma[:, 0, 0] = 1
        chroma[:, 1, 1] = chroma[:, 2, 2] = rich * np.cos(2 * np.pi * turn)
        chroma[:, 2, 1] = rich * np.sin(2 * np.pi * turn)
        chroma[:, 1, 2] = -chroma[:, 2, 1]
        matrices = (bright * away)[:, None, None] * (_RGB @ chroma @ _YIQ)
        changed = pixels @ matrices.transpose(0, 2, 1).astype(np.float32)
        gray = luma(mean)
    changed += (gray * ((1 - away) * bright)).astype(np.float32)[:, None, None]
    np.clip(changed, 0, 1, out=changed)
    return changed.reshape(images.shape)


def grayscale(images: Images, draws: Float[np.ndarray, "b 1"], probability: float) -> Images:
    """Its luma in every channel, with `probability`."""
    if images.shape[-1] == 1:
        return images
    gray = luma(images)[..., None]
    return np.where((draws < probability)[:, :, None, None], gray, images)


def luma(colours: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """The brightness of colours."""
    # Not a product with LUMA: BLAS rounds that differently for other numbers of pictures.
    red, green, blue = (colours[..., i] * LUMA[i] for i in range(3))
    return red + green + blue


def cutout(
    images: Images,
    draws: Float[np.ndarray, "b 4"],
    pixels: float,
    probability: float = 1.0,
    fill: float = 0.5,
) -> Images:
    """A square of `pixels` / 3 to `pixels` a side replaced by `fill`, with `probability`.

    Its centre lies anywhere in the picture, so that some of it may fall outside (DeVries and Taylor
    2017).
    """
    _, h, w, _ = images.shape
    side = pixels * (1 + 2 * draws[:, 1]) / 3
    middle = draws[:, 2:] * (h, w)
    first = np.rint(middle - side[:, None] / 2).clip(0).astype(int)
    stop = np.rint(middle + side[:, None] / 2).clip(0).astype(int)
    changed = images.copy()
    for i in np.flatnonzero(draws[:, 0] < probability):
        changed[i, first[i, 0] : stop[i, 0], first[i, 1] : stop[i, 1]] = fill
    return changed


def noise(images: Images, draws: Float[np.ndarray, "b 2"], deviation: float) -> Images:
    """Gaussian noise whose standard deviation is uniform in [0, `deviation`]; clipped to [0, 1]."""
    changed = np.empty_like(images)
    for i, (strength, seed) in enumerate(draws):
        rng = np.random.Generator(np.random.Philox(key=int(seed * 2**53)))
        rng.standard_normal(dtype=np.float32, out=changed[i])
        changed[i] *= np.float32(deviation * strength)
    changed += images
    return np.clip(changed, 0, 1, out=changed)
