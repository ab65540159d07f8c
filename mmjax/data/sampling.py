"""Which rows of a class train, and how often: few of each, or classes that take turns."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Int
from mmjax.data.config import DataConfig, FewShot, Sampling
from mmjax.data.folds import dealt_by
from mmjax.data.order import permuted
from mmjax.data.splits import Splits, codes, shuffled
from mmjax.data.table import Table
from mmjax.data.targets.base import Target
from mmjax.data.turns import Turns

logger = logging.getLogger(__name__)


class Balanced:
    """Rows for ever, their classes taking turns in proportion to (rows of the class)^power.

    With `power` 0 each class comes as often (class-aware sampling, Shen et al. 2016), with 1 as
    often as it is; between them as languages in XLM (Conneau and Lample 2019, section 3.1). An
    epoch has as many turns as there are rows, of which each class has its exact share up to a few;
    they are in a new order each epoch, and so are the rows of a class each time that all of them
    were seen. A batch is a function of (seed, step).

    Raises ConfigError for a power that is none.
    """

    def __init__(
        self,
        rows: Int[np.ndarray, "n"],
        classes: Int[np.ndarray, "n"],
        batch_size: int,
        seed: int,
        *,
        power: float = 0.0,
    ):
        if not 0 <= power <= 1:
            raise ConfigError(
                106, f"data.sampling.power = {power} is out of range", fix="expected 0 to 1"
            )
        _, number, counts = np.unique(classes, return_inverse=True, return_counts=True)
        self._members = [rows[number == i] for i in range(len(counts))]
        self.turns = Turns.of([float(share) for share in (counts / counts.max()) ** power])
        self._count = len(rows)
        self._batch_size = batch_size
        self._seed = seed

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size

    def __getitem__(self, step: int) -> Int[np.ndarray, "b"]:
        first = step * self._batch_size
        turns = np.arange(first, first + self._batch_size)
        # Turns that follow each other are those of classes in a row, again and again.
        spread = turns // self._count * self._count + self._places(turns, self._count, "turns")
        which, own = self.turns.at(spread)
        batch = np.empty(self._batch_size, np.int64)
        for i in np.unique(which).tolist():
            members, mine = self._members[i], which == i
            batch[mine] = members[self._places(own[mine], len(members), f"class/{i}")]
        return batch

    def _places(self, turns: Int[np.ndarray, "n"], count: int, key: str) -> Int[np.ndarray, "n"]:
        """Where turns fall among what is shuffled anew each epoch of `count`."""
        epochs, places = np.divmod(turns, count)
        found = np.empty(len(turns), np.int64)
        for epoch in np.unique(epochs).tolist():
            mine = epochs == epoch
            found[mine] = permuted(places[mine], count, f"{self._seed}/{key}/{epoch}")
        return found


def class_column(
    config: DataConfig, setting: Sampling | FewShot, targets: Mapping[str, Target], where: str
) -> str:
    """The column of the classes: the setting's, the split's, or that of the only class target.

    Raises ConfigError where there is none.
    """
    found = setting.column or dealt_by(config.split, targets)[0]
    if found is None:
        raise ConfigError(
            109,
            f"{where} goes by classes, and no one target is a class",
            where=f"{where}.column",
            fix="name the column of the classes",
        )
    return found


def few_of_each(splits: Splits, table: Table, column: str, wanted: FewShot) -> Splits:
    """The splits with so many training rows of each class of a column; the others are in none.

    Which depends on the seed and the row numbers alone, and more rows hold those of fewer. A class
    that has fewer gives all. Raises ConfigError for less than one row.
    """
    if wanted.rows < 1:
        raise ConfigError(
            106, f"data.few_shot.rows = {wanted.rows} is out of range", fix="expected 1 or more"
        )
    rows = splits["train"]
    classes = codes(table, column, rows)
    order = np.asarray(shuffled(rows.tolist(), wanted.seed), np.int64)
    kept: list[int] = []
    for one in np.unique(classes):
        mine = order[classes[order] == one]
        if len(mine) < wanted.rows:
            logger.warning(
                "a class of '%s' has %d training rows of %d", column, len(mine), wanted.rows
            )
        kept.extend(mine[: wanted.rows].tolist())
    return {**splits, "train": rows[np.sort(np.asarray(kept, np.int64))]}
