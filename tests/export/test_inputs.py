"""Raw items as the rows of a table would be."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import PIL.Image
import pytest

from mmjax.core.config import to_json
from mmjax.core.errors import DataError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.modalities.base import Place
from mmjax.data.pipeline import prepare
from mmjax.export.inputs import Inputs, lengths_of


def _inputs(folder, columns, **modalities):
    config = DataConfig(
        source=Spec("frame"), modalities=modalities, split=SplitConfig(fractions=(1, 0, 0))
    )
    dataset = prepare(config, frame=columns)
    dataset.save(folder)
    specs = to_json(config)["modalities"]
    inputs = Inputs.load(specs, folder / "modalities", lengths={})
    return inputs, dataset


def test_what_was_said_before_is_given_with_an_utterance(tmp_path):
    columns = {
        "said": ["red fish", "blue fish", "old stone", "red stone"],
        "talk": ["a", "a", "a", "b"],
        "turn": [0, 1, 2, 0],
    }
    inputs, dataset = _inputs(
        tmp_path,
        columns,
        text=Spec("text", column="said", max_length=6),
        before=Spec("dialogue", column="said", dialogue="talk", turn="turn", max_length=8),
    )
    one = inputs.prepare({"text": "old stone", "before": ["red fish", "blue fish"]})
    place = Place(dataset.table, 2)
    for name, processor in dataset.modalities.items():
        reads = dataset.columns[name]
        expected = processor.example({c: columns[c][2] for c in reads}, place, None)
        np.testing.assert_array_equal(one.arrays[name]["input_ids"], expected["input_ids"])
    alone = inputs.prepare({"text": "old stone"})
    assert alone.missing == ("before",)
    real = [len(one.arrays[name]["input_ids"]) for name in ("text", "before")]
    assert (one.size, one.padded) == (sum(real), 6 + 8)
    assert (alone.size, alone.padded) == (real[0], 6 + 8)
    fields = inputs.collate([one, alone], one.bucket, 4)
    assert fields["present"]["before"].tolist() == [True, False, False, False]
    assert fields["row_mask"].tolist() == [True, True, False, False]
    with pytest.raises(DataError, match="reads no 'before'"):
        inputs.prepare({"text": "old stone", "before": "red fish"})


def test_a_picture_is_bytes_and_a_path_only_where_allowed(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (6, 9, 3)).astype(np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(file.getvalue())
    inputs, _ = _inputs(
        tmp_path, {"picture": [file.getvalue()]}, image=Spec("image", columns=("picture",), size=4)
    )
    (told,) = inputs.described()
    assert (told.kind, told.limits["max_pixels"]) == ("image", 50_000_000)
    assert told.limits["resize"] == "crop"
    found = [
        inputs.prepare({"image": one}, paths=paths).arrays["image"]["pixel_values"]
        for one, paths in (
            (file.getvalue(), False),
            (PIL.Image.fromarray(pixels), False),
            (pixels, False),
            (path, True),
            (str(path), True),
        )
    ]
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])
    for value, told_ in (
        (str(path), "a path, .*where files are not read"),
        (b"GIF89a", "damaged|no picture"),
        (b"", "no picture"),
    ):
        with pytest.raises(DataError, match=told_):
            inputs.prepare({"image": value})
    with pytest.raises(DataError, match="cannot be read"):
        inputs.prepare({"image": str(tmp_path / "no.png")}, paths=True)


def test_an_item_goes_into_the_shortest_bucket_that_holds_it(tmp_path):
    words = "red blue old new big"
    inputs, _ = _inputs(
        tmp_path, {"words": [words] * 3}, text=Spec("text", column="words", max_length=7)
    )
    assert inputs.buckets == ((),)
    lengths = lengths_of(inputs.processors, {"text": (4, 5)})
    assert lengths == {"text": (4, 5, 7)}
    several = dataclasses.replace(inputs, lengths=lengths)
    assert several.buckets == ((4,), (5,), (7,))
    # Two ids stand around the words.
    for count, bucket in ((1, (4,)), (2, (4,)), (3, (5,)), (4, (7,)), (5, (7,))):
        one = several.prepare({"text": " ".join(words.split()[:count])})
        assert one.bucket == bucket
        assert several.collate([one], bucket, 2)["inputs"]["text"]["input_ids"].shape == (
            2,
            bucket[0],
        )
