"""Boxes found in pictures, judged as COCO judges them."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Bool, Float

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps from which on a box counts as found."""
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS = {"": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2),
         "large": (96.0**2, 1e10)}  # fmt: skip
"""Ranges of the area of objects in square pixels, both ends inside."""
MOST = (1, 10, 100)
"""How many boxes of a picture and class are looked at, the surest first."""

BoxFormat = Literal["xyxy", "xywh"]


def detection(
    predictions: Sequence[Mapping[str, Any]],
    targets: Sequence[Mapping[str, Any]],
    *,
    box_format: BoxFormat = "xyxy",
    label_names: Sequence[str] = (),
    areas: bool = True,
) -> dict[str, float]:
    """Average precision and recall of COCO (Lin et al. 2014), as `pycocotools.cocoeval` has them.

    One dictionary a picture: of a prediction `boxes` [k 4], `scores` [k] and `labels` [k]; of a
    target `boxes` [m 4] and `labels` [m], if need be `crowd` [m] (whatever is in such a box counts
    neither for nor against) and `area` [m], in square pixels (of the boxes if not given). Boxes are
    in pixels, left, top, right and bottom, or with "xywh" left, top, width and height; labels are
    numbers, places in `label_names` if these are given.

    - `ap`: the mean of the precisions at 101 recalls, of ten overlaps from 0.5 to 0.95, of classes.
    - `ap50`, `ap75`: at these overlaps alone; `ap/<label>`: of one class.
    - `ap_small`, `ap_medium`, `ap_large`: of objects below 32^2, between, and above 96^2 pixels.
    - `ar@1`, `ar@10`, `ar@100`: the share of objects found by so many boxes a picture and class, a
      mean over overlaps and classes; `ar_small`, `ar_medium`, `ar_large`: by 100, by their area.

    NaN where there is no such object (pycocotools says -1), and, without `areas`, of areas. Raises
    DataError for shapes that do not fit.
    """
    if len(predictions) != len(targets):
        raise DataError(
            540, f"predictions of {len(predictions)} pictures, targets of {len(targets)}"
        )
    found: dict[int, list[_Matched]] = defaultdict(list)
    for picture, (said, truth) in enumerate(zip(predictions, targets, strict=True)):
        for label, matched in _of_picture(said, truth, box_format, f"picture {picture}"):
            found[label].append(matched)
    classes = {label: _of_class(parts) for label, parts in sorted(found.items())}
    there = {label: one for label, one in classes.items() if one.objects[0]}
    known = list(there.values())
    values: dict[str, float] = {"ap": _mean([one.precision[0] for one in known])}
    for name, index in (("ap50", 0), ("ap75", 5)):
        values[name] = _mean([one.precision[0, index] for one in known])
    recalls = {}
    for i, most in enumerate(MOST):
        recalls[f"ar@{most}"] = _mean([one.recall[0, i] for one in known])
    sized: dict[str, float] = {}
    for i, name in enumerate(AREAS):
        if name:
            these = [one for one in known if one.objects[i]] if areas else []
            sized[f"ap_{name}"] = _mean([one.precision[i] for one in these])
            recalls[f"ar_{name}"] = _mean([one.recall[i, -1] for one in these])
    names = dict(enumerate(label_names)) or {label: str(label) for label in there}
    each = {
        f"ap/{name}": _mean([there[label].precision[0]] if label in there else [])
        for label, name in names.items()
    }
    return {**values, **sized, **recalls, **each}


@dataclasses.dataclass(frozen=True)
class _Matched:
    """The boxes of a class in one picture, the surest first, for each range of areas (4)."""

    scores: Float[np.ndarray, "k"]
    right: Bool[np.ndarray, "4 10 k"]
    ignored: Bool[np.ndarray, "4 10 k"]
    objects: np.ndarray
    """How many there are to be found, [4]."""


@dataclasses.dataclass(frozen=True)
class _Class:
    precision: Float[np.ndarray, "4 10 101"]
    recall: Float[np.ndarray, "4 3 10"]
    objects: np.ndarray


def _of_picture(
    said: Mapping[str, Any], truth: Mapping[str, Any], form: BoxFormat, where: str
) -> list[tuple[int, _Matched]]:
    boxes, labels = _boxes(said, form, where)
    scores = np.asarray(said["scores"], np.float64).reshape(-1)
    true, true_labels = _boxes(truth, form, where)
    crowd = np.asarray(truth.get("crowd", np.zeros(len(true))), bool).reshape(-1)
    area = np.asarray(truth.get("area", true[:, 2] * true[:, 3]), np.float64).reshape(-1)
    if len(scores) != len(boxes) or not len(crowd) == len(area) == len(true):
        raise DataError(
            540,
            f"{len(boxes)} boxes with {len(scores)} scores, and {len(true)} true ones with "
            f"{len(crowd)} crowd and {len(area)} area",
            where=where,
            fix="one each a box",
        )
    found = []
    for label in np.unique(np.concatenate([labels, true_labels])).tolist():
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(-scores[own], kind="stable")][: MOST[-1]]
        there = np.flatnonzero(true_labels == label)
        matched = _match(boxes[own], scores[own], true[there], crowd[there], area[there])
        found.append((int(label), matched))
    return found


