"""RandAugment's operations against Pillow's."""

from __future__ import annotations

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest

from mmjax.data.transforms import geometric
from mmjax.data.transforms.randaugment import randaugment

NAMES = [
    *("identity", "autocontrast", "equalize", "rotate", "solarize", "colour", "posterize"),
    *("contrast", "brightness", "sharpness", "shear_x", "shear_y", "move_x", "move_y"),
]
PIXELS = np.random.default_rng(0).integers(20, 220, (21, 27, 3), dtype=np.uint8)


def _one(name: str, magnitude: float, sign: int = 1, channels: int = 3) -> np.ndarray:
    """A picture after one operation, in 0 to 255."""
    draws = np.zeros((1, 8))
    draws[0, :2] = (NAMES.index(name) + 0.5) / len(NAMES), 0.75 if sign > 0 else 0.25
    image = PIXELS[None, :, :, :channels] / np.float32(255)
    return randaugment(image, draws, operations=1, magnitude=magnitude)[0] * 255


def _enhanced(name: str, picture: PIL.Image.Image, factor: float) -> PIL.Image.Image:
    return getattr(PIL.ImageEnhance, name)(picture).enhance(factor)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("magnitude", [0, 9, 20, 30])
@pytest.mark.parametrize("channels", [3, 1])
def test_colours_are_those_of_pillow(magnitude, sign, channels):
    picture = PIL.Image.fromarray(PIXELS if channels == 3 else PIXELS[..., 0])
    level = magnitude / 30
    factor = 1 + sign * 0.9 * level
    wanted = {
        "identity": picture,
        "autocontrast": PIL.ImageOps.autocontrast(picture),
        "equalize": PIL.ImageOps.equalize(picture),
        "posterize": PIL.ImageOps.posterize(picture, 8 - round(4 * level)),
        "brightness": _enhanced("Brightness", picture, factor),
        "contrast": _enhanced("Contrast", picture, factor),
        "sharpness": _enhanced("Sharpness", picture, factor),
        "colour": _enhanced("Color", picture, factor),
    }
    for name, want in wanted.items():
        got = _one(name, magnitude, sign, channels)
        want = np.asarray(want).reshape(got.shape).astype(float)
        # Pillow rounds to whole numbers at each step.
        assert np.abs(got - want).max() <= 2.1, name


@pytest.mark.parametrize("magnitude", [0, 9, 30])
def test_solarizing_turns_what_is_bright(magnitude):
    limit = 255 * (1 - magnitude / 30)
    want = np.where(limit > PIXELS, PIXELS, 255 - PIXELS.astype(float))
    np.testing.assert_allclose(_one("solarize", magnitude), want, atol=1e-3)


@pytest.mark.parametrize("sign", [1, -1])
def test_geometry(sign):
    image = PIXELS[None] / np.float32(255)
    level = sign * 12 / 30
    h, w = PIXELS.shape[:2]
    turned = geometric.rotate(image, np.array([[1.0 if sign > 0 else 0.0]]), 30 * 12 / 30)
    np.testing.assert_allclose(_one("rotate", 12, sign), turned[0] * 255, atol=1e-3)
    matrices = {
        "shear_x": [[1, 0.3 * level, 0], [0, 1, 0]],
        "shear_y": [[1, 0, 0], [0.3 * level, 1, 0]],
        "move_x": [[1, 0, 150 / 331 * level * w], [0, 1, 0]],
        "move_y": [[1, 0, 0], [0, 1, 150 / 331 * level * h]],
    }
    for name, matrix in matrices.items():
        want = geometric.warp(image, np.array([matrix], np.float32))[0] * 255
        np.testing.assert_allclose(_one(name, 12, sign), want, atol=1e-3, err_msg=name)


def test_operations_follow_each_other():
    image = PIXELS[None] / np.float32(255)
    draws = np.zeros((1, 8))
    draws[0, :4] = (4.5 / 14, 0.75, 8.5 / 14, 0.25)
    got = randaugment(image, draws, operations=2, magnitude=15)[0]
    solarized = np.where(image < 0.5, image, 1 - image)[0]
    np.testing.assert_allclose(got, solarized * 0.55, atol=1e-6)


def test_all_operations_are_drawn_alike():
    rng = np.random.default_rng(0)
    images = np.repeat(PIXELS[None] / np.float32(255), 1400, axis=0)
    draws = rng.random((1400, 8))
    changed = randaugment(images, draws, operations=1, magnitude=30)
    assert changed.shape == images.shape
    assert changed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 1
    same = (np.abs(changed - images) < 1e-6).all(axis=(1, 2, 3))
    assert abs(same.mean() - 1 / 14) < 0.02


def test_flat_and_tiny_pictures_stay_finite():
    for shape in ((4, 1, 1, 3), (4, 2, 2, 3), (4, 5, 5, 1)):
        flat = np.full(shape, 0.3, np.float32)
        for seed in range(20):
            draws = np.random.default_rng(seed).random((4, 8))
            assert np.isfinite(randaugment(flat, draws, operations=4, magnitude=30)).all()
