"""Picture transforms against SciPy, Pillow and closed forms."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from mmjax.core.errors import ConfigError
from mmjax.data.transforms import colour, geometric, words
from mmjax.data.transforms.augment import FUNCTIONS, Augment
from mmjax.data.transforms.resize import part_to_square, random_box, to_square

STRENGTHS = {
    "affine": {"degrees": 20, "scale": 0.2, "stretch": 0.1, "shear": 0.1, "pixels": 3, "flip": 0.5},
    "crop": 0.4,
    "cutout": {"pixels": 6, "probability": 0.7},
    "flip": 0.5,
    "grayscale": 0.5,
    "jitter": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1},
    "noise": 0.1,
    "randaugment": {"operations": 4, "magnitude": 15},
    "rotate": 30,
    "shift": 3,
}


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).random((5, 12, 17, 3), np.float32)


def _warped(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """SciPy's bilinear affine transform, in (y, x) order about the centre."""
    h, w, c = image.shape
    turned = matrix[::-1, [1, 0]]
    centre = np.array([(h - 1) / 2, (w - 1) / 2])
    offset = matrix[::-1, 2] + centre - turned @ centre
    planes = [
        ndimage.affine_transform(
            image[..., i].astype(np.float64), turned, offset, order=1, mode="nearest"
        )
        for i in range(c)
    ]
    return np.stack(planes, axis=-1)


def test_warp_agrees_with_scipy(images):
    rng = np.random.default_rng(1)
    matrices = (np.eye(2, 3) + rng.normal(0, 0.3, (5, 2, 3))).astype(np.float32)
    matrices[..., 2] *= 20
    got = geometric.warp(images, matrices)
    want = np.stack(
        [_warped(i, m.astype(np.float64)) for i, m in zip(images, matrices, strict=True)]
    )
    np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_warp_takes_pictures_one_pixel_wide(shape):
    image = np.random.default_rng(0).random((1, *shape, 3), np.float32)
    matrix = np.array([[[0.9, 0.1, 0.4], [-0.2, 1.1, -0.3]]], np.float32)
    np.testing.assert_allclose(
        geometric.warp(image, matrix)[0], _warped(image[0], matrix[0]), atol=1e-5
    )


def test_rotation_by_a_quarter_is_rot90():
    square = np.random.default_rng(0).random((2, 9, 9, 3), np.float32)
    turned = geometric.rotate(square, np.array([[1.0], [0.0]]), 90)
    want = [np.rot90(square[0], 1), np.rot90(square[1], -1)]
    np.testing.assert_allclose(turned, want, atol=1e-5)


def test_affine_can_only_mirror(images):
    draws = np.full((5, 7), 0.5)
    draws[:, 6] = [0.1, 0.9, 0.1, 0.9, 0.1]
    got = geometric.affine(images, draws, flip=0.5)
    np.testing.assert_allclose(got[::2], images[::2, :, ::-1], atol=1e-5)
    np.testing.assert_allclose(got[1::2], images[1::2], atol=1e-5)


def test_shift_is_a_crop_of_the_edge_padded_picture(images):
    draws = np.random.default_rng(2).random((5, 2))
    got = geometric.shift(images, draws, 3)
    for image, moved, draw in zip(images, got, draws, strict=True):
        down, right = np.floor(draw * 7).astype(int) - 3
        padded = np.pad(image, ((3, 3), (3, 3), (0, 0)), mode="edge")
        assert np.array_equal(moved, padded[3 - down : 15 - down, 3 - right : 20 - right])


def test_shift_reaches_all_distances_alike():
    ramp = np.tile(np.arange(32, dtype=np.float32)[None, None, :, None], (1, 32, 1, 1))
    moves = [
        int(16 - geometric.shift(ramp, draws[None], 2)[0, 0, 16, 0])
        for draws in np.random.default_rng(0).random((2000, 2))
    ]
    counts = np.bincount(np.array(moves) + 2, minlength=5)
    assert len(counts) == 5
    assert counts.min() > 330


def test_crop_covers_the_area_it_was_asked_for(images):
    whole = geometric.crop(images, np.random.default_rng(0).random((5, 4)), 1.0, ratio=1.0)
    np.testing.assert_allclose(whole, images, atol=1e-5)
    ramp = np.tile(np.arange(41, dtype=np.float32)[None, None, :, None], (1, 41, 1, 1))
    part = geometric.crop(ramp, np.array([[0.0, 0.5, 0.0, 1.0]]), 0.25, ratio=2.0)[0, 0, :, 0]
    # A quarter of the area, square, as far right as it goes: columns 20 to 40.
    np.testing.assert_allclose(part, np.linspace(20, 40, 41), atol=1e-4)


