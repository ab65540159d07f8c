"""What fine-tuning added: the pretrained encoders before it, on the rows of the tuned model."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.adapt import KEY
from mmjax.api import linear_answers
from mmjax.api.run import Run
from mmjax.api.zero_shot import modality_of_kind, prompt_embeddings, zero_shot
from mmjax.api.zero_shot_of_towers import of_names, tower_of
from mmjax.core.errors import ConfigError, DataError, MMJaxError
from mmjax.core.files import atomic, read_json, write_json
from mmjax.core.typing import Float, Int
from mmjax.data.dataset import Dataset
from mmjax.data.pipeline import prepare
from mmjax.metrics import bootstrap_interval, bootstrap_interval_of_mean
from mmjax.metrics.paired import difference, draws
from mmjax.models.pretraining import Pretraining
from mmjax.train import from_run, warm_start
from mmjax.train.evaluate import Evaluation
from mmjax.train.other_run import OtherRun
from mmjax.train.periods import Periods
from mmjax.train.state import TrainState

log = logging.getLogger(__name__)

NAME = "before_after"
ZERO_SHOT, PROBE = "pretrained, zero-shot", "pretrained, linear probe"
MOST = 5_000
"""Training rows that the probe learns from; of more, evenly spaced ones."""

_CHEAP = 0.25
"""Rows that may be looked at, as a share of those that training took."""
_SOME = "some"


def wanted(run: Run, dataset: Dataset, evaluation: Evaluation) -> bool:
    """Whether a run is to be measured against what it began from.

    By `train.before_after`: where that is empty, a run of classes, labels or numbers that began
    from pretrained encoders or from another run, if it costs little beside the training.
    """
    asked = run.config.train.before_after
    task: Any = None if run.config.objectives else run.module.task
    # One answer for each row, and not for each of its tokens.
    fits = task is not None and linear_answers.fits(task, evaluation)
    begun = bool(run.config.model.pretrained) or run.config.init is not None
    if asked == "never" or jax.process_count() > 1:
        return False
    if asked == "always":
        if not (fits and begun):
            raise ConfigError(
                109,
                "there is nothing to measure before training",
                where="train.before_after",
                fix="a task of classes, labels or numbers, and pretrained encoders or init.run",
            )
        return True
    if not (fits and begun) or "test" not in dataset.splits:
        return False
    steps = Periods.of(run.config, dataset.epoch_examples("train")).total
    rows = sum(min(len(rows), MOST) for rows in dataset.splits.values())
    return rows <= _CHEAP * steps * run.config.data.batch_size


def measured(run: Run, dataset: Dataset, evaluation: Evaluation, split: str) -> dict[str, Any]:
    """Evaluations of what the run began from, on the rows of `evaluation`, by name.

    A linear probe of the pretrained encoders' summaries, side by side, trained on the run's own
    training rows; and the class names as prompts, where the run began from a joint space of text
    and pictures: that of a run, or of CLIP and the like, one of whose towers it has. Writes
    `before_after.json`: accuracies with bootstrap intervals, and how much the tuned model adds,
    with a paired one. What cannot be measured is left out, and said.
    """
    ways: dict[str, Callable[..., np.ndarray]] = {ZERO_SHOT: _zero_shot, PROBE: _probe}
    task: Any = run.module.task
    found, left_out = {}, {}
    for name, way in ways.items():
        try:
            chances = way(run, dataset, evaluation, split)
        except MMJaxError as error:
            left_out[name] = error.what
            log.info("%s is left out: %s", name, error)
            continue
        found[name] = _evaluation(task, evaluation, chances)
    folder = run.folder.path
    write_json(folder / f"{NAME}.json", _told(task, found, evaluation, split, left_out))
    with atomic(folder / f"{NAME}.npz", "wb") as file:
        several = [one.predictions[linear_answers.key_of(task)] for one in found.values()]
        np.savez(file, rows=evaluation.rows, names=list(found), chances=several)
    return found


def kept(run: Run, evaluation: Evaluation) -> dict[str, Evaluation]:
    """What `measured` found of these very rows when the run was trained, without measuring."""
    path = run.folder.path / f"{NAME}.npz"
    if not path.is_file():
        return {}
    with np.load(path) as stored:
        if not np.array_equal(stored["rows"], evaluation.rows):
            return {}
        pairs = zip(stored["names"].tolist(), stored["chances"], strict=True)
        return {name: _evaluation(run.module.task, evaluation, one) for name, one in pairs}


def told(run: Run) -> dict[str, Any]:
    """What `before_after.json` says; nothing if there is none."""
    path = run.folder.path / f"{NAME}.json"
    return read_json(path) if path.is_file() else {}


def lines(run: Run) -> list[str]:
    """What `before_after.json` says in words: what tuning added, and what could not be measured."""
    known = told(run)
    found = []
    metric = known.get("metric", "accuracy")
    for name, one in known.get("gained", {}).items():
        interval = f"{one['low']:+.3f} to {one['high']:+.3f}"
        found.append(f"tuned minus {name}: {metric} {one['value']:+.3f} (95 %: {interval})")
    for name, why in known.get("left_out", {}).items():
        found.append(f"not measured: {name}, since {why}")
    return found


def _evaluation(task: Any, like: Evaluation, chances: Float[np.ndarray, "n c"]) -> Evaluation:
    predictions = {linear_answers.key_of(task): np.asarray(chances, np.float32)}
    metrics = task.evaluate(predictions, like.targets)
    return dataclasses.replace(like, metrics=metrics, predictions=predictions, sums={})


def _told(
    task: Any,
    before: Mapping[str, Evaluation],
    tuned: Evaluation,
    split: str,
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    evaluations = {**before, "tuned": tuned}
    found = {name: linear_answers.row_scores(task, one) for name, one in evaluations.items()}
    metric, own = found["tuned"]
    known = np.isfinite(own)
    rows = {name: values[known] for name, (_, values) in found.items()}
    models = {}
    for name, values in rows.items():
        sure = bootstrap_interval if metric == "accuracy" else bootstrap_interval_of_mean
        low, high = sure(values)
        told = {one: evaluations[name].metrics.get(one) for one in task.headline}
        models[name] = {**told, metric: float(values.mean()), "low": low, "high": high}
    samples = list(draws(int(known.sum()), resamples=1000))
    gained = {}
    for name in before:
        extra = rows["tuned"] - rows[name]
        again = np.array([extra[some].mean() for some in samples])
        gained[name] = dataclasses.asdict(difference(float(extra.mean()), again))
    return {
        "split": split,
        "rows": len(own),
        "metric": metric,
        "level": 0.95,
        "models": models,
        "gained": gained,
        "left_out": dict(left_out),
    }


def _probe(run: Run, dataset: Dataset, evaluation: Evaluation, split: str) -> np.ndarray:
    """What a linear model of what the encoders make before they are tuned predicts."""
    names = _begun(run)
    if not names:
        raise ConfigError(109, "no encoder was pretrained", where="init")
    begun = _Begun(run, dataset, names)
    task: Any = run.module.task
    target = task.target
    train = _thinned(dataset, "train")
    x, y = begun.vectors(train, _SOME), _labels(run, train, _SOME, target)
    known = None
    if len(dataset.splits.get("validation", ())):
        some = _thinned(dataset, "validation")
        known = begun.vectors(some, _SOME), _labels(run, some, _SOME, target)
    width = evaluation.predictions[linear_answers.key_of(task)].shape[1]
    return linear_answers.fit(task, x, y, known, width)(begun.vectors(dataset, split))


def _begun(run: Run) -> list[str]:
    """The modalities whose encoders were pretrained, in the order of the model."""
    found = set(run.config.model.pretrained)
    if run.config.init is not None:
        found |= set(OtherRun.open(run.config.init).encoders(run.config))
    return [name for name in run.config.model.encoders if name in found]


def _as_it_began(run: Run, dataset: Dataset) -> Run:
    """The run with the weights that its pretrained parts began from, and without adapters."""
    config = dataclasses.replace(run.config, adapt={})
    begun = Run(run.folder.path, step=run.step)
    begun.config = config
    placed, _ = run._ready(dataset)
    params = {name: tree for name, tree in placed["params"].items() if name != KEY}
    more = {name: tree for name, tree in placed.items() if name != "params"}
    zero = jnp.zeros((), jnp.int32)
    state = TrainState(zero, params, more, {}, {}, zero, zero, zero)
    if warm_start.wanted(config):
        state = warm_start.start(state, config)
    if config.init is not None:
        state, _ = from_run.start(state, config, run.facts)
    begun.adopt(state.variables)
    return begun


def _thinned(dataset: Dataset, split: str) -> Dataset:
    """The data with `MOST` rows of a split, evenly spaced, as the split `some`."""
    rows = dataset.rows(split)
    if len(rows) > MOST:
        rows = rows[np.linspace(0, len(rows) - 1, MOST).astype(np.int64)]
    return dataclasses.replace(dataset, splits={**dataset.splits, _SOME: rows})


class _Begun:
    """What a run's pretrained encoders made of rows before it was trained."""

    def __init__(self, run: Run, dataset: Dataset, names: Sequence[str]):
        self._run, self._names = run, names
        self._variables = run._ready(dataset)[0]
        self._before: Run | None = None

    def vectors(self, dataset: Dataset, split: str) -> Float[np.ndarray, "n d"]:
        """The summaries, side by side, in the order of the split."""
        found = {name: self._kept(dataset, split, name) for name in self._names}
        rest = [name for name, one in found.items() if one is None]
        if rest:
            if self._before is None:
                self._before = _as_it_began(self._run, dataset)
            found |= self._before.embed_dataset(dataset, split, rest)
        return np.concatenate([np.asarray(found[n], np.float64) for n in self._names], axis=1)

    def _kept(self, dataset: Dataset, split: str, name: str) -> np.ndarray | None:
        """Of an encoder that was frozen, and thus is as it was, from its features."""
        features = self._run.features
        if features is None or not features.serves(dataset, self._run.mesh):
            return None
        return features.summaries(name, self._variables, dataset.rows(split))


