"""What a user points at, as a source and as one clean table."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmjax.core.errors import DataError, nearest
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, sources
from mmjax.data.joining import JoinReport, join
from mmjax.data.table import Table, check_ids

logger = logging.getLogger(__name__)

SUFFIXES: Mapping[str, Spec] = {
    ".csv": Spec("csv"),
    ".tsv": Spec("csv", delimiter="\t"),
    ".jsonl": Spec("jsonl"),
    ".ndjson": Spec("jsonl"),
    ".parquet": Spec("parquet"),
}
SHARDS: Mapping[str, str] = {
    ".tar": "webdataset",
    ".array_record": "arrayrecord",
    ".arrayrecord": "arrayrecord",
}
"""Suffixes of files of which one, or a pattern of several, is a table."""
EMBEDDED = ("emoji",)


def source_for(data: Any, root: str | os.PathLike | None = None) -> Spec:
    """The source that reads `data`: a manifest's path, an embedded set's name, or a DataFrame.

    A path is told by its suffix; a TFDS folder by its `dataset_info.json`. The cells of a DataFrame
    stay out of the spec, which is written into configs: `read` hands them over. Raises DataError
    for anything else.
    """
    options = {} if root is None else {"root": os.fspath(root)}
    if isinstance(data, (str, os.PathLike)):
        path = os.fspath(data)
        if path in EMBEDDED:
            return Spec(path)
        if os.path.isfile(os.path.join(path, "dataset_info.json")):
            return Spec("tfds", dataset=path)
        suffix = Path(path).suffix.lower()
        if suffix in SUFFIXES:
            return SUFFIXES[suffix].replace(path=path, **options)
        if suffix in SHARDS:
            return Spec(SHARDS[suffix], paths=(path,))
        raise DataError(
            201,
            f"'{path}' is no manifest",
            fix="give " + ", ".join((*SUFFIXES, *SHARDS)) + ", or " + nearest(path, EMBEDDED),
        )
    if isinstance(data, Mapping) or hasattr(data, "columns"):
        return Spec("frame", **options)
    raise DataError(
        201,
        f"data of type {type(data).__name__} cannot be read",
        fix="give a manifest's path, a DataFrame, or the name of an embedded set",
    )


def read(data: Any, root: str | os.PathLike | None = None) -> Table:
    """The table of what `source_for` takes."""
    return sources.build(source_for(data, root), facts={"frame": data}).read()


def load(config: DataConfig, *, frame: Any = None) -> tuple[Table, tuple[JoinReport, ...]]:
    """The rows that a config describes: read, joined, ids checked; and what each join matched.

    The ids of a lazy table are not all read, and not checked.

    `frame` is the DataFrame of a `frame` source. Raises DataError for the first bad row under
    policy `raise`, and under `quarantine` when more rows are bad than the config allows.
    """
    table = sources.build(config.source, facts={"frame": frame}).read()
    check_bad(table, config)
    reports = []
    for one in config.joins:
        right = sources.build(one.source).read()
        check_bad(right, config)
        if right.bad:
            logger.warning("left out of %s: %d bad rows", right.name, len(right.bad))
        table, report = join(table, right, one)
        reports.append(report)
    if config.id_column is not None and table.lazy:
        table.column(config.id_column)
    elif config.id_column is not None:
        check_ids(table, config.id_column)
    return table, tuple(reports)


def check_bad(table: Table, config: DataConfig) -> None:
    """Raises DataError if policy and limits of the config do not allow the table's bad rows."""
    bad, rows = len(table.bad), len(table) + len(table.bad)
    if config.on_bad_sample == "raise":
        table.require_good()
    if not config.allows_bad(bad, rows):
        raise DataError(
            219,
            f"{bad} of {rows} rows are bad, the first: {table.bad[0].message}",
            where=f"{table.name}:{table.bad[0].line}",
            fix="mend the manifest, or raise max_bad_fraction or max_bad",
        )
