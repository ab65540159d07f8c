"""What a report tells of a task's answers: metrics, intervals, and rows to look at."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.api import detected, showing
from mmjax.api.run import Run
from mmjax.data.dataset import Dataset
from mmjax.metrics import bootstrap_interval, bootstrap_interval_of_mean, calibration_bins
from mmjax.metrics.scores import precision_recall
from mmjax.report import Example, choose_examples
from mmjax.tasks.several import Several
from mmjax.train.evaluate import Evaluation

_MOST, _DRAWN, _TOP = 12, 6, 5
"""Rows that are far off, rows drawn at random, and labels of each that are shown."""

Page = dict[str, Any]
"""Fields of `ReportContents`."""


def page(
    run: Run,
    evaluation: Evaluation,
    dataset: Dataset,
    all_: Mapping[str, Evaluation],
    also: Sequence[int] = (),
) -> Page:
    """The fields of a report that depend on the task, for what it predicts.

    `all_` are the evaluations of every model that is compared, by name; `also` are rows that are
    shown besides, of classes.
    """
    task: Any = run.module.task
    find: Callable[..., Page] = _of_others
    chances = np.asarray(evaluation.predictions.get("probabilities", 0))
    truth = np.asarray(evaluation.targets.get(getattr(task, "target", ""), 0))
    if task.outputs_are == "classes" and chances.ndim == 2 and truth.ndim == 1:
        find = functools.partial(_of_classes, also=also)
    elif task.outputs_are == "labels" and chances.shape == truth.shape and truth.dtype == bool:
        find = _of_labels
    elif task.outputs_are == "values" and hasattr(task, "in_units"):
        find = _of_numbers
    elif {"boxes", "scores", "labels"} <= evaluation.predictions.keys():
        find = detected.page
    elif isinstance(task, Several):
        find = _of_several
    return find(run, task, evaluation, dataset, all_)


def _of_classes(
    run: Run,
    task: Any,
    evaluation: Evaluation,
    dataset: Dataset,
    all_: Mapping[str, Evaluation],
    *,
    also: Sequence[int],
) -> Page:
    names, chances = list(task.label_names), evaluation.predictions["probabilities"]
    labels = evaluation.targets[task.target]
    ranks = "rank" in evaluation.predictions
    intervals = {}
    for name, one in all_.items():
        truth = one.targets[task.target]
        if ranks:
            off = np.abs(one.predictions["rank"] - truth)
            intervals[name] = bootstrap_interval_of_mean(off)
        else:
            hits = one.predictions["probabilities"].argmax(axis=1) == truth
            intervals[name] = bootstrap_interval(hits)
    shown = []
    chosen = choose_examples(chances, labels)
    besides = np.flatnonzero(np.isin(evaluation.rows, also))
    for index in np.concatenate([chosen, np.setdiff1d(besides, chosen)[:_MOST]]):
        order = np.argsort(-chances[index])[:3]
        answer = int(evaluation.predictions["rank"][index]) if ranks else int(order[0])
        shown.append(
            _example(
                run,
                evaluation,
                dataset,
                index,
                prediction=names[answer],
                probability=float(chances[index][answer]),
                loss=float(-np.log(max(chances[index][labels[index]], 1e-12))),
                label=names[labels[index]],
                top=[(names[i], float(chances[index][i])) for i in order],
            )
        )
    found = {
        "headline": task.headline[0],
        "intervals": intervals,
        "label_names": tuple(names),
        "confusion": np.asarray(evaluation.sums["confusion"]),
        "precision_recall": _precision_recall(names, chances, np.eye(len(names))[labels] > 0),
        "examples": shown,
    }
    if not ranks:
        return {**found, "calibration": calibration_bins(chances, labels)}
    share = np.bincount(labels, minlength=len(names)) / len(labels)
    off = np.abs(np.subtract.outer(np.arange(len(names)), np.arange(len(names))))
    return {**found, "baseline": float((off @ share).min()), "baseline_name": "always the median"}


def _of_labels(
    run: Run, task: Any, evaluation: Evaluation, dataset: Dataset, all_: Mapping[str, Evaluation]
) -> Page:
    names, chances = list(task.label_names), evaluation.predictions["probabilities"]
    truth = evaluation.targets[task.target]
    given = chances >= task.cuts()
    wrong = given != truth
    shown = []
    for index, group in _rows_to_show(wrong.sum(axis=1), "Most labels wrong"):
        order = np.argsort(-chances[index])
        said = [names[i] for i in order if given[index, i]]
        true = [names[i] for i in np.flatnonzero(truth[index])]
        shown.append(
            _example(
                run,
                evaluation,
                dataset,
                index,
                prediction=", ".join(said) or "none",
                label=", ".join(true) or "none",
                labels=true,
                top=[(names[i], float(chances[index][i])) for i in order[:_TOP]],
                group=group,
            )
        )
    return {
        "headline": task.headline[0],
        "label_names": tuple(names),
        "precision_recall": _precision_recall(names, chances, truth),
        "examples": shown,
    }


def _precision_recall(names: Sequence[str], chances: np.ndarray, truth: np.ndarray) -> Page:
    """The curve over all labels, and of each, the commonest first."""
    found = {"all labels": precision_recall(chances.ravel(), truth.ravel())}
    for i in np.argsort(-truth.sum(axis=0), kind="stable"):
        found[names[i]] = precision_recall(chances[:, i], truth[:, i])
    return {name: values for name, values in found.items() if len(values[0])}


def _of_numbers(
    run: Run, task: Any, evaluation: Evaluation, dataset: Dataset, all_: Mapping[str, Evaluation]
) -> Page:
    names = task.target_names or ("value",)
    truth = task.in_units(evaluation.targets[task.target])
    found = task.in_units(evaluation.predictions["values"])
    intervals = {}
    for name, one in all_.items():
        errors = np.abs(task.in_units(one.predictions["values"]) - truth)
        intervals[name] = bootstrap_interval_of_mean(np.nanmean(errors, axis=1))
    means = task.in_units(np.zeros_like(evaluation.targets[task.target]))
    scale = np.maximum(np.nanstd(truth, axis=0), 1e-12)
    off = np.nanmean(np.abs(found - truth) / scale, axis=1)
    shown = []
    for index, group in _rows_to_show(off, "Furthest off"):
        shown.append(
            _example(
                run,
                evaluation,
                dataset,
                index,
                prediction=_numbers(names, found[index]),
                loss=float(off[index]),
                label=_numbers(names, truth[index]),
                group=group,
            )
        )
    known = {name: ~np.isnan(truth[:, i]) for i, name in enumerate(names)}
    return {
        "headline": task.headline[0],
        "intervals": intervals,
        "baseline": float(np.nanmean(np.nanmean(np.abs(means - truth), axis=0))),
        "baseline_name": "always the training mean",
        "numbers": {
            name: (truth[known[name], i], found[known[name], i]) for i, name in enumerate(names)
        },
        "examples": shown,
    }


def _of_others(
    run: Run, task: Any, evaluation: Evaluation, dataset: Dataset, all_: Mapping[str, Evaluation]
) -> Page:
    """Answers as they are decoded, of rows drawn at random, beside the texts that are right."""
    chosen = np.random.default_rng(0).permutation(len(evaluation.rows))[:_DRAWN]
    some = {name: np.asarray(values)[chosen] for name, values in evaluation.predictions.items()}
    texts = dataset.texts(evaluation.rows[chosen])
    true = texts.get(f"{getattr(task, 'target', '')}/references")
    shown = [
        _example(
            run,
            evaluation,
            dataset,
            index,
            prediction=_said(answer),
            group="Drawn at random",
            **({} if true is None else {"label": " | ".join(true[place])}),
        )
        for place, (index, answer) in enumerate(zip(chosen, task.decode(some, texts), strict=True))
    ]
    headline = next((name for name in task.headline if name in evaluation.metrics), "loss")
    return {"headline": headline, "examples": shown}


def _of_several(
    run: Run,
    task: Several,
    evaluation: Evaluation,
    dataset: Dataset,
    all_: Mapping[str, Evaluation],
) -> Page:
    """What each task says of rows drawn at random, and what is right where that is a class."""
    found = _of_others(run, task, evaluation, dataset, all_)
    place = {int(row): index for index, row in enumerate(evaluation.rows)}
    shown = []
    for one in found["examples"]:
        index = place[one.row]
        mine = {name: values[index : index + 1] for name, values in evaluation.predictions.items()}
        (said,) = task.decode(mine, dataset.texts(evaluation.rows[index : index + 1]))
        answers = {name: answer.get("label", _said(answer)) for name, answer in said.items()}
        true = {
            name: part.label_names[int(evaluation.targets[part.target][index])]
            for name, part in task.parts.items()
            if part.outputs_are == "classes" and evaluation.targets[part.target].ndim == 1
        }
        shown.append(dataclasses.replace(one, prediction=_listed(answers), label=_listed(true)))
    return {**found, "examples": shown}


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def _said(answer: Mapping[str, Any]) -> str:
    """An answer on a page: a text as it is, all else as JSON."""
    if set(answer) == {"text", "score"}:
        return str(answer["text"])
    return json.dumps(answer, ensure_ascii=False)


def _rows_to_show(off: np.ndarray, title: str) -> list[tuple[int, str]]:
    """The rows that are furthest off, and some others drawn at random."""
    worst = np.argsort(-off, kind="stable")[:_MOST]
    worst = worst[off[worst] > 0]
    rest = np.setdiff1d(np.arange(len(off)), worst)
    drawn = np.random.default_rng(0).permutation(rest)[:_DRAWN]
    return [(int(i), title) for i in worst] + [(int(i), "Drawn at random") for i in drawn]


def _numbers(names: Sequence[str], values: np.ndarray) -> str:
    if len(names) == 1:
        return f"{values[0]:.4g}"
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(names, values, strict=True))


def _example(
    run: Run, evaluation: Evaluation, dataset: Dataset, index: int, **answer: Any
) -> Example:
    row = int(evaluation.rows[index])
    fields, images = showing.inputs(run, dataset, row)
    name = str(dataset.ids([row])[0])
    return Example(row=row, id=name, fields=fields, images=images, **answer)
