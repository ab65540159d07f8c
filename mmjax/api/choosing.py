"""A modality's settings and its encoder, chosen for what is in the table."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from mmjax import tasks
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.registry import Spec
from mmjax.data import audio_decoding, volume_decoding
from mmjax.data.cells import key_of
from mmjax.data.config import modalities as modality_registry
from mmjax.data.kinds import Kind, sampled
from mmjax.data.modalities.base import Place
from mmjax.data.numbers import parse_number
from mmjax.data.schema import Schema
from mmjax.data.table import Table

INPUTS: tuple[Kind, ...] = (
    *("text", "image", "audio", "video", "volume", "points"),
    *("number", "category"),
)
"""The kinds of columns that there is a choice for."""

_RATE = 16_000
_LONGEST_SECONDS = 10.0
_MOST_FRAMES = 250
"""Frames of log-mel bands: longer sounds have a longer hop."""
_VIDEO_FRAMES = 4


class Choice(NamedTuple):
    """The settings of a modality and of its encoder, and why."""

    modality: Spec
    encoder: Spec
    reason: str


class Answer(NamedTuple):
    """What is predicted of a target, the metric that chooses among checkpoints, and why."""

    task: Spec
    metric: str
    reason: str


TASKS: dict[str, Kind] = {
    "classification": "category",
    "ordinal": "category",
    "multi_label": "labels",
    "regression": "number",
    "anomaly": "category",
}
"""The tasks of a label alone that need no config, and the kind of column that each is for."""


def kind_for(task: str) -> Kind:
    """The kind of label column that a task is for. Raises ConfigError, naming the nearest task."""
    if task in TASKS:
        return TASKS[task]
    if task in tasks.registry:
        fix = f"write a config; {nearest(task, TASKS)}"
        raise ConfigError(106, f"task = '{task}' is not chosen for a single column", fix=fix)
    raise ConfigError(106, f"task = '{task}' is no task", fix=nearest(task, TASKS))


def normal_of(table: Table, chosen: Schema) -> str | None:
    """The one class of the training rows, where a column names them and other rows have others.

    The others cannot be learnt from examples, and so are what is to be found.
    """
    target, split = chosen.targets["label"], chosen.split
    if split.column is None or target.name != "category":
        return None
    labels, names = table.column(target.options["column"]), table.column(split.column)
    train = {name.casefold() for name in split.names["train"]}
    found = {
        key
        for label, name in zip(labels, names, strict=True)
        if str(name).strip().casefold() in train and (key := key_of(label))
    }
    return found.pop() if len(found) == 1 else None


def anomaly(table: Table, target: Spec, normal: str | None, several: bool) -> tuple[Spec, Answer]:
    """The target with what is normal before all else, and how rows that are not it are found.

    What is normal is the most frequent class if it is not given.
    """
    column = target.options["column"]
    counts = Counter(key for cell in table.column(column) if (key := key_of(cell)))
    reason = f"anomaly detection: '{normal}' is all that training rows are by {column}"
    if normal is None:
        normal = counts.most_common(1)[0][0]
        reason = f"anomaly detection: what is not '{normal}' by {column}, its most frequent class"
    names = (normal, *sorted(set(counts) - {normal}))
    spec = Spec("anomaly", method="nearest", normal=normal, neighbours=3)
    if several:
        spec = spec.replace(loss="disagreement", agreement="cosine", train_features=True)
        reason += ", by what goes with what, and the distance to the nearest normal rows"
    else:
        reason += ", by the distance to the nearest normal rows; nothing is trained"
    return target.replace(names=names), Answer(spec, "loss", reason)


def answer(table: Table, target: Spec, task: str | None) -> Answer:
    """The task for a target, which `task` may name."""
    column = target.options["column"]
    if target.name == "number":
        spec = Spec("regression", loss="huber")
        return Answer(spec, "mae", f"regression of {column}, with Huber's loss")
    if target.name == "labels":
        spec = Spec("multi_label")
        reason = f"multi_label classification by {column}, thresholds from the validation rows"
        return Answer(spec, "map", reason)
    names = sorted({key for cell in table.column(column) if (key := key_of(cell))})
    if task == "ordinal":
        numbers = all(parse_number(name) is not None for name in names)
        order = "in the order of their numbers"
        if not numbers:
            order = "in alphabetical order; give data.targets.label.names for another"
        return Answer(Spec("ordinal"), "mae", f"ordinal classification of {column}, ranks {order}")
    reason = f"classification of {column}"
    if len(names) == 2:
        reason += f", of two classes; '{names[1]}' is what precision and recall are told of"
    return Answer(Spec("classification", label_smoothing=0.1), "accuracy", reason)


def choose(table: Table, spec: Spec) -> Choice:
    """What a small table with this modality is learnt with, from scratch, on a CPU."""
    return _CHOICES[spec.name](table, spec)


def _text(table: Table, spec: Spec) -> Choice:
    return Choice(
        spec.replace(tokenizer="subwords", max_length=128, min_count=2, buckets=16_000),
        Spec("bag_of_subwords", width=32, combiner="sqrtn", token_dropout=0.5, dropout=0.3),
        "words and their parts, averaged: strong on small tables, fast on a CPU",
    )


def _image(table: Table, spec: Spec) -> Choice:
    size = picture_size(table, spec)
    augment = {
        "affine": {"degrees": 8, "scale": 0.1, "pixels": max(1, size // 16), "flip": 0.5},
        "jitter": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.2},
    }
    views = "all" if len(spec.options["columns"]) > 1 else "first"
    return Choice(
        spec.replace(size=size, augment=augment, evaluate_views=views),
        Spec("image_cnn", width=128, pools=("quadrants", "max", "early_mean"), dropout=0.3),
        f"a small network from scratch on {size} x {size} pixels",
    )


def _audio(table: Table, spec: Spec) -> Choice:
    rate, seconds = sound_size(table, spec)
    hop = round(max(0.01, seconds / _MOST_FRAMES), 3)
    frames = math.ceil(seconds / hop)
    augment = {
        "shift": 0.1,
        "gain": 6,
        "time_mask": {"frames": max(1, frames // 8), "masks": 2, "share": 0.2},
        "frequency_mask": {"width": 8, "masks": 2},
    }
    return Choice(
        spec.replace(
            sample_rate=rate,
            max_seconds=seconds,
            mel_bins=64,
            window_seconds=round(2.5 * hop, 4),
            hop_seconds=hop,
            augment=augment,
        ),
        Spec("audio_cnn", channels=(16, 32, 64, 128), width=128, dropout=0.2),
        f"a small network from scratch on 64 log-mel bands of {seconds:g} s at {rate:,} Hz",
    )


def _video(table: Table, spec: Spec) -> Choice:
    size = video_size(table, spec)
    # Not flipped: what moves to the left may be another class than what moves to the right.
    augment = {
        "affine": {"degrees": 8, "scale": 0.1, "pixels": max(1, size // 16)},
        "jitter": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.2},
    }
    image = Spec("image_cnn", width=128, pools=("quadrants", "max", "early_mean"), dropout=0.3)
    return Choice(
        spec.replace(frames=_VIDEO_FRAMES, size=size, augment=augment),
        Spec("frames", image=image, temporal="transformer", width=128, depth=1, mlp_dim=256),
        f"a small network from scratch on {_VIDEO_FRAMES} frames of {size} x {size} pixels, and "
        "their order",
    )


def _volume(table: Table, spec: Spec) -> Choice:
    size = volume_size(table, spec)
    augment = {"shift": max(1, min(size) // 16), "contrast": 0.1}
    return Choice(
        spec.replace(size=size, augment=augment),
        Spec("volume_cnn", channels=(16, 32), blocks=(1, 1), width=64, dropout=0.2),
        f"a small network from scratch on {' x '.join(map(str, size))} voxels",
    )


def _points(table: Table, spec: Spec) -> Choice:
    count, axes, scale = points_size(table, spec)
    return Choice(
        spec.replace(count=count, axes=axes, augment={"jitter": 0.02, "drop": 0.2}),
        Spec("point_set", axes=axes, channels=(64, 128), width=64, scale=scale, dropout=0.2),
        f"one network for each of {count} points at most, whose first {axes} columns are its place",
    )


def _table(table: Table, spec: Spec) -> Choice:
    return Choice(spec, Spec("table", width=64), "one token a column")


_CHOICES: dict[str, Callable[[Table, Spec], Choice]] = {
    "text": _text,
    "image": _image,
    "audio": _audio,
    "video": _video,
    "volume": _volume,
    "points": _points,
    "table": _table,
}


def picture_size(table: Table, spec: Spec) -> int:
    """The side that pictures are brought to: that of the first few, 32 at least and 64 at most."""
    modality, column = modality_registry.build(spec), spec.options["columns"][0]
    sides = []
    for row in _some(table, column, 8):
        with contextlib.suppress(DataError):
            cell = table.column(column)[row]
            sides.append(min(modality.decode(cell, column, Place(table, row)).size))
    return int(np.clip(np.median(sides) // 16 * 16, 32, 64)) if sides else 32


def sound_size(table: Table, spec: Spec) -> tuple[int, float]:
    """The sample rate in Hz and the seconds that sounds are brought to, by their headers.

    The rate that most have, 16 kHz at most; the length of the longest, 10 seconds at most.
    """
    column = spec.options["column"]
    rates, seconds = [], []
    for row in _some(table, column, 64):
        with contextlib.suppress(DataError):
            extent = audio_decoding.measure_audio(
                table.column(column)[row],
                root=table.root_of(column),
                where=table.where(row, column),
                sample_rate=_RATE,
            )
            rates.append(min(extent.rate, _RATE))
            frames = _LONGEST_SECONDS * extent.rate if extent.frames is None else extent.frames
            seconds.append(frames / extent.rate)
    if not rates:
        return _RATE, _LONGEST_SECONDS
    longest = math.ceil(100 * min(max(seconds), _LONGEST_SECONDS)) / 100
    return max(sorted(set(rates)), key=rates.count), max(longest, 0.1)


def video_size(table: Table, spec: Spec) -> int:
    """The side that frames are brought to: that of a few videos, 32 at least and 48 at most."""
    modality, column = modality_registry.build(spec), spec.options["column"]

    def side(frame: PIL.Image.Image) -> Any:
        return np.array(min(frame.size))

    sides = []
    for row in _some(table, column, 4):
        with contextlib.suppress(DataError):
            cell = table.column(column)[row]
            sides += modality.decode(cell, Place(table, row), (0.0,), side)
    return int(np.clip(np.median(sides) // 16 * 16, 32, 48)) if sides else 32


def volume_size(table: Table, spec: Spec) -> tuple[int, int, int]:
    """What volumes are brought to: the size of a few, along each axis 8 at least and 32 at most."""
    column = spec.options["column"]
    shapes = []
    for row in _some(table, column, 4):
        with contextlib.suppress(DataError):
            found = volume_decoding.decode_volume(
                table.column(column)[row],
                root=table.root_of(column, row),
                where=table.where(row, column),
            )
            shapes.append(found.values.shape[:3])
    usual = np.median(shapes, axis=0) if shapes else np.full(3, 32)
    depth, height, width = np.clip(usual // 8 * 8, 8, 32).astype(int).tolist()
    return depth, height, width


def points_size(table: Table, spec: Spec) -> tuple[int, int, float]:
    """How many points a set has, at most 512, of how many axes, and how far they lie apart (the
    deviation of their places), by a few.
    """
    modality, column = modality_registry.build(spec.replace(axes=1)), spec.options["column"]
    counts, columns, apart = [], [], []
    for row in _some(table, column, 8):
        with contextlib.suppress(DataError):
            found = modality.decode(table.column(column)[row], Place(table, row))
            counts.append(len(found))
            columns.append(found.shape[1])
            apart.append(float(found[:, :3].std(axis=0).mean()))
    if not counts:
        return 512, 3, 1.0
    scale = float(np.median(apart)) or 1.0
    return int(np.clip(max(counts), 16, 512)), min(3, *columns), float(f"{scale:.3g}")


def _some(table: Table, column: str, most: int) -> Iterator[int]:
    """A few rows that have a cell, from all over the table."""
    cells = table.column(column)
    rows = (row for row in sampled(len(table), 8 * most) if cells[row] is not None)
    return itertools.islice(rows, most)
