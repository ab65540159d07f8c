"""Predicted sentiment over time: by topic, with an alarm when negative news surges."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmjax.api.run import Run
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import atomic
from mmjax.core.registry import Spec
from mmjax.data import manifest
from mmjax.data.config import DataConfig
from mmjax.data.dataset import ALL
from mmjax.data.table import Table
from mmjax.metrics.surge import surges


def trend(
    predictions: str | os.PathLike | Sequence[Mapping[str, Any]],
    data: Any,
    *,
    time: str,
    topic: str | None = None,
    out: str | os.PathLike | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """What `mmjax.metrics.surge.surges` finds in predicted scores, a dictionary a topic and period.

    `predictions` are what `run.predict` of the tasks `sentiment` and `sentiment_classes` returned,
    or the JSON Lines that `mmjax predict` wrote of it, and `data` is what was predicted: a
    manifest, a DataFrame, a mapping of columns, the spec of a source, or a table. Its columns
    `time` and `topic` say when a row is from and what it is about; `options` are those of `surges`.
    With `out`, the result is written there, as JSON Lines. Raises DataError for columns and rows
    that are not there, and predictions without a score.

        run.predict("news.csv") ... mmjax.api.trends.trend("predictions.jsonl", "news.csv",
                                                           time="date", topic="topic")
    """
    rows = _read(predictions)
    table = _table(data)
    for one in rows:
        if "score" not in one or "row" not in one:
            raise DataError(
                214,
                f"a prediction has {', '.join(sorted(one))}",
                where=f"row {one.get('row', '?')}",
                fix="predictions of the task sentiment, which have a row and a score",
            )
        if not 0 <= one["row"] < len(table):
            raise DataError(
                214,
                f"a prediction is of row {one['row']}, and the data has {len(table)} rows",
                where=table.name,
                fix="give the data that was predicted",
            )
    cells = [table.column(time)[one["row"]] for one in rows]
    topics = None if topic is None else [table.column(topic)[one["row"]] for one in rows]
    found = surges(cells, [one["score"] for one in rows], topics, **options)
    if out is not None:
        with atomic(out) as file:
            for one in found:
                file.write(json.dumps(one, ensure_ascii=False) + "\n")
    return found


def of_run(
    run: Run,
    data: Any = None,
    *,
    time: str,
    split: str | None = None,
    root: str | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """`trend` of what a run predicts: of the test rows of its own data, of all rows of other.

    Raises ConfigError for a run whose task gives no score.
    """
    if run.config.objectives or not run.config.task.name.startswith("sentiment"):
        raise ConfigError(
            109,
            f"'{run.folder.path}' is no run of sentiment, whose predictions have scores",
            where="trends",
            fix="a run of the task sentiment or sentiment_classes",
        )
    dataset = run.dataset(data, root=root)
    predictions = run.predict_dataset(dataset, split or ("test" if data is None else ALL))
    return trend(predictions, dataset.table, time=time, **options)


def latest(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The last period of each topic."""
    return list({one["topic"]: one for one in found}.values())


def alarms(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The periods at which a topic's alarm goes off: those whose period before had none."""
    last: dict[Any, bool] = {}
    begun = []
    for one in found:
        if one["alarm"] and not last.get(one["topic"], False):
            begun.append(one)
        last[one["topic"]] = one["alarm"]
    return begun


def _read(predictions: Any) -> list[Mapping[str, Any]]:
    if not isinstance(predictions, (str, os.PathLike)):
        return list(predictions)
    path = Path(predictions)
    if not path.is_file():
        siblings = map(str, path.parent.glob("*.jsonl")) if path.parent.is_dir() else ()
        raise DataError(201, f"no predictions '{path}'", fix=nearest(str(path), siblings))
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        return [json.loads(line) for line in lines if line.strip()]
    except json.JSONDecodeError as error:
        raise DataError(215, f"no JSON Lines: {error}", where=str(path)) from error


def _table(data: Any) -> Table:
    if isinstance(data, Table):
        return data
    source = data if isinstance(data, Spec) else manifest.source_for(data)
    frame = None if isinstance(data, (str, os.PathLike, Spec)) else data
    return manifest.load(DataConfig(source=source), frame=frame)[0]
