"""Model soups: the mean of the weights of several runs, as a run."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from mmjax.api.made_runs import evaluated, write_run
from mmjax.api.run import Run
from mmjax.api.training import complete
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core import config as config_lib
from mmjax.core.errors import CheckpointError, ConfigError, nearest
from mmjax.core.files import write_json
from mmjax.data.dataset import Dataset
from mmjax.train import batch_statistics
from mmjax.train.loading import load
from mmjax.train.selection import mode_of

Method = Literal["uniform", "greedy"]

_VALIDATION = "validation"


@dataclasses.dataclass(frozen=True)
class Ingredient:
    """A run that a soup was offered."""

    run: str
    value: float | None
    """Its own metric on the validation rows; None without such rows."""
    taken: bool


def soup(
    runs: Sequence[str | os.PathLike | Run],
    out: str | os.PathLike,
    *,
    method: Method = "uniform",
    metric: str | None = None,
    frame: Any = None,
) -> Run:
    """The run in `out` whose weights are the mean of those that `runs` evaluate with.

    Model soups (Wortsman et al. 2022): "uniform" takes all; "greedy" takes them from the best to
    the worst by a validation metric (`train.best_metric` of the first if None), each one that does
    not make the mean worse (their recipe 1). For runs of one model and one data set that began from
    the same weights, such as one pretrained run tuned with several learning rates; runs that began
    from different random ones do not lie in one valley, and their mean is worse than any. Batch
    statistics are those of the mean on the first run's training rows (`batch_statistics`).

    It is evaluated and reported as a trained run is; `soup.json` says what it was made of. `frame`
    is the DataFrame of a `frame` source. Raises CheckpointError for runs of other models, data or
    tokenizers, ConfigError for one run alone and for a metric that there is none of.
    """
    several = [one if isinstance(one, Run) else Run(one) for one in runs]
    if len(several) < 2 or method not in ("uniform", "greedy"):
        what = f"a soup of {len(several)} run" if len(several) < 2 else f"no method '{method}'"
        raise ConfigError(109, what, fix="two runs or more; uniform or greedy")
    if RunFolder(Path(out)).exists():
        RunFolder(Path(out)).create()  # raises before anything is measured
    _require_alike(several)
    dataset = several[0].dataset(frame, labels=True)
    for one in several[1:]:
        _require_unseen(one, one.dataset(frame, labels=True), dataset)
    weights = [evaluated(one) for one in several]
    _require_shapes(several, weights)
    name = metric or several[0].config.train.best_metric
    taken, values = list(range(len(several))), []
    fit_statistics = _statistics(several[0], dataset, weights[0][1])
    if len(dataset.splits.get(_VALIDATION, ())):
        measure = _measure(several[0], dataset, name)
        values = [measure(one) for one in weights]
        if method == "greedy":
            sign = -1.0 if mode_of(name) == "min" else 1.0
            taken = greedy(
                [sign * value for value in values],
                lambda some: sign * measure(fit_statistics(mean([weights[i] for i in some]))),
            )
    elif method == "greedy":
        raise ConfigError(109, "a greedy soup without validation rows", fix="method='uniform'")
    params, collections = fit_statistics(mean([weights[i] for i in taken]))
    made = Run(write_run(several[0], out, several[0].config, params, collections))
    offered = [
        Ingredient(str(one.folder.path), values[i] if values else None, i in taken)
        for i, one in enumerate(several)
    ]
    told = {"method": method, "metric": name, "runs": list(map(dataclasses.asdict, offered))}
    write_json(made.folder.path / "soup.json", told)
    complete(made, frame)
    return made


def mean(trees: Sequence[Any]) -> Any:
    """The mean of trees of arrays, in float64 and back; of whole numbers the first tree's."""

    def one(*leaves: Any) -> np.ndarray:
        first = np.asarray(leaves[0])
        if first.dtype.kind in "iub":
            return first
        total = sum((np.asarray(leaf, np.float64) for leaf in leaves[1:]), np.float64(first))
        return np.asarray(total / len(leaves)).astype(first.dtype)

    return jax.tree.map(one, *trees)


