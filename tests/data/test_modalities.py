"""Pictures, tables and targets: what they learn, keep and refuse."""

from __future__ import annotations

import re

import numpy as np
import PIL.Image
import pytest
from sklearn.preprocessing import StandardScaler

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.config import modalities, targets
from mmjax.data.modalities.base import Place
from mmjax.data.modalities.image import Image
from mmjax.data.modalities.table import TableRow
from mmjax.data.table import Table
from mmjax.data.targets.category import Category


def _table(root=None, **columns) -> Table:
    return Table(columns=columns, name="m.csv", fingerprint="f", root=root)


def _example(processor, table, row=0, rng=None):
    return processor.example(table.row(row), Place(table, row), rng)


def _fitted(modality, table, rows=None):
    return modality.fit(table, np.arange(len(table)) if rows is None else np.array(rows))


# --- pictures -------------------------------------------------------------------------------------


def _pixels(seed: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_pixels_are_normalised():
    table = _table(image=[_pixels(0), None])
    fitted = _fitted(Image(("image",), size=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)), table)
    batch = fitted.collate([_example(fitted, table, 0), _example(fitted, table, 1)])["pixel_values"]
    want = (_pixels(0) / 255.0 - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]
    np.testing.assert_allclose(batch[0], want, atol=1e-6)
    assert not batch[1].any()
    assert batch.dtype == np.float32
    assert fitted.facts == {"image_size": 8, "channels": 3}


def test_cells_of_every_kind_are_the_same_picture(tmp_path):
    PIL.Image.fromarray(_pixels(0)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    cells = ["a.png", content, _pixels(0), PIL.Image.fromarray(_pixels(0))]
    table = _table(root=tmp_path, image=cells)
    fitted = _fitted(Image(("image",), size=8), table)
    batch = fitted.collate([_example(fitted, table, i) for i in range(4)])["pixel_values"]
    assert all(np.array_equal(batch[0], other) for other in batch[1:])
    gray = _fitted(Image(("image",), size=4, channels=1), table)
    assert gray.collate([_example(gray, table, 0), None])["pixel_values"].shape == (2, 4, 4, 1)


def test_padding_takes_the_mean_colour():
    table = _table(image=[np.zeros((4, 8, 3), np.uint8)])
    fitted = _fitted(Image(("image",), size=8, resize="pad"), table)
    batch = fitted.collate([_example(fitted, table)])["pixel_values"]
    np.testing.assert_allclose(batch[0, 0], 0, atol=0.005)
    np.testing.assert_allclose(batch[0, 4], -1)


def test_one_view_trains_and_the_first_evaluates():
    table = _table(a=[_pixels(0), None, None, " "], b=[_pixels(1), _pixels(2), None, None])
    fitted = _fitted(Image(("a", "b"), size=8), table)
    assert fitted.random
    seen = [
        _example(fitted, table, 0, np.random.default_rng(i))["pixel_values"][0, 0, 0]
        for i in range(200)
    ]
    assert 60 < sum(value == _pixels(0)[0, 0, 0] for value in seen) < 140
    assert np.array_equal(_example(fitted, table, 0)["pixel_values"], _pixels(0))
    assert np.array_equal(_example(fitted, table, 1)["pixel_values"], _pixels(2))
    assert _example(fitted, table, 2) is None
    assert _example(fitted, table, 3, np.random.default_rng(0)) is None
    first = _fitted(Image(("a", "b"), size=8, views="first"), table)
    for i in range(20):
        got = _example(first, table, 0, np.random.default_rng(i))["pixel_values"]
        assert np.array_equal(got, _pixels(0))


@pytest.mark.parametrize("views", ["sample", "first"])
def test_evaluation_may_see_all_views(views):
    table = _table(a=[_pixels(0), None, None], b=[_pixels(1), _pixels(2), None])
    fitted = _fitted(Image(("a", "b"), size=8, views=views, evaluate_views="all"), table)
    assert fitted.random
    batch = fitted.collate([_example(fitted, table, i) for i in range(3)], train=False)
    want = np.stack([[_pixels(0), _pixels(1)], [_pixels(2), _pixels(2)]]) / 127.5 - 1
    np.testing.assert_allclose(batch["pixel_values"][:2], want, atol=1e-6)
    assert not batch["pixel_values"][2].any()
    trained = fitted.collate([_example(fitted, table, 0, np.random.default_rng(0))], train=True)
    assert trained["pixel_values"].shape == (1, 8, 8, 3)


def test_augmentation_is_a_function_of_the_generator():
    table = _table(image=[_pixels(i, 32) for i in range(30)])
    modality = Image(("image",), size=32, augment={"shift": 3, "flip": 0.5, "jitter": 0.2})
    fitted = _fitted(modality, table)
    examples = [_example(fitted, table, i, np.random.default_rng(i)) for i in range(30)]
    together = fitted.collate(examples)["pixel_values"]
    again = _example(fitted, table, 17, np.random.default_rng(17))
    assert np.array_equal(fitted.collate([None, again])["pixel_values"][1], together[17])
    plain = fitted.collate([_example(fitted, table, 17)])["pixel_values"]
    assert not np.array_equal(plain[0], together[17])


def test_hugging_face_image_processors(tmp_path):
    from transformers import CLIPImageProcessor

    theirs = CLIPImageProcessor(size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16})
    theirs.save_pretrained(str(tmp_path / "hub"))
    picture = PIL.Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    )
    want = theirs(picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    table = _table(image=[picture])
    modality = Image(("image",), processor=str(tmp_path / "hub"), augment={"flip": 0.5})
    fitted = _fitted(modality, table)
    fitted.save(tmp_path / "saved")
    for processor in (fitted, modality.load(tmp_path / "saved")):
        assert processor.facts == {"image_size": 16, "channels": 3}
        got = processor.collate([_example(processor, table)])["pixel_values"][0]
        np.testing.assert_allclose(got, want, atol=1e-6)
    with pytest.raises(ConfigError, match="no image processor"):
        _fitted(Image(("image",), processor=str(tmp_path / "none")), table)


def test_random_resized_crops_are_cut_before_resizing(tmp_path):
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (200, 1, 3))
    table = _table(image=[ramp])
    augment = {"random_resized_crop": {"smallest": 0.1, "ratio": 1.0}}
    fitted = _fitted(Image(("image",), size=16, resample="bilinear", augment=augment), table)
    assert fitted.random
    widths = []
    for seed in range(200):
        pixels = _example(fitted, table, 0, np.random.default_rng(seed))["pixel_values"][0, :, 0]
        widths.append((float(pixels[-2]) - float(pixels[1])) / 13 * 16)
    # Areas of a tenth to all of 200 x 200 pixels, uniformly.
    shares = (np.array(widths) / 200) ** 2
    assert 0.08 < shares.min() < 0.15
    assert abs(shares.mean() - 0.55) < 0.06
    whole = _fitted(Image(("image",), size=16, resample="bilinear"), table)
    evaluated = _example(fitted, table)["pixel_values"]
    assert np.array_equal(evaluated, _example(whole, table)["pixel_values"])


