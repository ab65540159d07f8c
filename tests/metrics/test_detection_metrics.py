"""Average precision of boxes, against what pycocotools said of the same boxes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import mmjax.metrics
from mmjax.core.errors import DataError

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics" / "coco.json"
CASES = json.loads(GOLDEN.read_text(encoding="utf-8"))


def _of(case, form="xywh", **options):
    said = [one["said"] for one in case["pictures"]]
    true = [one["true"] for one in case["pictures"]]
    if form == "xyxy":
        said, true = ([_corners(one) for one in many] for many in (said, true))
    return mmjax.metrics.detection(
        said, true, box_format=form, label_names=("0", "1", "2"), **options
    )


def _corners(one):
    boxes = np.array(one["boxes"], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return {**one, "boxes": boxes}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_is_what_pycocotools_says(case):
    found = _of(case)
    expected = {k: math.nan if v is None else v for k, v in case["expected"].items()}
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_corners_and_sizes_are_the_same_boxes():
    case = next(one for one in CASES if one["name"] == "whole pixels and ties")
    assert _of(case, "xyxy") == pytest.approx(_of(case), abs=1e-12, nan_ok=True)


def test_sizes_may_be_unknown():
    case = next(one for one in CASES if one["name"] == "random")
    found, known = _of(case, areas=False), _of(case)
    sized = [k for k in known if k.rpartition("_")[2] in ("small", "medium", "large")]
    assert len(sized) == 6
    assert all(math.isnan(found.pop(k)) for k in sized)
    assert found == {k: v for k, v in known.items() if k not in sized}


def test_order_of_pictures_does_not_matter_without_ties():
    case = next(one for one in CASES if one["name"] == "precise")
    turned = {**case, "pictures": case["pictures"][::-1]}
    assert _of(turned) == pytest.approx(_of(case), abs=1e-12, nan_ok=True)


def test_what_does_not_fit_is_refused():
    true = {"boxes": [[0, 0, 1, 1]], "labels": [0]}
    with pytest.raises(DataError, match="1 pictures, targets of 0"):
        mmjax.metrics.detection([{**true, "scores": [1.0]}], [])
    with pytest.raises(DataError, match="picture 0"):
        mmjax.metrics.detection([{**true, "scores": []}], [true])
    with pytest.raises(DataError, match=r"boxes \[1, 3\] with 1 labels"):
        mmjax.metrics.detection([{"boxes": [[0, 0, 1]], "labels": [0], "scores": [1]}], [true])
