"""Why a run says what it says of rows: its model, its data and its training rows, explained."""

from __future__ import annotations

import ast
import dataclasses
import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch
from mmjax.data.cells import shown
from mmjax.data.config import modalities as modality_registry
from mmjax.data.dataset import ALL, Dataset
from mmjax.data.modalities.base import Place
from mmjax.data.modalities.text import Text, TextProcessor
from mmjax.explain import methods as registry
from mmjax.explain.base import Method
from mmjax.explain.explaining import Cells, Told, explain_batches, refusals
from mmjax.explain.neighbours import joined
from mmjax.explain.subject import Donors, Subject, Words
from mmjax.explain.writing import Explanations

if TYPE_CHECKING:
    from mmjax.api.run import Run

FOLDER = "explanations"
"""Where in a run's folder they are written."""
DEFAULT = (
    "shapley",
    "weights",
    "integrated_gradients",
    "hires_cam",
    "attention_gradients",
    "occlusion",
    "alignment",
    "neighbours",
    "swaps",
)
"""What is asked unless methods are named; those that a model has nothing for are left out."""
ROWS = 16
_AT_ONCE = 16
"""Rows that are explained together."""
_DONORS = 2048
_SETTING = re.compile(r":(?=[a-z_]+=)")
_WORD = re.compile(r"\S+")

Asked = str | Spec | Method


def explain(
    run: Run,
    data: Any = None,
    *,
    methods: Sequence[Asked] | str = DEFAULT,
    rows: int | None = ROWS,
    split: str | None = None,
    root: str | None = None,
    of: str | int | None = None,
    worst: bool = False,
    check: bool = True,
    told: Told | None = None,
) -> Explanations:
    """Explanations of the first `rows` rows of a split (all if None): of the run's own data the
    test rows, of other data all. With `worst`, of the rows of the highest loss, which a report of
    the run begins with.

    `methods` are names of `mmjax.explain.methods` (with settings as `Spec`s), or "all". What is
    explained is what the model says of each row, a number that `mmjax.explain.scores` lists by
    task, or `of`, a class (label, item, task, ...) by name, in all of them. With `check`, methods
    that say where are judged by deletion and insertion curves, and by random weights. Raises
    ConfigError for a run of objectives without a joint space of several modalities, a name that is
    no method, and a method asked for by name that the model has nothing for.
    """
    named = _methods(methods)
    if run.config.objectives and len(run.module.task.modalities) < 2:
        raise ConfigError(
            109,
            f"'{run.folder.path}' is a run of objectives without a joint space of modalities",
            where="mmjax explain",
            fix="a run of a task, or of a contrastive objective; `mmjax nearest` fits any run",
        )
    dataset = run.dataset(data, root=root, batch_size=_AT_ONCE)
    split = split or ("test" if data is None else ALL)
    kept = worst_rows(run, dataset, split) if worst else dataset.rows(split)
    kept = kept[:rows]
    dataset = dataclasses.replace(dataset, splits={split: kept})
    donors = None
    if any(method.asks_others for method in named.values()):
        donors = _donors(run, data, dataset)
    subject = subject_of(run, dataset, of=of, donors=donors)
    batches = list(run._batches(dataset, split))
    if methods is not DEFAULT and methods != "all":
        for name, why in refusals(subject, batches[0], named).items():
            raise ConfigError(109, f"nothing for '{name}': {why}", where="methods", fix="leave it")
    cells = functools.partial(_cells, run, dataset)
    results = explain_batches(subject, batches, named, cells, check=check, told=told)
    return Explanations(split, len(kept), results, run.folder.path.resolve().name)


def worst_rows(run: Run, dataset: Dataset, split: str) -> np.ndarray:
    """The labelled rows of a split by falling loss: minus the logarithm of the probability of the
    label, or how far a value is off. Raises ConfigError for a task that has neither.
    """
    task: Any = run.module.task
    target, kind = getattr(task, "target", ""), getattr(task, "outputs_are", None)
    evaluation = run.evaluate_dataset(dataset, split)
    truth = np.asarray(evaluation.targets.get(target, ()))
    found = evaluation.predictions
    if kind == "classes" and truth.ndim == 1 and len(truth):
        chances = np.asarray(found["probabilities"], np.float64)
        loss = -np.log(np.maximum(chances[np.arange(len(truth)), truth], 1e-300))
        loss = np.where(truth >= 0, loss, -1.0)  # rows without a label come last
    elif kind == "values" and len(truth):
        loss = np.abs(np.asarray(found["values"], np.float64).reshape(len(truth), -1)
                      - truth.reshape(len(truth), -1)).mean(axis=1)  # fmt: skip
    else:
        raise ConfigError(
            109,
            f"rows of {type(task).__name__} have no loss of their own to be put in order by",
            where="worst",
            fix="leave it out, or give rows of a labelled task of classes or values",
        )
    return np.asarray(evaluation.rows)[np.argsort(-loss, kind="stable")]


def explain_into(
    run: Run, data: Any = None, *, out: str | os.PathLike | None = None, **options: Any
) -> tuple[Explanations, Path]:
    """`explain`, written to a folder, `RUN/explanations` unless told otherwise."""
    found = explain(run, data, **options)
    return found, found.save(run.folder.path / FOLDER if out is None else out)


