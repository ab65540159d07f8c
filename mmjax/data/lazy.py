"""What is done with tables whose rows are read from storage one by one, and may be very many."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.typing import Int
from mmjax.data.modalities.base import Modality, Place, Processor
from mmjax.data.table import Table
from mmjax.data.targets.base import cell_of, columns_of

logger = logging.getLogger(__name__)

FEW = 100_000
"""At most so many rows of a lazy table are read before training begins."""


def some(table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "_"]:
    """The rows; of more than `FEW` of a lazy table so many, evenly spaced from first to last."""
    if not table.lazy or len(rows) <= FEW:
        return rows
    logger.info("what is learnt from %d rows is learnt from %d of them", len(rows), FEW)
    return rows[np.linspace(0, len(rows) - 1, FEW).astype(np.int64)]


def require_few(table: Table, rows: int, setting: str) -> None:
    """Raises ConfigError if a setting needs more rows to be read first than that."""
    if rows > FEW:
        raise ConfigError(
            115,
            f"{setting} needs all {rows} rows of {table.name} to be read before training",
            where=setting,
            fix="leave it out: all batches then have one shape",
        )


def fit(one: Any, table: Table, rows: Int[np.ndarray, "n"], policy: str) -> Any:
    """What a modality or target learns of the rows; under `quarantine` damaged ones teach nothing.

    Those of other tables are known, and gone, before.
    """
    try:
        return one.fit(table, rows)
    except DataError:
        if not table.lazy or policy == "raise":
            raise
    return one.fit(table, rows[[_is_readable(one, table, row) for row in rows.tolist()]])


def _is_readable(one: Any, table: Table, row: int) -> bool:
    place = Place(table, row)
    try:
        if isinstance(one, Modality):
            cells = {column: table.column(column)[row] for column in one.reads()}
            return one.check(cells, place, decode=False) is not None
        one.check(cell_of(table, columns_of(one), row), place)
    except DataError:
        return False
    return True


def lengths(processor: Processor, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The length of each row, 0 for those that are damaged and will be left out."""
    found = np.zeros(len(rows), np.int32)
    for i in range(len(rows)):
        try:
            found[i] = processor.lengths(table, rows[i : i + 1])[0]
        except DataError as error:
            logger.debug("no length: %s", error)
    return found
