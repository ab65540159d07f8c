"""Boxes drawn onto pictures."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.report.boxes import FOUND, TRUE, draw_boxes


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 3), (20, 30, 4)])
def test_lines_lie_where_the_boxes_are(shape):
    picture = np.zeros(shape, np.uint8)
    found = [{"box": [0.5, 0.4, 0.9, 0.8], "label": "cat", "score": 0.75}]
    true = [{"box": [0.1, 0.2, 0.4, 0.6], "label": "dog"}]
    drawn = draw_boxes(picture, found, true)
    height, width, _ = drawn.shape
    assert drawn.dtype == np.uint8
    assert (height, width) == (260, 390)
    for colour, box in ((FOUND, found[0]["box"]), (TRUE, true[0]["box"])):
        rows, columns = np.nonzero((drawn == colour).all(axis=-1))
        x0, x1 = columns.min() / width, columns.max() / width
        assert x0 == pytest.approx(box[0], abs=0.02)
        assert x1 == pytest.approx(box[2], abs=0.02)
        left = (drawn[:, round(box[0] * (width - 1))] == colour).all(axis=-1)
        assert left[round(box[1] * height) + 2 : round(box[3] * height) - 2].mean() > 0.4
        assert rows.size


def test_a_picture_without_boxes_is_only_enlarged():
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(draw_boxes(picture, [])[::64, ::64], picture)
    large = np.zeros((300, 300, 3), np.uint8)
    outside = [{"box": [-1.0, 0.9, 2.0, 1.5], "label": "x" * 200}]
    assert draw_boxes(large, outside).shape == (300, 300, 3)
