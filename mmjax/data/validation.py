"""Everything that is wrong with a table, found without training: rows, media, labels, splits.

`examine` reads as training does, through the same sources, modalities and targets, but goes on
where they stop. To add a check: a function of an `Examined` that adds to its problems, in
`examined_columns.py`, `examined_rows.py` or `examined_labels.py`, called in `examine`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mmjax.core.errors import MMJaxError
from mmjax.data import examined_columns, examined_labels, examined_rows
from mmjax.data.config import DataConfig, sources
from mmjax.data.examined import Examined
from mmjax.data.examined_rows import Told
from mmjax.data.joining import join
from mmjax.data.problems import Problem
from mmjax.data.table import Table


@dataclasses.dataclass(frozen=True)
class Findings:
    """What `examine` saw. Without a table nothing could be read but the first problem."""

    table: Table | None
    rows: int
    """Those that could be read and those that could not."""
    present: Mapping[str, int]
    """Rows that have each modality."""
    splits: Mapping[str, int]
    problems: tuple[Problem, ...]


def examine(
    config: DataConfig, *, frame: Any = None, decode: bool = True, told: Told | None = None
) -> Findings:
    """Every problem of the rows that a config describes, in the order of their columns and rows.

    Media are opened and decoded unless `decode` is off. A row is in one problem a cell at the most.
    """
    unread: list[Problem] = []
    try:
        table = _read(config, frame, unread)
    except MMJaxError as error:
        return Findings(None, 0, {}, {}, (*unread, Problem.of(error)))
    seen = Examined(table, config, {}, {}, [])
    examined_columns.build(seen)
    if not table.lazy:
        examined_columns.ids(seen)
        examined_columns.columns(seen)
    examined_columns.split(seen)
    present = examined_rows.rows(seen, decode, told)
    examined_labels.labels(seen)
    examined_labels.repeated(seen)
    order = sorted(seen.problems, key=lambda one: -1 if one.row is None else one.row)
    return Findings(
        table,
        len(table) + len(table.bad),
        present,
        {name: len(rows) for name, rows in seen.splits.items()},
        (*unread, *order),
    )


def _read(config: DataConfig, frame: Any, problems: list[Problem]) -> Table:
    """The table with whatever can be read; what cannot is a problem."""

    def survey(spec: Any, **facts: Any) -> Table:
        source = sources.build(spec, facts=facts)
        found = getattr(source, "survey", source.read)()
        problems.extend(map(Problem.of_bad_row, found.bad))
        return found

    table = survey(config.source, frame=frame)
    for one in config.joins:
        table, _ = join(table, survey(one.source), one)
    return table
