"""What a report tells of the data itself: which modalities rows have, and what leaks."""

from __future__ import annotations

import numpy as np

from mmjax.core.errors import MMJaxError
from mmjax.data.config import modalities as modality_registry
from mmjax.data.dataset import Dataset
from mmjax.data.duplicates import MEDIA, digest, leaks, same
from mmjax.data.modalities.base import Place

_LOOKED_AT = 20_000
"""Rows of a split that are looked at; of more, evenly spaced ones."""


def presence(dataset: Dataset) -> dict[str, dict[str, tuple[int, int]]]:
    """By modality and split, the rows that have it, and the rows that were looked at.

    Media files are looked for and not opened.
    """
    settings = {
        name: modality_registry.build(spec) for name, spec in dataset.config.modalities.items()
    }
    found: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in settings}
    for split, rows in dataset.splits.items():
        some = _some(rows)
        for name, modality in settings.items():
            columns = dataset.columns[name]
            have = 0
            for row in some.tolist():
                cells = {column: dataset.table.column(column)[row] for column in columns}
                try:
                    have += modality.check(cells, Place(dataset.table, row), decode=False)
                except MMJaxError:
                    continue
            found[name][split] = have, len(some)
    return found


def leaked(dataset: Dataset) -> list[str]:
    """Lines that tell which rows of other splits have all inputs, or a file, of a training row."""
    table = dataset.table
    rows = [row for one in dataset.splits.values() for row in _some(one).tolist()]
    split_of = {row: name for name, one in dataset.splits.items() for row in one.tolist()}
    digests: dict[str, dict[int, bytes]] = {}
    for name, spec in dataset.config.modalities.items():
        digests[name] = {}
        for row in rows:
            cells = {column: table.column(column)[row] for column in dataset.columns[name]}
            try:
                held = digest(spec.name, cells, Place(table, row))
            except MMJaxError:
                continue
            if held is not None:
                digests[name][row] = held
    nothing = b"\0"
    whole = {
        row: nothing.join(found.get(row, nothing) for found in digests.values())
        for row in set().union(*digests.values())
    }
    lines = _told(dataset, leaks(same(whole), split_of), "the same inputs as a training row")
    if len(digests) > 1:
        for name, found in digests.items():
            if dataset.config.modalities[name].name in MEDIA:
                pairs = leaks(same(found), split_of)
                lines += _told(dataset, pairs, f"the same {name} as a training row")
    return lines


def _told(dataset: Dataset, found: dict[str, list[tuple[int, int]]], what: str) -> list[str]:
    lines = []
    for split, pairs in found.items():
        row, other = pairs[0]
        places = f"{dataset.table.where(row)} and {dataset.table.where(other)}"
        share = len(pairs) / max(1, len(dataset.splits[split]))
        lines.append(f"{len(pairs)} {split} rows ({share:.1%}) have {what}, as {places}")
    return lines


def _some(rows: np.ndarray) -> np.ndarray:
    if len(rows) <= _LOOKED_AT:
        return rows
    return rows[np.linspace(0, len(rows) - 1, _LOOKED_AT).astype(np.int64)]