def test_brightness_and_contrast_follow_their_formulas(images):
    draws = np.random.default_rng(3).random((5, 4))
    got = colour.jitter(images, draws, brightness=0.4, contrast=0.4)
    for image, changed, draw in zip(images, got, draws, strict=True):
        bright = image.astype(np.float64) * (1 + 0.4 * (2 * draw[0] - 1))
        mean = (bright @ [0.299, 0.587, 0.114]).mean()
        want = mean + (bright - mean) * (1 + 0.4 * (2 * draw[1] - 1))
        np.testing.assert_allclose(changed, want.clip(0, 1), atol=1e-5)


def test_no_saturation_is_gray_and_a_whole_turn_of_hue_is_nothing(images):
    gray = colour.jitter(images, np.full((5, 4), 0.0), saturation=1.0)
    want = np.repeat((images @ np.array([0.299, 0.587, 0.114], np.float32))[..., None], 3, axis=-1)
    np.testing.assert_allclose(gray, want, atol=1e-4)
    np.testing.assert_allclose(colour.jitter(images, np.ones((5, 4)), hue=1.0), images, atol=1e-5)


def test_hue_keeps_luma_and_moves_red_towards_green():
    red = np.full((1, 4, 4, 3), (0.6, 0.4, 0.4), np.float32)
    turned = colour.jitter(red, np.full((1, 4), 1.0), hue=1 / 3)
    np.testing.assert_allclose(turned @ colour.LUMA, red @ colour.LUMA, atol=1e-5)
    assert len({round(float(v), 3) for v in turned[0, 0, 0]}) > 1
    assert turned[0, 0, 0].argmax() != red[0, 0, 0].argmax()


def test_jitter_takes_one_channel(images):
    gray = images[..., :1]
    got = colour.jitter(gray, np.full((5, 4), 1.0), brightness=0.5, contrast=0.2)
    mean = 1.5 * gray.mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(got, (mean + (1.5 * gray - mean) * 1.2).clip(0, 1), atol=1e-5)


def test_grayscale_is_pillows(images):
    pixels = (images * 255).astype(np.uint8)
    got = colour.grayscale(pixels / np.float32(255), np.zeros((5, 1)), 0.5)
    for image, gray in zip(pixels, got, strict=True):
        want = np.asarray(PIL.Image.fromarray(image).convert("L"))
        assert np.abs(gray[..., 1] * 255 - want).max() <= 1
        assert np.array_equal(gray[..., 0], gray[..., 2])


def test_cutout_fills_one_square(images):
    draws = np.array([[0.0, 1.0, 0.5, 0.5], [0.9, 1.0, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]])
    got = colour.cutout(images[:3], draws, pixels=6, probability=0.5, fill=-1.0)
    filled = (got == -1).all(axis=-1)
    assert filled.sum(axis=(1, 2)).tolist() == [36, 0, 1]
    assert filled[0, 3:9, 6:12].sum() >= 30
    assert np.array_equal(got[~filled], images[:3][~filled])


def test_noise_has_the_deviation_it_drew():
    gray = np.full((3, 64, 64, 3), 0.5, np.float32)
    draws = np.array([[1.0, 0.1], [0.5, 0.2], [1.0, 0.1]])
    got = colour.noise(gray, draws, 0.1)
    np.testing.assert_allclose(got.std(axis=(1, 2, 3)), [0.1, 0.05, 0.1], rtol=0.05)
    assert np.array_equal(got[0], got[2])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_picture_does_not_depend_on_its_neighbours(name, images):
    augment = Augment({name: STRENGTHS[name]})
    draws = np.random.default_rng(4).random((5, augment.draws))
    kept = images.copy()
    together = augment(images, draws)
    assert np.array_equal(images, kept), "the input is left as it was"
    assert together.shape == images.shape
    assert together.dtype == np.float32
    for i in range(5):
        assert np.array_equal(augment(images[i : i + 1], draws[i : i + 1])[0], together[i])
    assert not np.array_equal(together, images)


def test_a_chain_draws_for_each_in_turn(images):
    chain = Augment({"shift": 3, "flip": 0.5})
    draws = np.random.default_rng(5).random((5, 3))
    want = geometric.flip(geometric.shift(images, draws[:, :2], 3), draws[:, 2:], 0.5)
    assert np.array_equal(chain(images, draws), want)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rotat": 3}, "rotate"),
        ({"jitter": {"hues": 0.1}}, "hue"),
        ({"shift": "far"}, "number"),
        ({"shift": -1}, "number"),
        ({"cutout": {"probability": 0.5}}, "pixels"),
        ({"random_resize_crop": 0.3}, "random_resized_crop"),
        ({"random_resized_crop": {"small": 0.3}}, "smallest"),
        ({"random_resized_crop": 1.5}, "smallest lies in"),
        ({"random_resized_crop": {"ratio": 0.5}}, "ratio is 1 or more"),
    ],
)
def test_wrong_settings_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        Augment(settings)


