"""What is wrong with a row, a column or a whole table, as a value rather than an exception."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from mmjax.core.errors import MMJaxError, code_name
from mmjax.data.table import BadRow, Table

Severity = Literal["error", "warning"]


@dataclasses.dataclass(frozen=True)
class Problem:
    """One finding. An `error` row cannot be used; a `warning` is worth a look.

    `where` is `file:line:column` as far as it is known, `row` the number of the table's row, None
    where it is not one row's, or could not be read.
    """

    code: int
    message: str
    where: str = ""
    row: int | None = None
    column: str | None = None
    fix: str = ""
    severity: Severity = "error"

    @classmethod
    def of(cls, error: MMJaxError, table: Table | None = None, row: int | None = None) -> Problem:
        """What an error says, of a row of the table if one is given."""
        column = error.where.rpartition(":")[2]
        known = table is not None and column in table.columns
        where = error.where or (table.where(row) if table is not None and row is not None else "")
        return cls(error.code, error.what, where, row, column if known else None, error.fix)

    @classmethod
    def of_bad_row(cls, bad: BadRow) -> Problem:
        """A row that could not be read from its file."""
        where = ":".join([bad.name, str(bad.line), *([bad.column] if bad.column else [])])
        return cls(bad.code, bad.message, where, None, bad.column, bad.fix)

    def __str__(self) -> str:
        fix = f" | fix: {self.fix}" if self.fix else ""
        told = f"{self.severity} {code_name(self.code)}: {self.message}{fix}"
        return " ".join((f"{self.where}: {told}" if self.where else told).split())

    def as_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "code": code_name(self.code)}
