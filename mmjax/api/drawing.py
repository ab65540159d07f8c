"""The pictures of what a search found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.api import showing
from mmjax.api.run import Run
from mmjax.api.searching import modality_of
from mmjax.core.errors import DataError
from mmjax.data.config import kind_of
from mmjax.data.dataset import ALL, Dataset
from mmjax.report.neighbours import sheet


def sheet_of(
    run: Run,
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    *,
    query: Any,
    modality: str | None = None,
) -> bytes:
    """A PNG of the rows that `run.search` returned, looked up in `dataset` by their ids.

    Of a sound its log-mel bands, of a video some frames; a row without either is its caption.
    Raises DataError for an id that the data set lacks.
    """
    rows = dataset.rows(ALL)
    # As text: an index keeps ids of several types as such.
    row_of = dict(zip(map(str, dataset.ids(rows)), rows.tolist(), strict=True))
    pictures, captions = [], []
    for one in results:
        row = row_of.get(str(one["id"]))
        if row is None:
            raise DataError(
                565,
                f"the data has no row '{one['id']}'",
                where=dataset.table.name,
                fix="name the manifest that the index was made of",
            )
        fields, images = showing.inputs(run, dataset, row)
        pictures.append(next(iter(images.values()), None))
        text = next(iter(fields.values()), str(one["id"]))
        captions.append(f"{one['rank']}. {text} {one['similarity']:.2f}")
    name = modality_of(run, query) if modality is None else modality
    title = str(query) if isinstance(query, (str, os.PathLike)) else name
    return sheet(pictures, captions, title=title, query=_picture(run, name, query))


def _picture(run: Run, modality: str, query: Any) -> np.ndarray | None:
    """The query itself, if it is one that can be seen."""
    if kind_of(run.config.data.modalities[modality]) == "text":
        return None
    dataset = run.dataset(run.columns_of({modality: query}))
    images = showing.inputs(run, dataset, 0)[1]
    return next(iter(images.values()), None)