def test_resizing_rules():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    picture = PIL.Image.fromarray(pixels)
    options = {"resample": "bicubic", "fill": (1, 2, 3)}
    middle = picture.resize((32, 16), PIL.Image.Resampling.BICUBIC).crop((8, 0, 24, 16))
    assert np.array_equal(to_square(picture, 16, rule="crop", **options), np.asarray(middle))
    squashed = picture.resize((16, 16), PIL.Image.Resampling.BICUBIC)
    assert np.array_equal(to_square(picture, 16, rule="squash", **options), np.asarray(squashed))
    padded = to_square(picture, 20, rule="pad", **options)
    inside = np.asarray(picture.resize((20, 10), PIL.Image.Resampling.BICUBIC))
    assert np.array_equal(padded[5:15], inside)
    assert (padded[:5] == (1, 2, 3)).all()
    assert (padded[15:] == (1, 2, 3)).all()


@pytest.mark.parametrize("rule", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_extreme_shapes_are_resized(rule, size):
    for mode, channels in (("RGB", 3), ("L", 1)):
        picture = PIL.Image.new(mode, size, "white")
        made = to_square(picture, 8, rule=rule, resample="bilinear", fill=(0,) * channels)
        assert made.shape == (8, 8, channels)


def test_random_boxes_have_the_areas_and_aspects_asked_for():
    rng = np.random.default_rng(0)
    size = (640, 480)
    boxes = np.array([random_box(size, rng.random((10, 4)), 0.08) for _ in range(4000)])
    wide, high = (boxes[:, 2:] - boxes[:, :2]).T
    assert boxes[:, :2].min() >= 0
    assert (boxes[:, 2:] <= size).all()
    share, aspect = wide * high / (640 * 480), wide / high
    assert 0.079 < share.min() < 0.1
    assert 0.745 < aspect.min() < 0.76
    assert 1.32 < aspect.max() < 1.34
    # Areas up to where every aspect fits are drawn alike.
    counts, _ = np.histogram(share, bins=np.linspace(0.08, 0.56, 7))
    assert counts.min() > 0.85 * counts.mean()
    small = share < 0.5
    assert abs(np.log(aspect[small]).mean()) < 0.01
    room = 640 - wide
    assert abs((boxes[:, 0] / np.maximum(room, 1))[room > 50].mean() - 0.5) < 0.02


def test_where_no_box_fits_the_middle_is_taken():
    draws = np.full((10, 4), 0.999)
    assert random_box((100, 10), draws) == (43, 0, 56, 10)
    assert random_box((10, 100), draws) == (0, 43, 10, 56)
    assert random_box((1, 1), draws) == (0, 0, 1, 1)
    assert random_box((1, 10_000), draws, 0.5) == (0, 4999, 1, 5000)


def test_a_part_is_stretched_as_pillow_does():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    picture = PIL.Image.fromarray(pixels)
    got = part_to_square(picture, 12, (5, 6, 40, 30), "bilinear")
    cut = picture.crop((5, 6, 40, 30)).resize((12, 12), PIL.Image.Resampling.BILINEAR)
    inside = slice(2, -2)
    assert np.abs(got.astype(int) - np.asarray(cut))[inside, inside].max() <= 2
    assert part_to_square(picture.convert("L"), 12, (5, 6, 40, 30), "bicubic").shape == (12, 12, 1)


def test_dropping_words_keeps_one_and_their_order():
    rng = np.random.default_rng(0)
    text = " ".join(f"w{i}" for i in range(1000))
    kept = words.drop_words(text, rng, 0.3).split()
    assert 650 < len(kept) < 750
    assert kept == sorted(kept, key=lambda word: int(word[1:]))
    assert all(words.drop_words("a b c", rng, 0.999) for _ in range(50))


def test_words_of_scripts_without_blanks_are_characters():
    text = "今日はとても良い天気です " * 100
    kept = words.drop_words(text, np.random.default_rng(0), 0.5)
    assert 500 < len(kept.replace(" ", "")) < 700
    mixed = "wie 今日 gut\n今 "
    assert words.drop_words(mixed, np.random.default_rng(0), 0.0) == mixed.rstrip()
    seen = {words.drop_words("今日 gut", np.random.default_rng(i), 0.5) for i in range(60)}
    assert seen == {"今", "日", "gut", "今日", "今gut", "日 gut", "今日 gut"}