def _match(
    boxes: np.ndarray, scores: np.ndarray, true: np.ndarray, crowd: np.ndarray, area: np.ndarray
) -> _Matched:
    """Each box, the surest first, takes the free object that it overlaps most, if enough."""
    ranges = np.array(list(AREAS.values()))
    beyond = lambda values: (values < ranges[:, :1]) | (values > ranges[:, 1:])  # noqa: E731
    ignore = crowd | beyond(area)  # [4 m]
    overlap = _overlaps(boxes, true, crowd)
    shape = (len(AREAS), len(THRESHOLDS))
    right, ignored = (np.zeros((*shape, len(boxes)), bool) for _ in range(2))
    taken = np.zeros((*shape, len(true)), bool)
    enough = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    near = overlap.max(axis=1, initial=0.0) >= THRESHOLDS[0]
    # Of equal overlaps the last object is taken, and one that counts before one that does not.
    backwards = np.arange(len(true))[::-1]
    for index in np.flatnonzero(near).tolist():
        free = (overlap[index] >= enough) & (crowd | ~taken)
        counting = free & ~ignore[:, None]
        wanted = np.where(counting.any(axis=-1, keepdims=True), counting, free)
        values = np.where(wanted, overlap[index], -1.0)[..., backwards]
        best = backwards[values.argmax(axis=-1)]
        hit = wanted.any(axis=-1)
        at = (*np.nonzero(hit), best[hit])
        taken[at] = True
        right[..., index] = hit
        ignored[..., index] = hit & ignore[np.arange(len(AREAS))[:, None], best]
    outside = beyond(boxes[:, 2] * boxes[:, 3])[:, None]
    return _Matched(scores, right, ignored | (~right & outside), (~ignore).sum(axis=1))


def _of_class(parts: Sequence[_Matched]) -> _Class:
    scores = np.concatenate([one.scores for one in parts])
    ranks = np.concatenate([np.arange(len(one.scores)) for one in parts])
    order = np.argsort(-scores, kind="stable")
    right = np.concatenate([one.right for one in parts], axis=-1)[..., order]
    ignored = np.concatenate([one.ignored for one in parts], axis=-1)[..., order]
    objects = np.sum([one.objects for one in parts], axis=0)
    count = np.maximum(objects, 1)[:, None, None]
    hits, misses = right & ~ignored, ~right & ~ignored
    recall = (
        np.stack([hits[..., ranks[order] < most].sum(axis=-1) for most in MOST], axis=1) / count
    )
    true, false = (one.cumsum(axis=-1, dtype=np.float64) for one in (hits, misses))
    at = true / count
    precision = true / (true + false + np.spacing(1))
    # No recall has less precision than a larger one.
    precision = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    padded = np.concatenate([precision, np.zeros((*precision.shape[:2], 1))], axis=-1)
    places = np.array([[np.searchsorted(row, RECALLS) for row in rows] for rows in at])
    return _Class(np.take_along_axis(padded, places, axis=-1), recall, objects)


def _overlaps(boxes: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Intersection over union [k m], over the first box's own area where the second is a crowd."""
    last = np.minimum(boxes[:, None, 2:] + boxes[:, None, :2], true[:, 2:] + true[:, :2])
    sides = last - np.maximum(boxes[:, None, :2], true[:, :2])
    inside = np.where((sides > 0).all(axis=-1), sides[..., 0] * sides[..., 1], 0.0)
    own, other = boxes[:, 2] * boxes[:, 3], true[:, 2] * true[:, 3]
    together = np.where(crowd, own[:, None], own[:, None] + other - inside)
    return np.where(inside > 0, inside / np.where(inside > 0, together, 1.0), 0.0)


def _boxes(of: Mapping[str, Any], form: BoxFormat, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Left, top, width and height in float64, and labels."""
    boxes = np.asarray(of["boxes"], np.float64)
    labels = np.asarray(of["labels"]).reshape(-1).astype(np.int64)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) != len(labels):
        raise DataError(
            540,
            f"boxes {list(boxes.shape)} with {len(labels)} labels",
            where=where,
            fix="expected [k 4] and [k]",
        )
    if form == "xyxy":
        boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    return boxes, labels


def _mean(values: Sequence[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
