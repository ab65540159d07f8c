"""What is known of rows that a run was measured on, kept beside it for rows to come."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.api.run import Run
from mmjax.core.errors import CheckpointError, DataError
from mmjax.core.files import atomic_path, read_json, write_json
from mmjax.core.typing import Bool, Float
from mmjax.data.config import modalities as modality_registry
from mmjax.data.dataset import ALL, Dataset
from mmjax.data.modalities.base import Place
from mmjax.metrics.calibration import calibration_bins, expected_calibration_error
from mmjax.train.evaluate import Evaluation

log = logging.getLogger(__name__)

FOLDER, STATISTICS, VECTORS = "reference", "statistics.json", "vectors.npz"

_MOST = 400
"""Vectors that are kept and compared."""
_MOST_NUMBERS = 4000


@dataclasses.dataclass(frozen=True)
class Seen:
    """What is known of some rows."""

    rows: int
    present: Mapping[str, int]
    """Rows that have each modality."""
    vectors: Mapping[str, Float[np.ndarray, "n d"]]
    said: Mapping[str, int]
    """How often each class or label was predicted; empty where answers are no names."""
    numbers: Mapping[str, Float[np.ndarray, "n"]]
    """Numbers that are predicted, and `confidence`."""
    measured: Mapping[str, float]
    """Where rows have labels: the first metric by its name, and `ece`."""


def of_data(run: Run, data: Any = None, *, root: str | None = None) -> Seen:
    """What is known of all rows of `data`, or of the run's own that were held out."""
    dataset, labelled = _dataset(run, data, root)
    held_out = [s for s in ("test", "validation", "train") if len(dataset.splits.get(s, ()))]
    split = held_out[0] if data is None and held_out else ALL
    vectors = run.embed_dataset(dataset, split)
    evaluation = run.evaluate_dataset(dataset, split)
    return _seen(run, dataset, evaluation, vectors, labelled=labelled)


def remember(run: Run, data: Any = None, *, root: str | None = None) -> Seen:
    """Keeps the reference of a run in its folder: of its own test rows, or of `data`."""
    return _stored(run, of_data(run, data, root=root))


def keep(run: Run, dataset: Dataset, evaluation: Evaluation) -> Seen:
    """Keeps what an evaluation of labelled rows tells, which is all but vectors: at the end of
    training the data are there, and later they may not be.
    """
    return _stored(run, _seen(run, dataset, evaluation, {}, labelled=True))


def complete(run: Run, dataset: Dataset, evaluation: Evaluation) -> None:
    """Adds vectors to what training kept, of rows that an evaluation was of; an export does, before
    the model goes where its test rows are not. Nothing is done if they are there, or nothing was
    kept, or the run's folder cannot be written.
    """
    known = recalled(run)
    if known is None or known.vectors:
        return
    rows = np.sort(_some(evaluation.rows, _MOST))
    few = dataclasses.replace(dataset, splits={**dataset.splits, FOLDER: rows})
    here = {name: _present(dataset, name, rows) for name in dataset.modalities}
    vectors = _known(run.embed_dataset(few, FOLDER), here)
    try:
        _stored(run, dataclasses.replace(known, vectors=vectors))
    except OSError as error:
        log.warning("vectors for `mmjax drift` are not kept: %s", error)


def _stored(run: Run, found: Seen) -> Seen:
    folder = run.folder.path / FOLDER
    arrays: dict[str, Any] = {f"vectors/{k}": value for k, value in found.vectors.items()}
    arrays |= {f"numbers/{k}": value for k, value in found.numbers.items()}
    with atomic_path(folder / VECTORS) as path, path.open("wb") as file:
        np.savez_compressed(file, **arrays)
    known = ("rows", "present", "said", "measured")
    write_json(folder / STATISTICS, {name: getattr(found, name) for name in known})
    return found


def recalled(run: Run) -> Seen | None:
    """What `remember` or `keep` kept; None if there is nothing."""
    folder = run.folder.path / FOLDER
    if not (folder / STATISTICS).is_file():
        return None
    try:
        stored = read_json(folder / STATISTICS)
        with np.load(folder / VECTORS, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        parts = {
            kind: {
                name.removeprefix(f"{kind}/"): value
                for name, value in arrays.items()
                if name.startswith(f"{kind}/")
            }
            for kind in ("vectors", "numbers")
        }
        return Seen(vectors=parts["vectors"], numbers=parts["numbers"], **stored)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            605,
            f"the reference is damaged: {error}",
            where=str(folder),
            fix="remove the folder, and it is made again",
        ) from error


def _dataset(run: Run, data: Any, root: str | None) -> tuple[Dataset, bool]:
    """The data, and whether every row has a label."""
    dataset = run.dataset(data, root=root)
    return dataset, set(run.config.data.targets) <= set(dataset.targets)


