"""From batches of a subject to explanations of rows, by several methods."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.core.types import Batch
from mmjax.explain import picturing
from mmjax.explain.base import Found, Method, PartMethod
from mmjax.explain.curves import curves
from mmjax.explain.explanation import Explanation, plain
from mmjax.explain.occlusion import Occlusion
from mmjax.explain.randomised import agreement
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject, Words
from mmjax.parallel.sharding import put_batch

Told = Callable[[int, int], None]
"""Called with the steps that are done, one a method and batch, and how many there are."""


@dataclasses.dataclass(frozen=True)
class Cells:
    """What the rows of a batch are called and hold: ids, words by modality, a table's cells, and
    what a task decodes of its predictions.
    """

    ids: Sequence[Any]
    words: Mapping[str, Sequence[Words]]
    columns: Mapping[str, Sequence[Sequence[str]]]
    answers: Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Results:
    """Explanations by row and method, and what each method says of all rows."""

    found: list[Explanation]
    over: dict[str, dict[str, Any]]
    """By method: `about`, means of `modalities` (their sizes), `facts`, means of `checks`."""
    refused: dict[str, str]
    """Methods that the model has nothing for, and why."""
    answers: dict[int, dict[str, Any]]
    """What the model says of each row."""
    about: str = ""
    """What number of a row is explained."""


def refusals(subject: Subject, batch: Batch, methods: Mapping[str, Method]) -> dict[str, str]:
    """The methods that do not fit the model, and why."""
    device = put_batch(batch, subject.mesh)
    asked = {name: method.refuses(subject, device) for name, method in methods.items()}
    return {name: why for name, why in asked.items() if why is not None}


def explain_batches(
    subject: Subject,
    batches: Sequence[Batch],
    methods: Mapping[str, Method],
    cells: Callable[[Batch, Mapping[str, np.ndarray]], Cells],
    *,
    check: bool = True,
    told: Told | None = None,
) -> Results:
    """Every row of host batches by every method that fits the model.

    With `check`, each method that says where is judged by deletion and insertion curves and by
    random weights.
    """
    refused = refusals(subject, batches[0], methods)
    methods = {name: one for name, one in methods.items() if name not in refused}
    found: list[Explanation] = []
    answers: dict[int, dict[str, Any]] = {}
    done = 0
    for batch in batches:
        device = put_batch(batch, subject.mesh)
        choice, predictions = subject.chosen(device)
        scores = subject.scored(device, choice)
        own = cells(batch, predictions)
        answers_of_part = [subject.answer_of(one) for one in own.answers]
        names = subject.score.told(subject.task, choice, answers_of_part)
        rows = np.flatnonzero(np.asarray(batch.row_mask)).tolist()
        for row in rows:
            answers[int(batch.row[row])] = dict(own.answers[row])
        for name, method in methods.items():
            said = method(subject, device, choice)
            checks = _checks(subject, device, choice, method, said) if check else {}
            for row in rows:
                one = _of_row(subject, batch, said, row, own, signed=method.signed)
                found.append(
                    Explanation(
                        row=int(batch.row[row]),
                        id=own.ids[row],
                        method=name,
                        explained=names[row],
                        score=float(scores[row]),
                        checks={key: float(values[row]) for key, values in checks.items()},
                        **one,
                    )
                )
            done += 1
            if told is not None:
                told(done, len(methods) * len(batches))
    target = getattr(subject.task, "target", None)
    labelled = all(target in batch.targets for batch in batches)
    over = {}
    for name, method in methods.items():
        own_rows = [one for one in found if one.method == name]
        facts = method.over(subject, [put_batch(b, subject.mesh) for b in batches], labelled)
        over[name] = _over(method, own_rows, facts)
    order = {name: index for index, name in enumerate(methods)}
    places = {int(row): index for index, row in enumerate(answers)}
    found.sort(key=lambda one: (places[one.row], order[one.method]))
    kept = [one for one in found if _says(one)]
    return Results(kept, over, refused, answers, subject.score.about)


def _says(one: Explanation) -> bool:
    return bool(one.modalities or one.parts or one.facts)


def _of_row(
    subject: Subject, batch: Batch, said: Found, row: int, cells: Cells, *, signed: bool
) -> dict[str, Any]:
    words = {name: found[row] for name, found in cells.words.items()}
    columns = {name: found[row] for name, found in cells.columns.items()}
    return {
        "modalities": {
            name: float(said.modalities[name][row])
            for name in subject.modalities
            if name in said.modalities
        },
        "parts": picturing.parts_of(subject, batch, said, row, words, columns, signed=signed),
        "pairs": picturing.pairs_of(subject, batch, said, row, words),
        "facts": dict(said.facts[row]) if said.facts else {},
    }


def _checks(
    subject: Subject, batch: Batch, choice: Choice, method: Method, said: Found
) -> dict[str, np.ndarray]:
    """What each row's explanation is worth, of methods that say where."""
    checked = isinstance(method, (PartMethod, Occlusion))
    if not checked or not said.parts:
        return {}
    checks = curves(subject, batch, choice, said.parts).areas()
    if isinstance(method, PartMethod):
        checks["randomised"] = agreement(subject, batch, choice, method, said.parts)
    return checks


def _over(method: Method, rows: Sequence[Explanation], facts: Mapping[str, Any]) -> dict[str, Any]:
    names = dict.fromkeys(name for one in rows for name in one.modalities)
    sizes = {
        name: [abs(one.modalities[name]) for one in rows if name in one.modalities]
        for name in names
    }
    checks: dict[str, list[float]] = {}
    for one in rows:
        for key, value in one.checks.items():
            if np.isfinite(value):
                checks.setdefault(key, []).append(value)
    return {
        "about": method.about,
        "modalities": {name: plain(float(np.mean(v))) for name, v in sizes.items()},
        "facts": plain(facts),
        "checks": {key: plain(float(np.mean(values))) for key, values in checks.items()},
    }
