"""What is known of a table while it is examined."""

from __future__ import annotations

import dataclasses

from mmjax.core.errors import MMJaxError
from mmjax.data.config import DataConfig
from mmjax.data.modalities.base import Modality
from mmjax.data.problems import Problem, Severity
from mmjax.data.splits import Splits
from mmjax.data.table import Table
from mmjax.data.targets.base import Target


@dataclasses.dataclass
class Examined:
    """A table, what reads it, and what was found so far."""

    table: Table
    config: DataConfig
    modalities: dict[str, Modality]
    targets: dict[str, Target]
    problems: list[Problem]
    splits: Splits = dataclasses.field(default_factory=dict)
    digests: dict[str, dict[int, bytes]] = dataclasses.field(default_factory=dict)
    bad: set[int] = dataclasses.field(default_factory=set)
    """Rows with an error."""

    def add(
        self,
        code: int,
        message: str,
        *,
        row: int | None = None,
        column: str | None = None,
        fix: str = "",
        severity: Severity = "error",
    ) -> None:
        where = self.table.name if row is None else self.table.where(row, column)
        if row is None and column is not None:
            where = f"{where}:{column}"
        self.problems.append(Problem(code, message, where, row, column, fix, severity))
        if row is not None and severity == "error":
            self.bad.add(row)

    def error(self, error: MMJaxError, row: int | None = None) -> None:
        self.problems.append(Problem.of(error, self.table, row))
        if row is not None:
            self.bad.add(row)
