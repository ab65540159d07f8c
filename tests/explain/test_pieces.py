"""The pieces of explanations: places of tokens, rollout, noise, neighbours, and what is written."""

from __future__ import annotations

import io
import itertools
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from mmjax.explain import drawing, panels
from mmjax.explain.attention_gradients import relevance
from mmjax.explain.curves import moved
from mmjax.explain.explanation import Explanation, Part, smaller
from mmjax.explain.grad_cam import GradCam
from mmjax.explain.hires_cam import HiResCam
from mmjax.explain.maps import Maps, joint, read_from
from mmjax.explain.neighbours import closest
from mmjax.explain.rollout import rollout
from mmjax.explain.smooth_grad import smooth_gradients
from mmjax.explain.tokens import spread


def test_tokens_go_to_the_places_that_they_are_of():
    rng = np.random.default_rng(0)
    words = rng.random((2, 5)).astype(np.float32)
    np.testing.assert_array_equal(spread(words, (5,), "text"), words)
    # A class token comes first.
    np.testing.assert_array_equal(spread(words, (4,), "table"), words[:, 1:])
    # Four patches of a picture and a class token: each corner is its own patch's.
    vit = SimpleNamespace(patch=4)
    picture = np.asarray(spread(words, (8, 8), "image", vit))
    corners = picture[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_allclose(corners, words[:, 1:], rtol=1e-6)
    # Positions of a network's last map, of pictures that are wider than high.
    wide = np.asarray(spread(rng.random((2, 8)), (4, 8), "image"))
    assert wide.shape == (2, 4, 8)
    # Two views of a row, each of its own tokens.
    views = np.asarray(spread(np.repeat([[1.0, 2.0]], 4, axis=1), (2, 8, 8), "image"))
    assert (views[0, 0] == 1).all()
    assert (views[0, 1] == 2).all()
    # Tokens over time, each over all bands; frames of a video, each over all of it.
    time = np.asarray(spread(words[:, :2], (6, 3), "audio"))
    assert (time == time[..., :1]).all()
    np.testing.assert_allclose(time[:, [0, -1], 0], words[:, :2])
    film = np.asarray(spread(words[:, :3], (3, 4, 4), "video"))
    np.testing.assert_allclose(film[:, :, 0, 0], words[:, :3])


def test_bands_come_first_among_the_patches_of_a_spectrogram():
    encoder = SimpleNamespace(patch=4, time_stride=4, frequency_stride=4)
    tokens = np.arange(2 + 6, dtype=np.float32)[None]
    found = np.asarray(spread(tokens, (12, 8), "audio", encoder))[0]
    # Two rows of bands, three columns of frames, behind two class tokens.
    np.testing.assert_allclose(found[[0, -1, 0, -1], [0, 0, -1, -1]], [2, 4, 5, 7])


def test_rollout_and_relevance_are_the_papers_products():
    rng = np.random.default_rng(1)
    weights = rng.random((2, 3, 4, 4))
    weights /= weights.sum(axis=-1, keepdims=True)
    rolled, related = (np.repeat(np.eye(4)[None], 3, axis=0) for _ in range(2))
    for layer in weights:
        rolled = (layer + np.eye(4)) / 2 @ rolled
        related = related + layer @ related
    np.testing.assert_allclose(rollout(jnp.asarray(weights)), rolled, rtol=1e-5)
    np.testing.assert_allclose(relevance(jnp.asarray(weights)), related, rtol=1e-5)
    np.testing.assert_allclose(rollout(jnp.asarray(weights)).sum(axis=-1), 1, rtol=1e-5)


def test_the_tokens_of_all_groups_are_one_sequence():
    rng = np.random.default_rng(2)
    cross, own = rng.random((1, 2, 3, 4)), rng.random((2, 2, 1, 3))
    masks = {"text": jnp.ones((2, 3), bool), "image": jnp.ones((2, 4), bool)}
    maps = Maps({}, {"text<-image": jnp.asarray(cross), "cls<-text": jnp.asarray(own)}, masks)
    whole, spans = joint(maps, -1, ("text", "image"))
    assert spans == {"cls": (0, 1), "text": (1, 4), "image": (4, 8)}
    np.testing.assert_allclose(whole[:, 1:4, 4:8], cross[0], rtol=1e-6)
    np.testing.assert_allclose(whole[:, :1, 1:4], own[1], rtol=1e-6)
    # The layer before has the class token alone.
    before, _ = joint(maps, -2, ("text", "image"))
    assert not np.asarray(before[:, 1:]).any()
    read = read_from(whole, spans, masks)
    np.testing.assert_allclose(read["text"], own[1, :, 0], rtol=1e-6)


def test_smooth_gradients_of_a_square_are_its_gradient_on_average():
    values = {"x": jnp.asarray(np.random.default_rng(3).normal(size=(2, 50)), jnp.float32)}

    def square(given):
        return (given["x"] ** 2).sum(axis=1)

    key = jax.random.key(0)
    still = smooth_gradients(square, values, key, noise=0.0, samples=2)
    np.testing.assert_allclose(still["x"], 2 * values["x"], rtol=1e-5)
    noisy = smooth_gradients(square, values, key, noise=0.1, samples=400)
    span = np.ptp(np.asarray(values["x"]), axis=1).max()
    assert abs(np.asarray(noisy["x"] - 2 * values["x"])).max() < 2 * 0.1 * span * 4 / 20
    squared = smooth_gradients(square, values, key, noise=0.0, samples=2, squared=True)
    np.testing.assert_allclose(squared["x"], 4 * values["x"] ** 2, rtol=1e-5)


def test_the_closest_rows_are_those_of_the_largest_cosines():
    rng = np.random.default_rng(4)
    own, others = rng.normal(size=(3, 5)), rng.normal(size=(7, 5))
    others[6] = others[2] * 3
    cosines, order = closest(own, others, 4)
    lengths = np.linalg.norm(own, axis=1)[:, None] * np.linalg.norm(others, axis=1)
    whole = own @ others.T / lengths
    for row in range(3):
        expected = sorted(range(7), key=lambda j: (-round(whole[row, j], 12), j))[:4]
        assert order[row].tolist() == expected
        np.testing.assert_allclose(cosines[row], whole[row, expected])


def test_a_moved_map_has_the_same_numbers_elsewhere():
    rng = np.random.default_rng(6)
    values = rng.random((4, 9, 6))
    valid = np.ones(values.shape, bool)
    valid[1, 5:] = False
    values[~valid] = 0
    found = moved(values, valid, rng)
    assert not np.array_equal(found, values)
    for row in range(4):
        np.testing.assert_array_equal(np.sort(found[row], None), np.sort(values[row], None))
    assert not found[1, 5:].any()
    # As coarse: neighbours stay neighbours.
    apart = np.abs(np.diff(values[0], axis=0, append=values[0][:1])).sum()
    assert np.abs(np.diff(found[0], axis=0, append=found[0][:1])).sum() == pytest.approx(apart)


def test_each_place_times_its_own_gradient_is_grad_cam_where_the_mean_is_pooled():
    rng = np.random.default_rng(7)
    maps = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    mean = np.broadcast_to(rng.normal(size=(2, 1, 1, 5)), maps.shape).astype(np.float32)
    np.testing.assert_allclose(
        HiResCam().weighed(maps, mean), GradCam().weighed(maps, mean), atol=1e-5
    )
    # Where only one place is looked at, it is found, and nothing else.
    one = np.zeros_like(maps)
    one[:, 1, 2] = maps[:, 1, 2]
    seen = np.asarray(HiResCam().weighed(maps, one))
    np.testing.assert_allclose(seen[:, 1, 2], (maps[:, 1, 2] ** 2).sum(axis=-1), rtol=1e-5)
    assert np.count_nonzero(seen) == 2


def explanation() -> Explanation:
    rng = np.random.default_rng(5)
    words = ("a", "$<b>$", "longer" * 30, "d")
    parts = {
        "text": Part("text", rng.normal(size=6), None, words, ((0,), (1, 2), (3,), (4, 5))),
        "image": Part("image", rng.normal(size=(2, 8, 8)), rng.random((2, 8, 8, 3))),
        "digit": Part("image", rng.normal(size=(8, 8)), rng.random((8, 8, 1)), signed=False),
        "film": Part("video", rng.normal(size=(4, 8, 8)), rng.random((4, 8, 8, 3))),
        "scan": Part("volume", rng.normal(size=(9, 8, 8)), rng.normal(size=(9, 8, 8, 1))),
        "sound": Part("audio", rng.normal(size=(12, 5)), rng.normal(size=(12, 5))),
        "wave": Part("audio", rng.normal(size=40), rng.normal(size=40)),
        "row": Part("table", rng.normal(size=2), None, ("weight = 1", "place = sea")),
        "cloud": Part("points", np.zeros(7), rng.normal(size=(7, 3))),
    }
    pairs = {"text<-image": rng.random((4, 2, 8, 8)), "text<-row": rng.random((4, 2))}
    numbers = {name: float(part.values.sum()) for name, part in parts.items()}
    facts = {"n": np.float32(2), "list": np.arange(2), "none": float("nan")}
    return Explanation(3, "r3", "made", "logit of a", 1.5, numbers, parts, pairs, facts)


def test_every_kind_of_part_is_drawn_and_written(tmp_path):
    one = explanation()
    path = one.draw(tmp_path / "picture.png")
    with PIL.Image.open(path) as picture:
        assert picture.width == 800
        pixels = np.asarray(picture.convert("RGB"))
    # Both colours are there: something speaks for, and something against.
    assert (pixels[..., 0].astype(int) - pixels[..., 2] > 80).sum() > 100
    assert (pixels[..., 2].astype(int) - pixels[..., 0] > 80).sum() > 100
    line = json.loads(json.dumps(one.as_json(), allow_nan=False))
    values = one.parts["text"].values
    assert [name for name, _ in line["parts"]["text"]["names"]] == list(one.parts["text"].names)
    assert line["parts"]["text"]["names"][1][1] == pytest.approx(values[1] + values[2], rel=1e-5)
    assert line["facts"] == {"n": 2.0, "list": [0, 1], "none": None}
    assert np.shape(line["parts"]["film"]["values"]) == (4, 8, 8)


def test_words_stand_beside_one_another_inside_the_sheet():
    words = ["a", "longer" * 40, "x" * 97, "$<b>$", "two\nlines", "", *["word"] * 40]
    lines = drawing._lines(words)
    assert [index for line in lines for _, index, _ in line] == list(range(len(words)))
    for line in lines:
        sides = [(left, left + panels.width(word, 9, mono=True)) for left, _, word in line]
        assert all(own[1] < after[0] for own, after in itertools.pairwise(sides))
        assert sides[0][0] >= panels.EDGE
        assert sides[-1][1] <= panels.WIDE - panels.EDGE
    # Scripts that are read from the right begin there.
    arabic = drawing._lines(["1", "السلام", "عليكم"])[0]
    assert [left for left, _, _ in arabic] == sorted((left for left, _, _ in arabic), reverse=True)


def test_as_much_of_a_text_is_kept_as_there_is_room_for():
    text = "a longer text than there is room for"
    short = panels.fit(text, 100)
    assert text.startswith(short[:-1])
    assert short.endswith("…")
    assert panels.width(short) <= 100 < panels.width(text[: len(short)] + "…")
    assert panels.fit(text, panels.width(text)) == text


@pytest.mark.parametrize(
    ("low", "high", "whole", "texts"),
    [
        (-0.2, 0.4, False, ["−0.2", "0", "0.2", "0.4"]),
        (-0.5, 2.5, True, ["0", "1", "2"]),
        (-0.5, 0.5, True, ["0"]),
        (0, 2e-7, False, ["0", "5.0e−08", "1.0e−07", "1.5e−07", "2.0e−07"]),
        (1.7e9, 1.7e9 + 4, False, [f"170000000{n}" for n in range(5)]),
    ],
)
def test_marks_of_a_scale_are_round_and_told_apart(low, high, whole, texts):
    scale = panels.Scale(low, high, 300, 0, whole)
    marks = scale.marks(75)
    assert [text for _, text in marks] == texts
    for place, text in marks:
        assert place == scale.at(float(text.replace("−", "-")))


def test_what_is_no_number_is_drawn_as_nothing():
    values = np.array([[np.nan, 1.0], [-np.inf, 0.0]])
    part = Part("image", values, np.full((2, 2, 3), np.nan))
    wave = Part("audio", values[0], values[0])
    numbers = {"image": float("nan"), "wave": float("inf")}
    one = Explanation(0, "r", "made", "x", float("nan"), numbers, {"image": part, "wave": wave})
    with PIL.Image.open(io.BytesIO(drawing.png(one))) as picture:
        assert picture.width == panels.WIDE


def test_large_maps_are_written_as_means_of_blocks():
    values = np.arange(256.0 * 256).reshape(256, 256)
    found = smaller(values)
    assert found.shape == (64, 64)
    np.testing.assert_allclose(found, values.reshape(64, 4, 64, 4).mean(axis=(1, 3)))
