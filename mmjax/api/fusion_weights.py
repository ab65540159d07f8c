"""The weights of a fusion for encoders as they are: every point of a simplex, in seconds."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mmjax.api.run import Run
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import write_json
from mmjax.core.registry import Spec
from mmjax.core.space import simplex_points
from mmjax.core.typing import Float
from mmjax.data.dataset import ALL, Dataset
from mmjax.parallel.mesh import traced_on
from mmjax.parallel.sharding import batch_sharding, put_batch, replicated
from mmjax.train.adapting import build as build_model
from mmjax.train.config import Config
from mmjax.train.selection import mode_of

_AT_ONCE = 64
"""Points that go through the model together."""
_MOST = 20_000


@dataclasses.dataclass(frozen=True)
class Weights:
    """What every point of the simplex is worth, and which is best."""

    split: str
    rows: int
    metric: str
    modalities: tuple[str, ...]
    points: Float[np.ndarray, "point modality"]
    scores: Float[np.ndarray, "point"]
    best: Mapping[str, float]
    score: float
    own: float
    """The score of the run as it is."""
    estimate: float
    """The score of rows under weights that were chosen on others."""

    def as_json(self) -> dict[str, Any]:
        scores = [one if math.isfinite(one) else None for one in self.scores.tolist()]
        return {
            "split": self.split,
            "rows": self.rows,
            "metric": self.metric,
            "modalities": list(self.modalities),
            "best": dict(self.best),
            "score": self.score,
            "own": self.own,
            "estimate": self.estimate,
            "points": self.points.tolist(),
            "scores": scores,
        }


@dataclasses.dataclass(frozen=True)
class _Weighted:
    """A config whose weights are a parameter, where that lies, and how weights become it."""

    config: Config
    path: tuple[str, ...]
    parameter: Callable[[Any], Any]
    total: float
    """What the weights add up to."""

    def with_values(self, values: Mapping[str, float]) -> Config:
        """The config with these weights, fixed."""
        model = self.config.model
        if model.fusion.name == "weighted_sum":
            fusion = model.fusion.replace(weights="fixed", values=dict(values))
        else:
            method = Spec("weighted", weights="fixed", values=dict(values))
            fusion = model.fusion.replace(method=method)
        changed = dataclasses.replace(model, fusion=fusion)
        return config_lib.check(dataclasses.replace(self.config, model=changed))


def search_weights(
    run: Run,
    data: Any = None,
    *,
    split: str | None = None,
    root: str | None = None,
    metric: str | None = None,
    parts: int = 20,
    folds: int = 5,
    seed: int = 0,
) -> Weights:
    """The fusion weights with the best `metric` for the run's parameters as they are.

    All weights that are multiples of 1 / `parts` of their sum are tried: encoders run once, what
    follows for all points together. Of a `weighted_sum` the weights add up to what the run's own
    add up to; of decisions (fusion `decision`) they are the shares of the heads' probabilities.
    Rows are those for validation (`split`), the metric is `train.best_metric`. Of equal scores the
    weights nearest to equal ones are taken. `estimate` is the score over `folds` of the rows, each
    under the weights that are best on the others.

    Raises ConfigError for another fusion, an unknown metric, and more points than can be held.
    """
    weighted = _weighted(run)
    names = tuple(sorted(run.config.model.encoders))
    count = math.comb(parts + len(names) - 1, len(names) - 1) if parts > 0 else 0
    if not 0 < count <= _MOST or folds < 2:
        raise ConfigError(
            106,
            f"parts = {parts}: {count} points of {len(names)} modalities, {folds} folds",
            fix=f"parts of 1 or more with at most {_MOST} points, and 2 folds or more",
        )
    dataset = run.dataset(data, root=root, labels=True)
    part = split or ("validation" if data is None else ALL)
    own = run.evaluate_dataset(dataset, part)
    metric = metric or run.config.train.best_metric
    task: Any = run.module.task
    if task.needs_texts:
        raise ConfigError(109, "the task is measured by texts", where="fusion", fix="another run")
    known = task.evaluate(own.predictions, own.targets)
    if metric not in known:
        raise ConfigError(109, f"the run has no metric '{metric}'", fix=nearest(metric, known))
    if len(own.rows) < folds:
        raise DataError(222, f"{len(own.rows)} rows for {folds} folds", fix="more rows")
    points = simplex_points(len(names), parts) * weighted.total
    predictions = _predictions(run, weighted, dataset, part, points)
    sign = -1.0 if mode_of(metric) == "min" else 1.0

    def score(at: np.ndarray, point: int) -> float:
        some = {name: values[point][at] for name, values in predictions.items()}
        targets = {name: values[at] for name, values in own.targets.items()}
        return task.evaluate(some, targets)[metric]

    def choose(at: np.ndarray) -> tuple[int, np.ndarray]:
        scores = np.array([score(at, point) for point in range(len(points))])
        apart = np.square(points - points.mean(axis=1, keepdims=True)).sum(axis=1)
        worth = np.where(np.isfinite(scores), sign * scores, -np.inf)
        return int(np.lexsort((apart.round(12), -worth.round(12)))[0]), scores

    every = np.arange(len(own.rows))
    best, scores = choose(every)
    order = np.random.default_rng(seed).permutation(every)
    chosen = np.empty(len(every), np.int64)
    for held in np.array_split(order, folds):
        chosen[held] = choose(np.setdiff1d(every, held))[0]
    mixed = {name: values[chosen, every] for name, values in predictions.items()}
    return Weights(
        split=part,
        rows=len(every),
        metric=metric,
        modalities=names,
        points=points,
        scores=scores,
        best=dict(zip(names, points[best].tolist(), strict=True)),
        score=float(scores[best]),
        own=float(known[metric]),
        estimate=float(task.evaluate(mixed, own.targets)[metric]),
    )


def search_weights_into(
    run: Run, data: Any = None, *, out: str | os.PathLike | None = None, **options: Any
) -> tuple[Weights, Path]:
    """`search_weights`, written to `weights.json` and, as a config, to `best.json` in a folder.

    It is `out`, or `RUN/fusion_weights`. Options are those of `search_weights`. Returns the folder
    as well.
    """
    found = search_weights(run, data, **options)
    folder = run.folder.path / "fusion_weights" if out is None else Path(out)
    write_json(folder / "weights.json", found.as_json())
    config = dataclasses.replace(_weighted(run), config=run.config).with_values(found.best)
    write_json(folder / "best.json", config_lib.to_json(config))
    return found, folder


def _weighted(run: Run) -> _Weighted:
    config, names = run.config, list(run.config.model.encoders)
    fusion = config.model.fusion
    options = fusion.options
    if config.objectives or len(names) < 2 or fusion.name not in ("weighted_sum", "decision"):
        raise ConfigError(
            109,
            f"a run with fusion '{fusion.name}' has no weights to search",
            where=str(run.folder.path),
            fix="a run of a task with model.fusion weighted_sum or decision",
        )
    if fusion.name == "decision":
        changed = fusion.replace(method=Spec("weighted", weights="learned"))
        path: tuple[str, ...] = ("combination", "logits")
        parameter, total = jnp.log, 1.0
    else:
        changed = fusion.replace(weights="learned", values={})
        path, parameter = ("fusion", "weights"), jnp.asarray
        values = options.get("values") or dict.fromkeys(names, 1.0 / len(names))
        # Logits stand for weights that add up to 1; learned ones are where they started from.
        total = 1.0 if options.get("weights", "softmax") == "softmax" else sum(values.values())
    model = dataclasses.replace(config.model, fusion=changed)
    whole = config_lib.check(dataclasses.replace(config, model=model))
    return _Weighted(whole, path, parameter, total)


def _predictions(
    run: Run, weighted: _Weighted, dataset: Dataset, split: str, points: np.ndarray
) -> dict[str, np.ndarray]:
    """What the model predicts of each row under each point, [point n ...]."""
    module = build_model(weighted.config, run.facts)
    variables, shardings = run._ready(dataset)
    wanted = jax.device_put(jnp.asarray(points, jnp.float32), replicated(run.mesh))

    def predict(variables: Any, batch: Any, points: Any) -> Any:
        tokens = module.apply(variables, batch, train=False, method="encode")

        def under(weights: Any) -> Any:
            flat = traverse_util.flatten_dict(variables["params"])
            flat[weighted.path] = weighted.parameter(weights)
            changed = {**variables, "params": traverse_util.unflatten_dict(flat)}
            answer: Any = functools.partial(module.apply, train=False, method="answer")
            return answer(changed, tokens, batch).predictions

        return jax.lax.map(under, points, batch_size=min(_AT_ONCE, len(points)))

    whole = replicated(run.mesh)
    compiled = jax.jit(
        traced_on(run.mesh, predict),
        in_shardings=(shardings, batch_sharding(run.mesh), whole),
        out_shardings=whole,
    )
    found: dict[str, list[np.ndarray]] = {}
    for batch in run._batches(dataset, split):
        kept = np.asarray(batch.row_mask)
        output = jax.device_get(compiled(variables, put_batch(batch, run.mesh), wanted))
        for name, values in output.items():
            found.setdefault(name, []).append(values[:, kept])
    return {name: np.concatenate(parts, axis=1) for name, parts in found.items()}
