"""A row's cells as a person sees them: text, and pictures of all media."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image

from mmjax.api.run import Run
from mmjax.data import audio_decoding
from mmjax.data.audio_features import LogMel
from mmjax.data.cells import shown
from mmjax.data.config import modalities as modality_registry
from mmjax.data.dataset import Dataset
from mmjax.data.modalities.base import Place

_COLUMNS = 240
"""Frames of a sound's picture."""
_SEEN = 4
"""Frames of a video's picture, and the height of each in pixels."""
_HEIGHT = 96


def inputs(run: Run, dataset: Dataset, row: int) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The cells of a row as texts, and as uint8 pictures, by column.

    Of a sound the log-mel bands, low ones at the bottom; of a video some frames, of a volume some
    slices side by side; of points the first two axes; of features a row each, over time.
    """
    fields: dict[str, str] = {}
    images: dict[str, np.ndarray] = {}
    for name in run.config.data.modalities:
        texts, pictures = of_modality(run, dataset, row, name)
        fields |= texts
        images |= pictures
    return fields, images


def of_modality(
    run: Run, dataset: Dataset, row: int, name: str
) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """As `inputs`, of one modality."""
    fields, images = {}, {}
    cells, place = dataset.table.row(row), Place(dataset.table, row)
    spec = run.config.data.modalities[name]
    modality = modality_registry.build(spec)
    for column in modality.reads():
        cell = cells[column]
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            continue
        if spec.name == "image":
            images[column] = np.asarray(modality.decode(cell, column, place))
        elif spec.name == "audio":
            images[column] = _bands(modality, cell, place)
        elif spec.name == "video":
            images[column] = _film(modality, cell, place)
        elif spec.name == "volume":
            images[column] = _slices(modality.decode(cell, place))
        elif spec.name == "sequence" and (values := modality.values(cell, place)) is not None:
            images[column] = np.flipud(_gray(values).T)
        elif spec.name == "points":
            images[column] = _from_above(modality.decode(cell, place), modality.axes)
        elif spec.name != "sequence":
            fields[column] = str(cell)
        if spec.name in ("audio", "video", "volume", "points", "sequence"):
            fields[column] = shown(cell, 80)
    return fields, images


def _bands(modality: Any, cell: Any, place: Place) -> np.ndarray:
    waveform = audio_decoding.decode_audio(
        cell,
        root=place.root(modality.column),
        where=place.where(modality.column),
        sample_rate=16_000,
        max_seconds=modality.max_seconds,
        place=0.5 if modality.evaluate_part == "middle" else 0.0,
        formats=modality.formats,
    )
    values = LogMel(mel_bins=64, hop=max(160, len(waveform) // _COLUMNS))(waveform).values
    return np.flipud(_gray(values).T)


def _film(modality: Any, cell: Any, place: Place) -> np.ndarray:
    def small(frame: PIL.Image.Image) -> np.ndarray:
        height = min(frame.height, _HEIGHT)
        width = max(1, round(frame.width * height / frame.height))
        return np.asarray(frame.convert("RGB").resize((width, height)))

    count = min(_SEEN, modality.frames)
    return np.concatenate(modality.decode(cell, place, [0.5] * count, small), axis=1)


def _slices(values: np.ndarray) -> np.ndarray:
    places = (np.arange(_SEEN) + 0.5) * len(values) / _SEEN
    return _gray(np.concatenate(values[places.astype(int), ..., 0], axis=1))


def _from_above(points: np.ndarray, axes: int) -> np.ndarray:
    """How many points lie where, the first axis to the right and the second up."""
    second = points[:, 1] if axes > 1 else np.zeros(len(points))
    counts, _, _ = np.histogram2d(points[:, 0], second, bins=_HEIGHT)
    return _gray(np.flipud(np.log1p(counts).T))


def _gray(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (255 * (values - low) / max(high - low, 1e-9)).astype(np.uint8)