def _labels(run: Run, dataset: Dataset, split: str, target: str) -> Int[np.ndarray, "n"]:
    parts = [
        np.asarray(batch.targets[target])[np.asarray(batch.row_mask)]
        for batch in run._batches(dataset, split)
    ]
    return np.concatenate(parts)


def _zero_shot(run: Run, dataset: Dataset, evaluation: Evaluation, split: str) -> np.ndarray:
    """Probabilities by the class names as prompts, in the joint space that the run began from."""
    init = run.config.init
    task: Any = run.module.task
    if task.outputs_are != "classes":
        raise ConfigError(109, "only classes have names, of which one is chosen", where="task")
    if init is None:
        tower = tower_of(run)
        pooled = _Begun(run, dataset, [tower.modality]).vectors(dataset, split)
        return of_names(tower, pooled, list(task.label_names))
    other = Run(init.run, step=init.step)
    module = other.module
    if not isinstance(module, Pretraining) or module.joint is None:
        raise ConfigError(109, "the run that it began from has no joint space", where="init.run")
    chosen = modality_of_kind(other, "image", None)
    classes = prompt_embeddings(other, list(task.label_names))
    data = dataclasses.replace(
        run.config.data, modalities=other.config.data.modalities, targets={}, few_shot=None
    )
    read = prepare(
        data,
        processors_folder=other.folder.processors,
        targets="optional",
        splits={split: dataset.rows(split)},
    )
    found = other.embed_dataset(read, split)[chosen]
    if len(found) != len(evaluation.rows):
        raise DataError(223, "the run that it began from reads other rows", where=str(init.run))
    return zero_shot(found, classes)