def greedy(values: Sequence[float], of: Callable[[Sequence[int]], float]) -> list[int]:
    """Which to take: from the highest value on, each with which `of` does not fall; in order."""
    order = sorted(range(len(values)), key=lambda i: -values[i])
    taken, best = order[:1], values[order[0]]
    for i in order[1:]:
        found = of([*taken, i])
        if found >= best:
            taken, best = [*taken, i], found
    return sorted(taken)


def _statistics(run: Run, dataset: Dataset, collections: Any) -> Callable[[Any], Any]:
    """A function that gives weights, if the model has any, batch statistics of their own."""
    if batch_statistics.KIND not in collections:
        return lambda weights: weights
    shardings = Run(run.folder.path, step=run.step)._ready(dataset)[1]
    made = batch_statistics.Statistics(run.module, run.mesh, shardings, run.config.seed)

    def fitting(weights: tuple[Any, Any]) -> tuple[Any, Any]:
        params, collections = weights
        placed = jax.device_put({"params": params, **collections}, shardings)
        with load(dataset, "train", run.mesh, train=True, seed=run.config.seed) as batches:
            new = made(placed, itertools.islice(batches, batch_statistics.batches_for(dataset)))
        return params, {**collections, batch_statistics.KIND: jax.device_get(new)}

    return fitting


def _measure(run: Run, dataset: Dataset, metric: str) -> Callable[[Any], float]:
    """A function from weights to their metric on the validation rows."""
    taster = Run(run.folder.path)

    def measure(weights: tuple[Any, Any]) -> float:
        params, collections = weights
        taster.adopt({"params": params, **collections})
        found = taster.evaluate_dataset(dataset, _VALIDATION).metrics
        if metric not in found:
            raise ConfigError(109, f"validation gives no '{metric}'", fix=nearest(metric, found))
        return found[metric]

    return measure


def _require_alike(runs: Sequence[Run]) -> None:
    """Raises CheckpointError unless all have one model and read their data alike."""
    first = runs[0]
    for one in runs[1:]:
        for part in ("task", "objectives", "adapt"):
            ours, theirs = (config_lib.to_json(run.config).get(part) for run in (first, one))
            if ours != theirs:
                raise _other(first, one, f"has another {part}")
        known, own = (_files(run.folder.processors) for run in (first, one))
        for name in sorted({*known, *own}):
            if known.get(name) != own.get(name):
                raise _other(first, one, f"reads its data in another way ({name})")


def _require_unseen(run: Run, dataset: Dataset, ours: Dataset) -> None:
    """Raises CheckpointError for a run that was trained on rows which the soup is measured on."""
    if dataset.table.fingerprint != ours.table.fingerprint:
        raise CheckpointError(
            604, f"'{run.folder.path}' was trained on other data", fix="runs of the same data"
        )
    held = [rows for name, rows in ours.splits.items() if name != "train"]
    seen = np.intersect1d(dataset.splits["train"], np.concatenate([[], *held]))
    if len(seen):
        raise CheckpointError(
            604,
            f"'{run.folder.path}' was trained on {len(seen)} rows that the first run held out",
            fix="runs with the same split",
        )


def _require_shapes(runs: Sequence[Run], weights: Sequence[Any]) -> None:
    shapes = [
        {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in _leaves(one)}
        for one in weights
    ]
    for run, found in zip(runs[1:], shapes[1:], strict=True):
        wrong = sorted(n for n in {*shapes[0], *found} if shapes[0].get(n) != found.get(n))
        if wrong:
            told = f"has {len(wrong)} arrays of other shapes, such as {wrong[0]}"
            raise _other(runs[0], run, told)


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree)


def _other(first: Run, run: Run, what: str) -> CheckpointError:
    return CheckpointError(
        604,
        f"'{run.folder.path}' {what} than '{first.folder.path}'",
        fix="a soup is of runs of one config that differ in how they were trained",
    )


def _files(folder: Path) -> dict[str, bytes]:
    """The processors' files by name: tokenizers, statistics, label names."""
    kinds = (folder / kind for kind in ("modalities", "targets"))
    found = (path for kind in kinds for path in sorted(kind.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
