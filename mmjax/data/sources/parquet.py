"""Rows from a Parquet file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from mmjax.core.errors import DataError
from mmjax.data.cells import clean_cell
from mmjax.data.sources.files import existing, fingerprint, root_of
from mmjax.data.table import Table

_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Parquet:
    """A Parquet file; media are bytes, or paths relative to `root` or to the file's folder.

    A struct of `bytes` and `path`, as Hugging Face data sets write pictures, is read as its bytes,
    or as its path where it has none. Raises DataError for a missing, rowless or damaged file.
    """

    path: str
    root: str | None = None

    def read(self) -> Table:
        """The file as a table whose cells become Python values when they are asked for."""
        import pyarrow
        import pyarrow.parquet

        path = existing(self.path)
        try:
            rows = pyarrow.parquet.ParquetFile(path, memory_map=True).read()
            rows.validate(full=True)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise DataError(
                215, f"damaged Parquet: {error}", where=str(path), fix="write it again"
            ) from error
        if not rows.num_rows:
            raise DataError(201, "manifest has 0 rows", where=str(path), fix="write rows")
        names = [str(name) for name in rows.column_names]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise DataError(
                204, f"the schema names column '{twice}' twice", where=str(path), fix="rename one"
            )
        return Table(
            columns={
                name: ArrowColumn(column) for name, column in zip(names, rows.columns, strict=True)
            },
            name=str(path),
            fingerprint=fingerprint(path),
            root=root_of(path, self.root),
        )


class ArrowColumn(Sequence):
    """The cells of an Arrow column, made into Python values one at a time."""

    def __init__(self, values: Any):
        import pyarrow

        self._values = values
        fields = values.type if pyarrow.types.is_struct(values.type) else ()
        self._media = {field.name for field in fields} == {"bytes", "path"}

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._cell(cell) for cell in self._values[index].to_pylist()]
        return self._cell(self._values[int(index)].as_py())

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self[start : start + _AT_ONCE]

    def _cell(self, cell: Any) -> Any:
        if self._media and cell is not None:
            cell = cell["path"] if cell["bytes"] is None else cell["bytes"]
        return clean_cell(cell)