def subject_of(
    run: Run,
    dataset: Dataset,
    *,
    of: str | int | None = None,
    donors: Callable[[], Donors] | None = None,
) -> Subject:
    """A run's model as methods ask it, on rows of a data set that `run.dataset` made."""
    variables, _ = run._ready(dataset)
    module: Any = run.module
    specs = {n: run.config.data.modalities[n] for n in run.module.encoders}
    settings = {name: modality_registry.build(spec) for name, spec in specs.items()}
    pixels = {
        name: (np.array(one.mean), np.array(one.std))
        for name, one in settings.items()
        if hasattr(one, "mean") and hasattr(one, "std") and getattr(one, "processor", None) is None
    }
    return Subject(
        module,
        variables,
        run.mesh,
        kinds={name: spec.name for name, spec in specs.items()},
        facts=dict(run.facts["modalities"]),
        of=of,
        columns={
            name: one.reads() for name, one in settings.items() if specs[name].name == "table"
        },
        pixels=pixels,
        words=functools.partial(_words, dataset),
        donors=donors,
    )


def parse(text: str) -> Spec:
    """A method as a command names it: `occlusion`, or `occlusion:cells=4`."""
    name, *settings = _SETTING.split(text)
    options = {}
    if ":" in name:
        raise ConfigError(105, f"--method {text}", fix="--method NAME:setting=value")
    for one in settings:
        key, _, value = one.partition("=")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return Spec(name, **options)


def _methods(asked: Sequence[Asked] | str) -> dict[str, Method]:
    if isinstance(asked, str):
        asked = tuple(registry) if asked == "all" else (asked,)
    found: dict[str, Method] = {}
    for one in asked:
        if isinstance(one, Method):
            found[type(one).__name__] = one
        else:
            name = one if isinstance(one, str) else one.name
            found[name] = registry.build(one)
    return found


def _cells(run: Run, dataset: Dataset, batch: Batch, predictions: Mapping[str, Any]) -> Cells:
    """What the rows of a batch are called and hold; of padding nothing."""
    rows = np.asarray(batch.row)
    kept = np.flatnonzero(np.asarray(batch.row_mask))
    ids: list[Any] = [None] * len(rows)
    for place, one in zip(kept, dataset.ids(rows[kept]), strict=True):
        ids[place] = one
    own = {name: np.asarray(values)[kept] for name, values in predictions.items()}
    answers: list[dict[str, Any]] = [{} for _ in rows]
    if own:
        decoded = run.module.task.decode(own, dataset.texts(rows[kept]))
        for place, one in zip(kept, decoded, strict=True):
            answers[place] = one
    words = {
        name: _words(dataset, batch, name)
        for name in run.module.encoders
        if run.config.data.modalities[name].name == "text"
    }
    columns = {}
    for name in run.module.encoders:
        spec = run.config.data.modalities[name]
        if spec.name == "table":
            reads = modality_registry.build(spec).reads()
            columns[name] = [
                [shown(dataset.table.row(int(row))[c], 30) if row >= 0 else "" for c in reads]
                for row in rows
            ]
    return Cells(ids, words, columns, answers)


def _words(dataset: Dataset, batch: Batch, name: str) -> list[Words]:
    """The words of each row's text and the places of their tokens.

    A token of no known characters is a word of its own; a special one is of none.
    """
    spec, processor = dataset.config.modalities[name], dataset.modalities[name]
    settings: Text = modality_registry.build(spec)
    found: list[Words] = []
    mask = np.asarray(batch.inputs[name]["attention_mask"])
    for place, row in enumerate(np.asarray(batch.row).tolist()):
        count = int(mask[place].sum())
        one = None
        if row >= 0 and isinstance(processor, TextProcessor) and spec.name == "text":
            cells, where = dataset.table.row(row), Place(dataset.table, row)
            one = settings.with_marks({c: cells[c] for c in settings.own_columns}, where)
        ranges = [] if one is None else processor.ranges(one.text)  # type: ignore[attr-defined]
        if one is None or len(ranges) != count:
            found.append([(f"#{index}", (index,)) for index in range(count)])
            continue
        words: dict[tuple[int, int], list[int]] = {m.span(): [] for m in _WORD.finditer(one.text)}
        for index, (start, stop) in enumerate(ranges):
            span = next((s for s in words if s[0] <= start < s[1]), None)
            if span is None and stop > start:  # blanks that byte pairs carry
                span = next((s for s in words if start < s[1] and s[0] < stop), None)
            if span is not None and stop > start:
                words[span].append(index)
        found.append([(one.text[a:b], tuple(at)) for (a, b), at in words.items()])
    return found


def _donors(run: Run, data: Any, dataset: Dataset) -> Callable[[], Donors] | None:
    """The training rows of the run, or, where these are not known any more, of the data given."""

    @functools.cache
    def rows() -> tuple[Dataset, str] | None:
        own, split = dataset, "train"
        try:
            own = run.dataset(batch_size=_AT_ONCE)
        except DataError:
            own = dataset if data is None else run.dataset(data, batch_size=_AT_ONCE)
        split = "train" if len(own.splits.get("train", ())) else next(iter(own.splits))
        kept = own.rows(split)[:_DONORS]
        return (dataclasses.replace(own, splits={split: kept}), split) if len(kept) > 1 else None

    @functools.cache
    def made() -> Donors:
        known = rows()
        assert known is not None
        own, split = known
        embedded = run.embed_dataset(own, split)
        task: Any = run.module.task
        batches = run._batches(own, split)
        batch = next(iter(batches))
        names, target = getattr(task, "label_names", ()), getattr(task, "target", "")
        ids = embedded["ids"].tolist()
        answers = [""] * len(ids)
        if getattr(task, "outputs_are", None) == "classes" and names and target in batch.targets:
            labels = [b.targets[target][np.asarray(b.row_mask)] for b in (batch, *batches)]
            answers = [names[int(one)] for one in np.concatenate(labels)]
        return Donors(joined(embedded, run.module.encoders), ids, answers, batch)

    return made if rows() is not None else None
