"""Where rows lie beside each other: vectors of a run, brought to a plane."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mmjax.api import showing
from mmjax.api.run import Run
from mmjax.core.errors import ConfigError
from mmjax.core.extras import require
from mmjax.core.typing import Float
from mmjax.data.cells import key_of, shown
from mmjax.data.dataset import Dataset
from mmjax.report import EmbeddingMap, Seen
from mmjax.train.evaluate import Evaluation

_FEWEST = 5
"""UMAP begins from eigenvectors of the rows' neighbours, of which fewer rows have too few."""
Projection = Literal["pca", "umap"]
MOST = 300
"""Dots of a map of rows; a map of modalities has as many in all."""


def maps(
    run: Run,
    evaluation: Evaluation,
    dataset: Dataset,
    split: str,
    *,
    projection: Projection = "pca",
    most: int = MOST,
) -> list[EmbeddingMap]:
    """The fused vectors of a split coloured by label and by right and wrong, and, where all
    modalities share a space, a dot a modality of each row.
    """
    vectors = run.embed_dataset(dataset, split)
    rows = dataset.rows(split)
    names = [name for name in run.config.data.modalities if name in vectors]
    found = []
    colours = _colours(run, evaluation, dataset, rows)
    if "fused" in vectors and not run.config.objectives:
        at = _some(len(rows), most)
        points, about = project(vectors["fused"][at], projection)
        by = {key: [values[i] for i in at] for key, values in colours.items()} or {
            "split": [split] * len(at)
        }
        dots = [_dot(run, dataset, int(rows[i]), names) for i in at]
        found.append(EmbeddingMap("Rows, by their fused vectors", points, dots, by, about))
    widths = {vectors[name].shape[1] for name in names}
    if len(names) > 1 and len(widths) == 1:
        at = _some(len(rows), most // len(names))
        stacked = np.concatenate([_unit(vectors[name][at]) for name in names])
        points, about = project(stacked, projection)
        by = {"modality": [name for name in names for _ in at]}
        if colours:
            key = next(iter(colours))
            by[key] = [colours[key][i] for _ in names for i in at]
        dots = [_dot(run, dataset, int(rows[i]), [name]) for name in names for i in at]
        found.append(
            EmbeddingMap("Modalities of rows, in the space they share", points, dots, by, about)
        )
    return found


def project(
    vectors: Float[np.ndarray, "n d"], projection: Projection = "pca"
) -> tuple[Float[np.ndarray, "n 2"], str]:
    """Vectors in a plane, and how.

    `pca` (Pearson 1901): the two directions of largest variance, each signed so that its largest
    coordinate is positive. `umap` (McInnes et al. 2018) needs the extra `umap`.
    """
    vectors = np.asarray(vectors, np.float64)
    if projection == "umap":
        return _umap(vectors), f"UMAP of {vectors.shape[1]} numbers; distances are not to scale."
    centred = vectors - vectors.mean(axis=0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(vectors), 2))
    count = min(2, len(s))
    signs = np.sign(vt[np.arange(count), np.abs(vt[:count]).argmax(axis=1)])
    places[:, :count] = u[:, :count] * s[:count] * np.where(signs == 0, 1.0, signs)
    share = float((s[:count] ** 2).sum() / max((s**2).sum(), 1e-30))
    told = (
        f"The first two principal components of {vectors.shape[1]} numbers, which hold {share:.0%} "
        "of their variance. Point at a dot to see its row."
    )
    return places, told


def _umap(vectors: np.ndarray) -> np.ndarray:
    umap = require("umap", "umap")
    if len(vectors) < _FEWEST:
        fix = "--projection pca, or more rows"
        raise ConfigError(109, f"UMAP of {len(vectors)} rows", where="projection", fix=fix)
    neighbours = min(15, len(vectors) - 1)
    # Of one seed, and so on one core; the first map of a process waits for Numba to compile.
    return umap.UMAP(n_neighbors=neighbours, random_state=0, n_jobs=1).fit_transform(vectors)


def _colours(
    run: Run, evaluation: Evaluation, dataset: Dataset, rows: np.ndarray
) -> dict[str, list[str]]:
    """What dots are coloured by; empty where rows have no classes."""
    task = getattr(run.module, "task", None)
    names = getattr(task, "label_names", ())
    truth = evaluation.targets.get(getattr(task, "target", ""))
    place = {int(row): i for i, row in enumerate(evaluation.rows)}
    if truth is None or not names or np.ndim(truth) != 1 or not all(r in place for r in rows):
        column = run.config.data.split.stratify
        if column is None or column not in dataset.table.columns:
            return {}
        cells = dataset.table.column(column)
        return {column: [shown(key_of(cells[int(row)])) for row in rows]}
    at = [place[int(row)] for row in rows]
    found = {"label": [str(names[int(truth[i])]) for i in at]}
    chances = evaluation.predictions.get("probabilities")
    if chances is not None and np.ndim(chances) == 2:
        right = np.argmax(chances, axis=1) == truth
        found["answer"] = ["right" if right[i] else "wrong" for i in at]
    return found


def _dot(run: Run, dataset: Dataset, row: int, modalities: list[str]) -> Seen:
    text, image = "", None
    for name in modalities:
        texts, pictures = showing.of_modality(run, dataset, row, name)
        text = text or next(iter(texts.values()), "")
        if image is None:
            image = next(iter(pictures.values()), None)
    return Seen(row, text, image)


def _some(count: int, most: int) -> np.ndarray:
    """At most so many positions, drawn at random once and for all, ascending."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
