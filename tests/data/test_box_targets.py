"""Boxes in cells and in batches, what is refused, and the sources that give them."""

from __future__ import annotations

import io
import json
import types

import numpy as np
import PIL.Image
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.config import modalities as modality_registry
from mmjax.data.decoding import image_size
from mmjax.data.modalities.base import Place
from mmjax.data.pipeline import prepare
from mmjax.data.sources.coco import Coco
from mmjax.data.sources.generated_shapes import COLOURS, SHAPES, GeneratedShapes
from mmjax.data.table import Table
from mmjax.data.targets.base import cell_of, columns_of
from mmjax.data.targets.boxes import Boxes

CAT = {"box": [10, 20, 30, 40], "label": "cat"}
DOG = {"bbox": [0, 0, 100, 50], "category": "dog", "iscrowd": 1, "area": 12.5}


def _table(cells, **more):
    columns = {"boxes": cells, "width": [100] * len(cells), "height": [200] * len(cells), **more}
    return Table(columns, "t.csv", "f", lines=list(range(2, 2 + len(cells))))


def _batch(target, table):
    processor = target.fit(table, np.arange(len(table)))
    rows = [
        processor.encode(cell_of(table, columns_of(target), row), Place(table, row))
        for row in range(len(table))
    ]
    return processor, processor.collate([*rows, None])


def test_a_batch(tmp_path):
    target = Boxes("boxes", size=("width", "height"), most=3)
    processor, batch = _batch(target, _table([json.dumps([CAT, DOG]), [], [CAT]]))
    assert batch.shape == (4, 3, 8)
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch[0, 0], [0.25, 0.2, 0.3, 0.2, 0, 0, 1200, 20000], rtol=1e-6)
    np.testing.assert_allclose(batch[0, 1], [0.5, 0.125, 1, 0.25, 1, 1, 12.5, 20000], rtol=1e-6)
    np.testing.assert_allclose(batch[0, 2], [0, 0, 0, 0, -1, 0, 0, 20000])
    assert (batch[1, :, 4] == -1).all()
    assert (batch[3, :, 4] == -1).all()
    assert (batch[3, :, 7] == 0).all()
    names = {"box_names": ("cat", "dog"), "box_counts": (2, 1), "most_boxes": 3}
    assert processor.facts == names
    processor.save(tmp_path)
    assert target.load(tmp_path).facts == names


@pytest.mark.parametrize(
    ("form", "box"),
    [("xyxy", [10, 20, 40, 60]), ("cxcywh", [25, 40, 30, 40]), ("xywh", [10, 20, 30, 40])],
)
@pytest.mark.parametrize("units", ["pixels", "relative"])
def test_forms_and_units(form, box, units):
    given = box if units == "pixels" else [v / s for v, s in zip(box, (100, 200) * 2, strict=True)]
    target = Boxes("boxes", format=form, units=units, size=("width", "height"), most=1)
    _, batch = _batch(target, _table([[{**CAT, "box": given}]]))
    np.testing.assert_allclose(batch[0, 0, :4], [0.25, 0.2, 0.3, 0.2], rtol=1e-6)
    assert batch[0, 0, 6] == pytest.approx(1200)


def test_the_picture_itself_may_tell_its_size():
    stream = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("RGB", (200, 100)).save(stream, "JPEG", exif=exif)
    pictures = [stream.getvalue(), np.zeros((200, 100, 3), np.uint8), None]
    assert image_size(pictures[0], root=None, where="") == (100, 200)
    target = Boxes("boxes", picture="image", most=1)
    table = _table([[CAT]] * 2, image=pictures[:2])
    _, batch = _batch(target, table)
    np.testing.assert_allclose(batch[:2, 0, :4], [[0.25, 0.2, 0.3, 0.2]] * 2, rtol=1e-6)
    with pytest.raises(DataError, match=r"t\.csv:4:image"):
        _batch(target, _table([[CAT]] * 3, image=pictures))
    relative = Boxes("boxes", picture="image", units="relative", most=1)
    shares = {**CAT, "box": [0.1, 0.1, 0.1, 0.1]}
    _, batch = _batch(relative, _table([[shares]] * 3, image=pictures))
    assert batch[:, 0, 7].tolist() == [20000, 20000, 0, 0]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            [{**CAT, "box": [10, 20, -3, 40]}],
            r"box 0 of 'cat', \[10, 20, -3, 40\], has no size",
        ),
        ([CAT, {**CAT, "box": [10, 20, 0, 40]}], "box 1 of 'cat'"),
        ([{**CAT, "box": [90, 20, 30, 40]}], "leaves the picture of 100 x 200"),
        ([{**CAT, "box": [10, float("nan"), 30, 40]}], "is no box"),
        ([{**CAT, "box": [10, 20, 30]}], "is no box"),
        ([{**CAT, "box": ["a", 20, 30, 4]}], "is no box"),
        ([{**CAT, "label": " "}], "is no box"),
        ([{**CAT, "area": -1}], "the area"),
        ([CAT] * 4, "4 boxes, and there is room for 3"),
        ("cat", "is no box, nor a list"),
        ({"box": [1, 2, 3, 4]}, "is no box, nor a list"),
        ([[1, 2, 3, 4]], "is no box, nor a list"),
        (None, "the row has no boxes"),
        (" ", "the row has no boxes"),
    ],
)
def test_bad_cells_are_named_by_row_and_column(cell, message):
    target = Boxes("boxes", size=("width", "height"), most=3)
    table = _table([[CAT], cell])
    with pytest.raises(DataError, match=message) as caught:
        target.check(cell_of(table, columns_of(target), 1), Place(table, 1))
    assert caught.value.where == "t.csv:3:boxes"


