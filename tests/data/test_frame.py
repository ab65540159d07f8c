"""A frame of pandas as a table."""

import unicodedata

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmjax.core.errors import DataError
from mmjax.data.sources.frame import Frame


class TestFrame:
    def test_pandas_cells(self):
        frame = pd.DataFrame(
            {
                "text": ["a", None, unicodedata.normalize("NFD", "é")],
                "size": [0.5, np.nan, np.inf],
                "count": pd.array([1, None, 3], dtype="Int64"),
                "when": pd.to_datetime(["2026-01-02", None, "2026-01-03"]),
                "flag": [True, False, True],
                "kind": pd.Categorical(["x", "y", None]),
                7: [1, 2, 3],
            },
            index=[5, 5, 9],
        )
        table = Frame(frame=frame).read()
        assert dict(table.columns) == {
            "text": ["a", None, "é"],
            "size": [0.5, None, np.inf],
            "count": [1, None, 3],
            "when": ["2026-01-02T00:00:00", None, "2026-01-03T00:00:00"],
            "flag": [True, False, True],
            "kind": ["x", "y", None],
            "7": [1, 2, 3],
        }
        assert type(table.column("7")[0]) is int
        assert table.root is None

    def test_media_in_memory_are_not_copied(self):
        images = np.zeros((4, 2, 2, 3), np.uint8)
        picture = Image.new("RGB", (2, 2))
        table = Frame(frame={"image": images, "picture": [picture] * 4}).read()
        assert table.column("image")[1].base is images
        assert table.column("picture")[1] is picture

    def test_the_fingerprint_changes_with_any_cell_and_nothing_else(self):
        def fingerprint(**columns):
            return Frame(frame=columns).read().fingerprint

        image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        base = fingerprint(a=["x", "y"], b=[image, None])
        assert base == fingerprint(a=["x", "y"], b=[image.copy(), None])
        others = [
            fingerprint(a=["x", "z"], b=[image, None]),
            fingerprint(a=["xy", ""], b=[image, None]),
            fingerprint(a=["x", "y"], c=[image, None]),
            fingerprint(a=["x", "y"], b=[image[::-1], None]),
            fingerprint(a=["x", "y"], b=[image.reshape(2, 6), None]),
            fingerprint(a=["x", "y"], b=[image.tobytes(), None]),
            fingerprint(a=["x", "y"], b=[Image.fromarray(image), None]),
        ]
        assert len({base, *others}) == len(others) + 1

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            (pd.DataFrame({"a": []}), 201),
            (pd.DataFrame(), 201),
            (pd.DataFrame([[1, 2]], columns=["a", "a"]), 204),
            (pd.DataFrame([[1, 2]], columns=["1", 1]), 204),
            ({"a": [1], "b": [1, 2]}, 205),
        ],
    )
    def test_faults(self, frame, code):
        with pytest.raises(DataError) as caught:
            Frame(frame=frame).read()
        assert caught.value.code == code

    def test_a_root_must_be_a_folder(self, tmp_path):
        assert Frame(root=str(tmp_path), frame={"a": [1]}).read().root == tmp_path
        with pytest.raises(DataError, match="no") as caught:
            Frame(root=str(tmp_path / "no"), frame={"a": [1]}).read()
        assert caught.value.code == 301