def test_random_resized_crops_with_hugging_face_processors(tmp_path):
    from transformers import CLIPImageProcessor

    theirs = CLIPImageProcessor(size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16})
    theirs.save_pretrained(str(tmp_path))
    picture = PIL.Image.fromarray(_pixels(0, 40))
    table = _table(image=[picture])
    augment = {"random_resized_crop": {"smallest": 1.0, "ratio": 1.0}}
    fitted = _fitted(Image(("image",), processor=str(tmp_path), augment=augment), table)
    got = fitted.collate([_example(fitted, table, 0, np.random.default_rng(0))])["pixel_values"]
    resized = np.asarray(picture.resize((16, 16), PIL.Image.Resampling.BICUBIC)) / 255
    want = (resized - theirs.image_mean) / theirs.image_std
    np.testing.assert_allclose(got[0], want, atol=1e-5)


def test_missing_columns_and_files_are_named(tmp_path):
    with pytest.raises(DataError, match="did you mean 'image'"):
        _fitted(Image(("imag",)), _table(image=["a.png"]))
    table = _table(root=tmp_path, image=["a.png"])
    with pytest.raises(DataError, match=r"MMX-306.*m\.csv:0:image"):
        Image(("image",)).check(table.row(0), Place(table, 0), decode=False)


# --- tables ---------------------------------------------------------------------------------------