def test_an_unknown_label_and_unknown_sizes():
    target = Boxes("boxes", size=("width", "height"), names=("cat", "cow"))
    processor, _ = _batch(target, _table([[CAT]]))
    table = _table([[{**CAT, "label": "cad"}]])
    with pytest.raises(DataError, match="unknown label 'cad'"):
        processor.encode(cell_of(table, columns_of(target), 0), Place(table, 0))
    with pytest.raises(DataError, match="a picture of None x 200"):
        _batch(target, _table([[CAT]], width=[None]))
    with pytest.raises(DataError, match="no box in the training rows"):
        _batch(Boxes("boxes", size=("width", "height")), _table([[]]))


def test_boxes_may_be_cut_and_cells_empty():
    target = Boxes("boxes", size=("width", "height"), outside="clip", missing="none", most=2)
    cut, gone = {**CAT, "box": [-10, 190, 30, 40]}, {**CAT, "box": [100, 20, 30, 40]}
    _, batch = _batch(target, _table([[cut, gone], None]))
    np.testing.assert_allclose(batch[0, 0, :4], [0.1, 0.975, 0.2, 0.05], rtol=1e-5)
    assert batch[:, :, 4].tolist() == [[0, -1], [-1, -1], [-1, -1]]


@pytest.mark.parametrize(
    "options", [{}, {"size": ("width",)}, {"size": ("w", "h"), "picture": "p"}, {"most": 0}]
)
def test_settings_that_cannot_be(options):
    with pytest.raises(ConfigError, match="targets of 'boxes'"):
        Boxes("boxes", **options)


@pytest.mark.parametrize(
    ("modality", "options", "message"),
    [
        ("image", {}, "resize='crop' moves"),
        ("image", {"resize": "pad"}, "resize='pad' moves"),
        ("image", {"resize": "squash", "augment": {"jitter": 0.1, "flip": 0.5}}, "'flip' moves"),
        ("image", {"resize": "squash", "columns": ("image", "width")}, "one picture a row"),
        ("picture", {"resize": "squash"}, "boxes in 'image', which is no modality"),
    ],
)
def test_pictures_that_boxes_do_not_follow_are_refused(modality, options, message):
    spec = Spec("image", **{"columns": ("image",), "size": 8, **options})
    target = Spec("boxes", column="boxes", size=("width", "height"))
    config = DataConfig(
        source=Spec("generated_shapes", rows=10, size=16),
        modalities={modality: spec},
        targets={"boxes": target},
        split=SplitConfig(column="split"),
    )
    with pytest.raises(ConfigError, match=message):
        prepare(config)


def test_pictures_that_boxes_follow():
    spec = Spec("image", columns=("image",), resize="squash", augment={"noise": 0.1, "cutout": 0.2})
    built = {"image": modality_registry.build(spec)}
    Boxes("boxes", units="relative").check_modalities(built)


