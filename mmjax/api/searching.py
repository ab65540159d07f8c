"""Searching embeddings for what is nearest to a text, a picture, a sound or a video."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmjax.api.embeddings import FUSED, Embeddings
from mmjax.api.nearest import Approximate, Metric
from mmjax.api.nearest import nearest as exact
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.data.config import kind_of
from mmjax.data.kinds import MEDIA

if TYPE_CHECKING:
    from mmjax.api.run import Run

_KINDS = ("text", *MEDIA)
_NO_MODALITY = 218
"""The code of a row that has none of a run's modalities."""


def search(
    run: Run,
    index: Embeddings | Mapping[str, np.ndarray] | str | os.PathLike,
    query: Any,
    *,
    top: int = 10,
    modality: str | None = None,
    space: str | None = None,
    metric: Metric = "cosine",
    approximate: bool = False,
) -> list[dict[str, Any]]:
    """The `top` rows of `index` nearest to `query`: `rank` (from 1), `id`, `row`, `similarity`.

    `index` is the .npz of `mmjax embed`, or what `run.embed` returned. `query` is a text, or a
    media file's path, which goes to the run's modality of its kind, or anything that `modality`
    reads. `space` names the array that is searched, `choose_space` what is taken if None. Rows
    that lack the space's modality (vectors of zeros) are never found; of equal similarities the
    first row wins. With `approximate`, a graph is kept beside the .npz and built once.

    Raises ConfigError for an unknown modality, DataError for an unknown space, a query or an index
    without content, and vectors of unequal width.
    """
    if top < 1:
        raise ConfigError(106, f"top = {top} is out of range", fix="ask for 1 or more")
    embeddings = Embeddings.of(index)
    name = modality_of(run, query) if modality is None else known_modality(run, modality)
    own = embed_one(run, name, query)
    space = space or choose_space(run, embeddings, name, own)
    vectors = embeddings.vectors(space)
    # Another modality's space is searched with the query's own vector: both lie in a joint one.
    asked = own[name if space in run.config.data.modalities else space if space in own else name]
    if asked.shape[1] != vectors.shape[1]:
        raise DataError(
            562,
            f"the query has {asked.shape[1]} numbers, '{space}' of the index {vectors.shape[1]}",
            fix="embed the rows with this run, or search another space: "
            + nearest(name, embeddings.spaces),
        )
    rows = _rows(vectors, space)
    kept = vectors if len(rows) == len(vectors) else vectors[rows]
    if approximate:
        graph = _graph(embeddings, space, kept, metric)
        values, at = graph.nearest(asked, kept, top)
    else:
        values, at = exact(asked, kept, top, metric=metric)
    return [
        {
            "rank": rank,
            "id": embeddings.ids[row].item(),
            "row": int(row),
            "similarity": float(value),
        }
        for rank, (row, value) in enumerate(zip(rows[at[0]], values[0], strict=True), 1)
    ]


def embed_one(run: Run, modality: str, value: Any) -> dict[str, np.ndarray]:
    """What `run.embed` gives of a row that has one modality, [1 d] each.

    Raises DataError where the row has nothing, or nothing that the run knows.
    """
    empty = DataError(
        564, f"the query has nothing that '{modality}' reads", fix="give some content"
    )
    try:
        own = run.embed(run.columns_of({modality: value}))
    except DataError as error:
        raise empty if error.code == _NO_MODALITY else error from None
    if not np.any(own[modality]):
        raise empty
    return own


def modality_of(run: Run, query: Any) -> str:
    """The run's modality that reads a query: of the kind of its file, of pictures, or of text.

    Of several, that which is named like the kind. Raises ConfigError if there is none, DataError
    for a name that ends like a media file's where there is no such file.
    """
    kind = _kind(query)
    modalities = run.config.data.modalities
    fitting = [name for name, spec in modalities.items() if kind_of(spec) == kind]
    if len(fitting) == 1 or kind in fitting:
        return kind if kind in fitting else fitting[0]
    what = f"the run has no modality of kind {kind}" if not fitting else f"several read {kind}"
    raise ConfigError(109, what, fix="name a modality; " + nearest(kind, fitting or modalities))


def known_modality(run: Run, name: str) -> str:
    """`name`, if it is a modality of the run that a single query can be given for."""
    modalities = run.config.data.modalities
    able = [one for one, spec in modalities.items() if kind_of(spec) in _KINDS]
    if name not in able:
        raise ConfigError(109, f"no modality '{name}' to ask with", fix=nearest(name, able))
    return name


def _kind(query: Any) -> str:
    if not isinstance(query, (str, os.PathLike)):
        return "image"  # an array or a Pillow picture
    suffix = Path(query).suffix.lower()
    kind = next((kind for kind, (_, endings) in MEDIA.items() if suffix in endings), None)
    if kind is None or (isinstance(query, str) and "\n" in query):
        return "text"
    if not Path(query).is_file():
        raise DataError(
            306, f"no file '{query}'", fix="name a file, or the modality of a text that ends so"
        )
    return kind


def choose_space(
    run: Run, embeddings: Embeddings, modality: str, own: Mapping[str, np.ndarray]
) -> str:
    """What is searched unless told: `fused` where run and index have it, else pictures.

    Pictures only where their vectors are as wide as the query's, as they are in a joint space;
    otherwise the query's own modality.
    """
    if FUSED in embeddings.spaces and FUSED in own:
        return FUSED
    width = own[modality].shape[1]
    for name, spec in run.config.data.modalities.items():
        if (
            spec.name == "image"
            and name in embeddings.spaces
            and embeddings.vectors(name).shape[1] == width
        ):
            return name
    return modality


def _rows(vectors: np.ndarray, space: str) -> np.ndarray:
    """The rows that have a vector."""
    if not np.isfinite(np.asarray(vectors, np.float32)).all():
        raise DataError(
            563, f"'{space}' of the index is not finite", fix="embed again; look at the run's loss"
        )
    rows = np.flatnonzero(np.any(vectors != 0, axis=1))
    if not len(rows):
        raise DataError(563, f"no row of the index has '{space}'", fix="embed rows that have it")
    return rows


def _graph(embeddings: Embeddings, space: str, vectors: np.ndarray, metric: Metric) -> Approximate:
    """The graph kept beside the .npz if it is younger, otherwise a new one, kept there."""
    if embeddings.path is None:
        return Approximate.build(vectors, metric)
    path = embeddings.path.with_name(f"{embeddings.path.stem}.{space}.{metric}.faiss")
    if path.is_file() and path.stat().st_mtime_ns >= embeddings.path.stat().st_mtime_ns:
        return Approximate.load(path, len(vectors), vectors.shape[1], metric)
    graph = Approximate.build(vectors, metric)
    graph.save(path)
    return graph