def test_numbers_are_standardised_by_the_training_rows(tmp_path):
    values = np.random.default_rng(0).normal(5, 3, (50, 2))
    cells = [[*values[:, 0].tolist(), "NA"], [*(str(v) for v in values[:, 1]), None]]
    table = _table(a=cells[0], b=cells[1], kind=[*("xyz"[i % 3] for i in range(50)), "w"])
    modality = TableRow(numbers=("a", "b"), categories=("kind",))
    fitted = _fitted(modality, table, range(30))
    fitted.save(tmp_path)
    want = StandardScaler().fit(values[:30]).transform(values)
    for processor in (fitted, modality.load(tmp_path)):
        assert processor.facts == {"numbers": 2, "cardinalities": (4,)}
        batch = processor.collate([_example(processor, table, i) for i in range(50)])
        np.testing.assert_allclose(batch["numbers"], want, atol=1e-5)
        assert batch["number_mask"].all()
        assert batch["categories"][:4, 0].tolist() == [1, 2, 3, 1]
        # The last row has no number and a category that training did not see.
        last = _example(processor, _table(a=[None], b=["1"], kind=["w"]))
        assert last["number_mask"].tolist() == [False, True]
        assert last["numbers"][0] == 0
        assert last["categories"].tolist() == [0]
        assert _example(processor, _table(a=["NA"], b=[None], kind=[""])) is None


@pytest.mark.parametrize(
    "cell", ["1,5", "abc", "1_000", "٣", "inf", float("inf"), True, "1e300", 1e39]
)
def test_what_is_no_number(cell):
    table = _table(a=[1.0, 2.0, cell])
    with pytest.raises(DataError, match=r"MMX-52[12].*m\.csv:2:a"):
        TableRow(numbers=("a",)).check(table.row(2), Place(table, 2), decode=False)


def test_constant_columns_warn_and_stay_finite(caplog):
    table = _table(a=[3.0, 3.0, 3.0, 1e38])
    fitted = _fitted(TableRow(numbers=("a",)), table, range(3))
    assert "'a' is constant" in caplog.text
    batch = fitted.collate([_example(fitted, table, i) for i in range(4)])
    assert np.isfinite(batch["numbers"]).all()
    assert batch["numbers"][0] == 0
    assert set(batch) == {"numbers", "number_mask"}


# --- targets --------------------------------------------------------------------------------------


def test_categories_are_sorted_training_labels(tmp_path):
    table = _table(label=["b", "a", "b", "c", "a\u0308", "ä"])
    modality = Category("label")
    fitted = modality.fit(table, np.array([0, 1, 2, 4]))
    assert fitted.facts == {
        "num_labels": 3,
        "label_names": ("a", "b", "ä"),
        "label_counts": (1, 2, 1),
    }
    fitted.save(tmp_path)
    loaded = modality.load(tmp_path)
    assert loaded.facts == fitted.facts
    assert [loaded.encode(cell, Place(table, 0)) for cell in ("b", "ä", "a\u0308")] == [1, 2, 2]
    assert loaded.collate([2, None]).tolist() == [2, 0]
    assert loaded.collate([2, None]).dtype == np.int32
    with pytest.raises(DataError, match=re.escape("'c'") + r".*m\.csv:3:label.*valid: a, b, ä"):
        loaded.encode("c", Place(table, 3))


def test_whole_numbers_are_labels_in_their_order():
    fitted = Category("label").fit(_table(label=[10, 9.0, "2", 9]), np.arange(4))
    assert fitted.facts["label_names"] == ("2", "9", "10")
    for wrong in (-1, 3.7, 3, True):
        with pytest.raises(DataError, match="MMX-531"):
            fitted.encode(wrong, Place(_table(label=[0]), 0))


@pytest.mark.parametrize("cell", [None, "", " ", float("nan")])
def test_missing_labels(cell):
    table = _table(label=["a", "b", cell])
    fitted = Category("label").fit(table, np.arange(3))
    assert fitted.facts["label_counts"] == (1, 1)
    for refuses in (
        lambda: fitted.encode(cell, Place(table, 2)),
        lambda: Category("label").check(cell, Place(table, 2)),
    ):
        with pytest.raises(DataError, match=r"MMX-530.*m\.csv:2:label"):
            refuses()


def test_given_names_keep_their_order_and_one_class_is_refused():
    table = _table(label=["b", "a"])
    fitted = Category("label", names=("b", "a", "z")).fit(table, np.arange(2))
    assert fitted.facts["label_counts"] == (1, 1, 0)
    assert fitted.encode("b", Place(table, 0)) == 0
    with pytest.raises(DataError, match="MMX-532"):
        Category("label").fit(table, np.array([0]))


def test_every_registered_name_builds():
    made = {name: modalities.settings(name) for name in modalities}
    assert set(made) >= {"text", "image", "table"}
    assert {name: targets.settings(name) for name in targets}