def test_generated_shapes():
    source = GeneratedShapes(rows=20, size=32, most=3, noise=0.0, missing_captions=0.5)
    table = source.read()
    assert table.columns["split"].count("train") == 16
    assert table.fingerprint == source.read().fingerprint
    assert (
        table.fingerprint != GeneratedShapes(rows=20, size=32, most=3, noise=0.0).read().fingerprint
    )
    captions = table.columns["caption"]
    assert 0 < captions.count(None) < 20
    for image, boxes, caption in zip(
        table.columns["image"], table.columns["boxes"], captions, strict=True
    ):
        assert image.shape == (32, 32, 3)
        drawn = np.zeros((32, 32), bool)
        for colour in COLOURS.values():
            drawn |= (image == colour).all(axis=-1)
        told = np.zeros_like(drawn)
        for one in boxes:
            x, y, w, h = one["box"]
            assert one["label"] in SHAPES
            told[y : y + h, x : x + w] = True
            assert caption is None or one["label"] in caption
        assert not (drawn & ~told).any()
        assert drawn.any()
    with pytest.raises(ConfigError, match="most = 0"):
        GeneratedShapes(most=0)


def _coco(folder, annotations, name="instances.json"):
    (folder / "pictures").mkdir(exist_ok=True)
    PIL.Image.new("RGB", (100, 200)).save(folder / "pictures" / "7.png")
    content = {
        "images": [
            {"id": 7, "file_name": "7.png", "width": 100, "height": 200},
            {"id": 9, "file_name": "9.png", "width": 50, "height": 50},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": annotations,
    }
    (folder / name).write_text(json.dumps(content))
    return str(folder / name)


def test_coco(tmp_path):
    path = _coco(
        tmp_path,
        [
            {"id": 1, "image_id": 7, "category_id": 5, "bbox": [90, 20, 30, 40], "area": 77.5},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [1, 2, 0, 4], "iscrowd": 0},
            {"id": 3, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1},
        ],
    )
    captions = tmp_path / "captions.json"
    said = [{"image_id": 7, "caption": "a dog"}, {"image_id": 7, "caption": "a cat"}]
    captions.write_text(json.dumps({"annotations": said}))
    pictures = str(tmp_path / "pictures")
    table = Coco(path, images=pictures, captions=str(captions)).read()
    assert table.row(0) == {
        "image": "7.png",
        "width": 100,
        "height": 200,
        "boxes": [
            {"box": [90.0, 20.0, 10.0, 40.0], "label": "dog", "crowd": False, "area": 77.5},
            {"box": [1.0, 2.0, 3.0, 4.0], "label": "cat", "crowd": True},
        ],
        "image_id": 7,
        "caption": "a dog",
    }
    assert table.row(1)["boxes"] == []
    assert table.where(0, "boxes") == f"{path}:image 7:boxes"
    both = Coco({"train": path, "test": path}, images={"train": pictures}).read()
    assert both.columns["split"] == ["train"] * 2 + ["test"] * 2
    assert both.columns["image"] == ["pictures/7.png", "pictures/9.png", "7.png", "9.png"]
    assert both.root == tmp_path.resolve()
    target = Boxes("boxes", size=("width", "height"), most=2)
    _, batch = _batch(target, table)
    assert batch[0, :, 4].tolist() == [1, 0]
    assert batch[0, 0, 6] == 77.5


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"image_id": 8, "category_id": 3, "bbox": [1, 2, 3, 4]}, "picture 8"),
        ({"image_id": 7, "category_id": 4, "bbox": [1, 2, 3, 4]}, "category 4"),
        ({"image_id": 7, "category_id": 3, "bbox": [1, 2, 3]}, "is no box"),
        ({"category_id": 3, "bbox": [1, 2, 3, 4]}, "has no 'image_id'"),
    ],
)
def test_coco_that_is_none(tmp_path, annotation, message):
    with pytest.raises(DataError, match=message):
        Coco(_coco(tmp_path, [annotation])).read()
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(DataError, match="no list 'images'"):
        Coco(str(tmp_path / "other.json")).read()
    with pytest.raises(DataError, match="not below the root"):
        Coco(_coco(tmp_path, []), root=str(tmp_path / "pictures")).read()


@pytest.mark.parametrize(
    ("facts", "fits"),
    [
        ({"size": {"height": 8, "width": 8}}, True),
        ({"size": {"height": 8, "width": 8}, "do_center_crop": True}, False),
        ({"size": {"height": 8, "width": 8}, "do_pad": True}, False),
        ({"size": {"shortest_edge": 8}}, False),
    ],
)
def test_processors_that_show_the_whole_picture(facts, fits, monkeypatch):
    backend = types.SimpleNamespace(**facts)
    monkeypatch.setattr("mmjax.data.targets.boxes.load_backend", lambda _: backend)
    built = {"image": modality_registry.build(Spec("image", columns=("image",), processor="x"))}
    if fits:
        Boxes("boxes", units="relative").check_modalities(built)
        return
    with pytest.raises(ConfigError, match="crops or pads"):
        Boxes("boxes", units="relative").check_modalities(built)