def _seen(
    run: Run,
    dataset: Dataset,
    evaluation: Evaluation,
    vectors: Mapping[str, np.ndarray],
    *,
    labelled: bool,
) -> Seen:
    here = {name: _present(dataset, name, evaluation.rows) for name in dataset.modalities}
    task: Any = run.module.task
    said, numbers = _told(task.decode(evaluation.predictions, dataset.texts(evaluation.rows)))
    return Seen(
        rows=len(evaluation.rows),
        present={name: int(one.sum()) for name, one in here.items()},
        vectors=_known(vectors, here),
        said=said,
        numbers=numbers,
        measured=_measured(task, evaluation) if labelled else {},
    )


def _known(
    vectors: Mapping[str, np.ndarray], here: Mapping[str, Bool[np.ndarray, "n"]]
) -> dict[str, Float[np.ndarray, "n d"]]:
    """Vectors of the rows that have what they are of, at most `_MOST` of each."""
    found = {}
    for name, value in vectors.items():
        if name == "ids":
            continue
        known = np.asarray(value)[here.get(name, np.ones(len(value), bool))]
        found[name] = _some(known, _MOST).astype(np.float32)
    return found


def _present(dataset: Dataset, name: str, rows: np.ndarray) -> Bool[np.ndarray, "n"]:
    settings = modality_registry.build(dataset.config.modalities[name])
    columns = {one: dataset.table.column(one) for one in settings.reads()}
    return np.array(
        [
            settings.check(
                {one: cells[row] for one, cells in columns.items()},
                Place(dataset.table, row),
                decode=False,
            )
            for row in rows.tolist()
        ],
        bool,
    )


def _measured(task: Any, evaluation: Any) -> dict[str, float]:
    found = {}
    headline = next((one for one in task.headline if one in evaluation.metrics), None)
    if headline is not None and np.isfinite(evaluation.metrics[headline]):
        found[headline] = float(evaluation.metrics[headline])
    truth = evaluation.targets.get(getattr(task, "target", ""))
    if task.outputs_are == "classes" and truth is not None and truth.ndim == 1:
        bins = calibration_bins(evaluation.predictions["probabilities"], truth)
        found["ece"] = expected_calibration_error(bins)
    return found


def _told(
    answers: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, int], dict[str, Float[np.ndarray, "n"]]]:
    """Of answers: how often each name was said, and the numbers of each row."""
    said: Counter[str] = Counter()
    numbers: dict[str, list[float]] = {}
    for answer in answers:
        for name, value in _parts(answer):
            if isinstance(value, str):
                said[f"{name}{value}"] += 1
            else:
                numbers.setdefault(name, []).append(value)
    arrays = {
        name: _some(np.array(values), _MOST_NUMBERS)
        for name, values in numbers.items()
        if len(values) > 1
    }
    return dict(sorted(said.items())), arrays


def _parts(answer: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, str | float]]:
    """What an answer says: names of classes and labels, numbers, and how sure it is."""
    for name in ("label", "answer"):
        if isinstance(answer.get(name), str):
            yield start, answer[name]
    for name in answer.get("labels", ()):
        yield start, str(name)
    sure = answer.get("probability")
    if sure is None and answer.get("probabilities") and "labels" in answer:
        # Of labels by themselves, how far from undecided they are.
        sure = float(np.mean([2 * abs(p - 0.5) for p in answer["probabilities"].values()]))
    if sure is not None:
        yield f"{start}confidence", float(sure)
    for name in ("value", "score", "rank"):
        if isinstance(answer.get(name), (int, float)):
            yield f"{start}{name}", float(answer[name])
    for name, value in answer.get("values", {}).items():
        yield f"{start}{name}", float(value)
    for name in ("boxes", "spans", "events", "segments"):
        if name in answer:
            yield f"{start}{name}", float(len(answer[name]))
    if isinstance(answer.get("text"), str):
        yield f"{start}words", float(len(answer["text"].split()))
    for name, inner in answer.items():
        if isinstance(inner, Mapping) and name not in ("probabilities", "values", "scores"):
            yield from _parts(inner, f"{start}{name}/")


def of_predictions(given: str | os.PathLike | Sequence[Mapping[str, Any]]) -> Seen:
    """Of lines of predictions, or of a log whose lines have an `answer`."""
    lines = list(_read(Path(given)) if isinstance(given, (str, os.PathLike)) else given)
    answers = [one.get("answer", one) for one in lines]
    answers = [one for one in answers if isinstance(one, Mapping)]
    if not answers:
        raise DataError(201, "there are no predictions", where=str(given), fix="give some rows")
    said, numbers = _told(answers)
    lacking = Counter(name for one in lines for name in one.get("missing", ()))
    known = any("missing" in one for one in lines)
    names = {name for one in lines for name in one.get("inputs", ())} | set(lacking)
    present = {name: len(answers) - lacking[name] for name in names} if known else {}
    return Seen(len(answers), present, {}, said, numbers, {})


def _read(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise DataError(310, f"'{path}' cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        try:
            one = json.loads(line)
        except ValueError as error:
            raise DataError(203, f"no JSON: {error}", where=f"{path}:{number}") from error
        if isinstance(one, Mapping):
            yield one


def _some(values: np.ndarray, most: int) -> np.ndarray:
    """At most so many rows, the same each time."""
    if len(values) <= most:
        return values
    return values[np.sort(np.random.default_rng(0).permutation(len(values))[:most])]
