"""Writes `metrics/coco.json`: what pycocotools 2.0 says of random and odd sets of boxes.

pip install pycocotools && python tests/golden/make_coco.py
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar@1", "ar@10", "ar@100", "ar_small", "ar_medium", "ar_large"),
)
RNG = np.random.default_rng(0)


def drawn(count: int, sides: tuple[float, float], whole: bool) -> list[list[float]]:
    """Boxes (x, y, width, height) in a picture of 400 pixels a side."""
    size = np.exp(RNG.uniform(*np.log(sides), (count, 2)))
    place = RNG.uniform(0, np.maximum(400 - size, 1))
    boxes = np.concatenate([place, size], axis=1)
    return (np.maximum(boxes.round(), 1) if whole else boxes.round(2)).tolist()


def moved(boxes: list[list[float]], share: float, whole: bool) -> list[list[float]]:
    found = np.array(boxes).reshape(-1, 4)
    sides = np.tile(found[:, 2:], 2)
    found = found + RNG.normal(0, share, found.shape) * sides
    found[:, 2:] = np.maximum(found[:, 2:], 1)
    return (found.round() if whole else found.round(2)).tolist()


def picture(
    true: int, false: int, *, classes: int = 3, share: float = 0.08, whole: bool = False,
    crowd: float = 0.0, sides: tuple[float, float] = (8, 250), area: bool = False, ties: int = 1000,
) -> dict[str, Any]:  # fmt: skip
    boxes = drawn(true, sides, whole)
    labels = RNG.integers(0, classes, true).tolist()
    kept = [i for i in range(true) for _ in range(int(RNG.integers(0, 3)))]
    said = moved([boxes[i] for i in kept], share, whole) + drawn(false, sides, whole)
    said_labels = [labels[i] for i in kept] + RNG.integers(0, classes, false).tolist()
    scores = (RNG.integers(0, ties, len(said)) / ties).tolist()
    target: dict[str, Any] = {"boxes": boxes, "labels": labels}
    if crowd:
        target["crowd"] = (RNG.random(true) < crowd).tolist()
    if area:
        shares = RNG.uniform(0.3, 1.0, true)
        target["area"] = [round(b[2] * b[3] * s, 2) for b, s in zip(boxes, shares, strict=True)]
    return {"said": {"boxes": said, "labels": said_labels, "scores": scores}, "true": target}


def judged(pictures: list[dict[str, Any]], classes: int = 3) -> dict[str, Any]:
    images = [{"id": i + 1, "width": 400, "height": 400} for i in range(len(pictures))]
    annotations, results = [], []
    for i, one in enumerate(pictures):
        true, said = one["true"], one["said"]
        for k, box in enumerate(true["boxes"]):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": true["labels"][k] + 1,
                    "bbox": box,
                    "area": true["area"][k] if "area" in true else box[2] * box[3],
                    "iscrowd": int(true["crowd"][k]) if "crowd" in true else 0,
                }
            )
        for k, box in enumerate(said["boxes"]):
            results.append(
                {
                    "image_id": i + 1,
                    "category_id": said["labels"][k] + 1,
                    "bbox": box,
                    "score": said["scores"][k],
                }
            )
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": str(i)} for i in range(classes)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        if results:
            found = truth.loadRes(results)
        else:
            found = COCO()
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = [None if value == -1 else float(value) for value in evaluation.stats]
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    each = [float(p.mean()) if p.min() > -1 else None for p in np.moveaxis(precision, 2, 0)]
    return {**dict(zip(NAMES, stats, strict=True)), **{f"ap/{i}": v for i, v in enumerate(each)}}


def main() -> None:
    empty = {"boxes": [], "labels": [], "scores": []}
    nothing = {"boxes": [], "labels": []}
    twice = {"boxes": [[10, 10, 40, 40]] * 3, "labels": [0, 0, 0], "scores": [0.5, 0.5, 0.9]}
    cases = {
        "random": [picture(int(RNG.integers(0, 7)), 3) for _ in range(12)],
        "whole pixels and ties": [picture(5, 3, whole=True, ties=4) for _ in range(8)],
        "crowds": [picture(6, 2, crowd=0.4, share=0.15) for _ in range(8)],
        "areas of their own": [picture(5, 2, area=True, sides=(20, 150)) for _ in range(6)],
        "precise": [picture(4, 1, share=0.01) for _ in range(6)],
        "no predictions": [{"said": empty, "true": picture(3, 0)["true"]}],
        "no objects": [{"said": picture(0, 4)["said"], "true": nothing}],
        "some of both": [
            {"said": empty, "true": picture(2, 0)["true"]},
            {"said": picture(0, 3)["said"], "true": nothing},
            {"said": empty, "true": nothing},
            picture(4, 2),
        ],
        "a class that nobody has": [picture(4, 3, classes=2), picture(0, 3)],
        "the same box": [
            {"said": twice, "true": {"boxes": [[10, 10, 40, 40]] * 2, "labels": [0, 0]}},
            {"said": twice, "true": {"boxes": [[10, 10, 40, 20]], "labels": [0]}},
            {"said": twice, "true": {"boxes": [[10, 10, 32, 32]], "labels": [0], "crowd": [True]}},
        ],
        "areas at the limits": [
            {
                "said": {
                    "boxes": [[0, 0, 32, 32], [100, 100, 96, 96], [0, 200, 33, 32]],
                    "labels": [0, 0, 0],
                    "scores": [0.9, 0.8, 0.7],
                },
                "true": {"boxes": [[0, 0, 32, 32], [100, 100, 96, 96]], "labels": [0, 0]},
            }
        ],
        "more than a hundred": [picture(8, 130, classes=1, sides=(30, 60)), picture(3, 2)],
    }
    found = [
        {"name": name, "pictures": pictures, "expected": judged(pictures)}
        for name, pictures in cases.items()
    ]
    path = Path(__file__).parent / "metrics" / "coco.json"
    path.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
