"""What is in a table, as JSON and as lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmjax.data.cells import aligned, shown
from mmjax.data.kinds import column_of, sampled, split_column
from mmjax.data.schema import propose
from mmjax.data.table import Table

_EXAMPLES = 3
_MOST_BAD = 20
_LOOKED_AT = 20


def describe(table: Table) -> dict[str, Any]:
    """JSON values: rows, bad rows, each column's kind, counts and examples, proposed modalities."""
    columns = [column_of(table, name) for name in table.columns]
    split = split_column(table)
    return {
        "name": table.name,
        "rows": len(table),
        "fingerprint": table.fingerprint,
        "bad_rows": len(table.bad),
        "bad": [str(bad.error()) for bad in table.bad[:_MOST_BAD]],
        "columns": [
            {
                "name": column.name,
                "kind": column.kind,
                "reason": column.reason,
                "missing": column.missing,
                "distinct": column.distinct,
                "examples": _examples(table, column.name),
                "warning": column.warning,
            }
            for column in columns
        ],
        "split": split,
        "modalities": {
            name: {"name": spec.name, **{k: _plain(v) for k, v in spec.options.items()}}
            for name, spec in propose([c for c in columns if c.name != split]).items()
        },
    }


def lines(description: Mapping[str, Any]) -> list[str]:
    """A description for a console."""
    rows = [("column", "kind", "missing", "distinct", "examples", "because")]
    for column in description["columns"]:
        counts = ["-" if column[k] is None else str(column[k]) for k in ("missing", "distinct")]
        examples = ", ".join(column["examples"])
        rows.append((column["name"], column["kind"], *counts, examples, column["reason"]))
    found = [f"{description['name']}: {description['rows']} rows, {description['bad_rows']} bad"]
    found += aligned(rows)
    found += [f"input {name}: {spec}" for name, spec in description["modalities"].items()]
    if description["split"] is not None:
        found.append(f"split: given by the column '{description['split']}'")
    found += [
        f"warning: '{c['name']}': {c['warning']}" for c in description["columns"] if c["warning"]
    ]
    return found + list(description["bad"])


def _examples(table: Table, column: str) -> list[str]:
    """The first different cells of a sample, each on one short line."""
    cells = table.column(column)
    known = [cell for row in sampled(len(table), _LOOKED_AT) if (cell := cells[row]) is not None]
    return list(dict.fromkeys(shown(cell, 20) for cell in known))[:_EXAMPLES]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
