"""A data set whose modalities are made worse on purpose, to see what a model owes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.typing import Int
from mmjax.data import audio_decoding
from mmjax.data.collate import example_rng
from mmjax.data.config import modalities as modality_registry
from mmjax.data.dataset import Dataset
from mmjax.data.modalities.base import Cells, Example, Place, Processor
from mmjax.data.table import Table
from mmjax.data.transforms import damage

MISSING = "missing"
"""What every modality may be: gone, in a share of the rows."""

_WHOLE = 24 * 3600.0
"""Seconds; a sound is damaged before its part is chosen."""

_TEXTS = ("text", "texts", "packed_text")


@dataclasses.dataclass(frozen=True)
class Damage:
    """What is done to a row of one modality: its settings, facts, severity and random numbers."""

    settings: Any
    facts: Mapping[str, Any]
    severity: float
    rng: np.random.Generator


Before = Callable[[Cells, Place, Damage], Cells]
After = Callable[[Example, Damage], Example | None]


def _noisy_picture(example: Example, how: Damage) -> Example:
    return {
        **example,
        "pixel_values": damage.noisy_pixels(example["pixel_values"], how.severity, how.rng),
    }


def _blurred_picture(example: Example, how: Damage) -> Example:
    return {**example, "pixel_values": damage.blurred(example["pixel_values"], how.severity)}


def _fewer_frames(example: Example, how: Damage) -> Example | None:
    frames = example["pixel_values"]
    gone = damage.dropped(len(frames), how.severity, how.rng)
    return None if gone.all() else {**example, "pixel_values": frames[~gone]}


def _noisy_steps(example: Example, how: Damage) -> Example:
    values = damage.noisy_numbers(example["input_features"], how.severity, how.rng)
    return {**example, "input_features": values}


def _gaps_in_steps(example: Example, how: Damage) -> Example | None:
    values = example["input_features"]
    gone = damage.dropped(len(values), how.severity, how.rng)
    filled = np.where(gone[:, None], np.float32(0), values)
    return None if gone.all() else {**example, "input_features": filled}


def _noisy_cells(example: Example, how: Damage) -> Example:
    found = dict(example)
    if "numbers" in example:
        noisy = damage.noisy_numbers(example["numbers"], how.severity, how.rng)
        found["numbers"] = np.where(example["number_mask"], noisy, 0).astype(np.float32)
    if "categories" in example:
        found["categories"] = damage.swapped_categories(
            example["categories"], how.facts["cardinalities"], how.severity, how.rng
        )
    return found


def _missing_cells(example: Example, how: Damage) -> Example | None:
    found = dict(example)
    numbers = len(example.get("numbers", ()))
    gone = damage.dropped(numbers + len(example.get("categories", ())), how.severity, how.rng)
    left = False
    if "numbers" in example:
        found["number_mask"] = example["number_mask"] & ~gone[:numbers]
        found["numbers"] = np.where(found["number_mask"], example["numbers"], np.float32(0))
        left = bool(found["number_mask"].any())
    if "categories" in example:
        kept = np.where(gone[numbers:], 0, example["categories"])
        found["categories"] = kept.astype(example["categories"].dtype)
        left = left or not gone[numbers:].all()
    return found if left else None


def _noisy_voxels(example: Example, how: Damage) -> Example:
    values = damage.noisy_numbers(example["voxel_values"], how.severity, how.rng)
    return {**example, "voxel_values": values}


def _fewer_slices(example: Example, how: Damage) -> Example | None:
    values = example["voxel_values"]
    gone = damage.dropped(len(values), how.severity, how.rng)
    filled = np.where(gone[:, None, None, None], values.min(), values)
    return None if gone.all() else {**example, "voxel_values": filled}


def _noisy_points(example: Example, how: Damage) -> Example:
    return {**example, "points": damage.noisy_points(example["points"], how.severity, how.rng)}


def _fewer_points(example: Example, how: Damage) -> Example | None:
    gone = damage.dropped(len(example["points"]), how.severity, how.rng)
    return None if gone.all() else {**example, "points": example["points"][~gone]}


def _fewer_items(example: Example, how: Damage) -> Example | None:
    gone = damage.dropped(len(example["item_ids"]), how.severity, how.rng)
    return None if gone.all() else {**example, "item_ids": example["item_ids"][~gone]}


def _fewer_words(cells: Cells, place: Place, how: Damage) -> Cells:
    in_place = bool(how.settings.offsets)

    def of(cell: Any) -> Any:
        if cell is None:
            return None
        if isinstance(cell, Mapping):
            return {name: of(one) for name, one in cell.items()}
        if isinstance(cell, (list, tuple)):
            return [of(one) for one in cell]
        return damage.fewer_words(str(cell), how.severity, how.rng, in_place=in_place)

    return {name: of(cell) for name, cell in cells.items()}


def _of_waveform(change: Callable[[np.ndarray, Damage], np.ndarray | None]) -> Before:
    def changed(cells: Cells, place: Place, how: Damage) -> Cells:
        column, rate = how.settings.column, how.facts["sample_rate"]
        cell = cells[column]
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return cells
        waveform = audio_decoding.decode_audio(
            cell,
            root=place.root(column),
            where=place.where(column),
            sample_rate=rate,
            max_seconds=_WHOLE,
            strict_rate=how.settings.strict_rate,
            formats=how.settings.formats,
        )
        made = change(waveform, how)
        found = None if made is None else {"array": made, "sampling_rate": rate}
        return {**cells, column: found}

    return changed


def _noisy_sound(waveform: np.ndarray, how: Damage) -> np.ndarray:
    return damage.noisy_sound(waveform, how.severity, how.rng)


def _gaps_in_sound(waveform: np.ndarray, how: Damage) -> np.ndarray | None:
    return None if how.severity >= 1 else damage.silenced(waveform, how.severity, how.rng)


BEFORE: dict[tuple[str, str], Before] = {
    **{(kind, "dropped_words"): _fewer_words for kind in _TEXTS},
    ("audio", "noise"): _of_waveform(_noisy_sound),
    ("audio", "gaps"): _of_waveform(_gaps_in_sound),
}
"""What changes the cells of a row, by the kind of modality and a name."""

AFTER: dict[tuple[str, str], After] = {
    ("image", "noise"): _noisy_picture,
    ("image", "blur"): _blurred_picture,
    ("video", "noise"): _noisy_picture,
    ("video", "blur"): _blurred_picture,
    ("video", "dropped_frames"): _fewer_frames,
    ("sequence", "noise"): _noisy_steps,
    ("sequence", "gaps"): _gaps_in_steps,
    ("table", "noise"): _noisy_cells,
    ("table", "missing_cells"): _missing_cells,
    ("items", "dropped_items"): _fewer_items,
    ("volume", "noise"): _noisy_voxels,
    ("volume", "dropped_slices"): _fewer_slices,
    ("points", "noise"): _noisy_points,
    ("points", "dropped_points"): _fewer_points,
}
"""What changes the decoded values of a row, such as its resized picture before normalisation."""


def kinds_of(modality: str) -> tuple[str, ...]:
    """The ways in which a modality of a registered kind can be made worse; the last is missing."""
    return (*(name for kind, name in (*BEFORE, *AFTER) if kind == modality), MISSING)


class Degraded:
    """A processor that makes every row worse before it gives it on; a `Processor` itself.

    Random numbers depend on seed, modality, way and row, and not on the severity. Lengths that
    batches are padded to are those of the rows as they were, so that shapes stay.
    """

    random = False

    def __init__(
        self, processor: Processor, settings: Any, name: str, kind: str, way: str, severity: float
    ):
        self._processor = processor
        self._settings = settings
        self._name = name
        self._kind = kind, way
        self._severity = severity
        self.seed = 0
        self.facts = processor.facts
        self.padded_lengths = processor.padded_lengths

    def save(self, folder: Path) -> None:
        """What the processor learnt."""
        self._processor.save(folder)

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """Those of the rows as they were."""
        return self._processor.lengths(table, rows)

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, np.ndarray]:
        return self._processor.collate(examples, length, train=train)

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """One row as it is in evaluation, made worse; None where nothing is left of it."""
        own = example_rng(self.seed, f"{self._name}/{self._kind[1]}", place.row)
        if self._kind[1] == MISSING:
            gone = own.random() < self._severity
            return None if gone else self._processor.example(cells, place, None)
        how = Damage(self._settings, self.facts, self._severity, own)
        if self._kind in BEFORE:
            cells = BEFORE[self._kind](cells, place, how)
        found = self._processor.example(cells, place, None)
        if found is None or self._kind in BEFORE:
            return found
        return AFTER[self._kind](found, how)


def degrade(dataset: Dataset, ways: Mapping[str, str], severity: float, *, seed: int) -> Dataset:
    """The data set with each modality of `ways` made worse in the way that is named.

    `severity` is from 0 (as it was) to 1 (what was to be lost is). Only for evaluation. Raises
    ConfigError for a modality that the data does not have, and for a way that its kind has not.
    """
    if not 0 <= severity <= 1:
        raise ConfigError(106, f"severity = {severity}", fix="a number from 0 to 1")
    changed = dict(dataset.modalities)
    for name, way in ways.items():
        if name not in changed:
            raise ConfigError(109, f"no modality '{name}'", fix=nearest(name, changed))
        spec = dataset.config.modalities[name]
        known = kinds_of(spec.name)
        if way not in known:
            raise ConfigError(
                109, f"'{name}' ({spec.name}) has no way '{way}'", fix=nearest(way, known)
            )
        if severity > 0:
            settings = modality_registry.build(spec)
            worse = Degraded(changed[name], settings, name, spec.name, way, severity)
            worse.seed = seed
            changed[name] = worse
    return dataclasses.replace(dataset, modalities=changed)
