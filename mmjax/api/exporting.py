"""A run as a folder that can be served: traced, stored, measured, described."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax import __version__
from mmjax.api import adapters, reference, subgroups
from mmjax.api.attending import attending
from mmjax.api.export_files import (
    keep_processors,
    write_parameters,
    write_programs,
    write_steps,
)
from mmjax.api.run import Run, load_run
from mmjax.checkpoint.load import load_arrays
from mmjax.checkpoint.trees import nest
from mmjax.core.config import to_json
from mmjax.core.errors import CheckpointError, DataError
from mmjax.core.files import atomic
from mmjax.core.types import Batch
from mmjax.data.dataset import ALL, Dataset
from mmjax.export import card as cards
from mmjax.export import folder as folders
from mmjax.export.inputs import MEDIA, Inputs, lengths_of
from mmjax.export.loaded import Exported
from mmjax.export.streaming import Steps, can_stream, trace_steps
from mmjax.export.tracing import PLATFORMS, forward, trace
from mmjax.export.variants import VARIANTS, flatten, restored, stored
from mmjax.models.base import Assembly
from mmjax.models.pretraining import Pretraining
from mmjax.report import subgroups as told
from mmjax.tasks.answers import to_data
from mmjax.tasks.answers.base import Answers
from mmjax.tasks.answers.vectors import Vectors
from mmjax.train.evaluate import Evaluation, evaluate
from mmjax.train.loading import load as load_batches
from mmjax.train.step import Prepares, make_evaluate

EMBEDDING = "embedding"
"""The task of an export that answers with vectors."""

_CHECKED_ROWS = 4
_AGREES = {"f32": 1e-3, "bf16": 0.5, "int8": 0.5}
"""By how much the answers of the rows that are compared may differ before an export is refused."""


def export(
    run: Run | str | os.PathLike,
    out: str | os.PathLike,
    *,
    variant: str = "f32",
    platforms: Sequence[str] = PLATFORMS,
    batch_sizes: Sequence[int] | None = None,
    lengths: Mapping[str, Sequence[int]] | None = None,
    data: Any = None,
    root: str | None = None,
    measure: bool = True,
    name: str | None = None,
    license: str = "not stated",
    by: Sequence[str] | None = None,
    attention: bool = False,
) -> Path:
    """The run as a self-contained folder `out`, for `mmjax.export.load` and `mmjax serve`.

        mmjax.export("runs/first", "exported")
        mmjax.export("runs/first", "small", variant="int8")

    It holds one program a length bucket for all `platforms` ("cpu", "cuda", "tpu") and batch sizes
    (of a task that writes a text, two more that write it a token at a time),
    the parameters as safetensors, processors, label names, the task's last step as data, a model
    card, and the sha256 of every file. `variant` is how parameters are stored: "f32" (as trained),
    "bf16", or "int8" (matrices, with a scale a column). `lengths` are further lengths that a
    modality of text may be padded to, `{"text": (16, 64)}`; batches of short texts are then short.
    With `measure`, the metrics of the test rows (of `data`, all rows) are taken with the parameters
    as trained and as stored, a few of them are answered by what was written and by the run, and
    vectors of test rows are kept in the run for `mmjax drift`.
    The card compares the groups that the columns `by` tell apart: those that the run was last
    compared by (`mmjax evaluate --by`) if None. With `attention` the program also gives what the
    model looked at in a picture, for the served page: its attention is then computed in full.

    Of a run that was trained for objectives the answers are embeddings: a vector a modality, in the
    joint space where it has one, for search and for other models.

    Raises ConfigError for settings that are none, CheckpointError if `out` is there already or the
    export does not answer as the run does.
    """
    run = run if isinstance(run, Run) else load_run(run)
    module = run.module
    if variant not in VARIANTS:
        stored({}, variant)
    specs = to_json(run.config.data)["modalities"]
    own = Inputs.load(specs, run.folder.processors / "modalities", lengths={})
    variables = variables_of(run, own)
    flat = {path: np.asarray(value) for path, value in flatten(variables).items()}
    dtypes = {path: value.dtype for path, value in flat.items()}
    kept = stored(flat, variant)
    measured = _measured(run, variant, kept, dtypes, data, root) if measure else Measured()
    told_apart = _subgroups(run, measured, by, "test" if data is None else ALL)
    with folders.writing(out) as folder:
        needs = keep_processors(run, folder / folders.PROCESSORS, specs)
        inputs = Inputs.load(specs, folder / folders.PROCESSORS, lengths={})
        inputs = dataclasses.replace(inputs, lengths=lengths_of(inputs.processors, lengths))
        answers = to_data(answers_of(module))
        names = list(inputs.processors)
        required = names if len(names) == 1 else []
        empty = functools.partial(inputs.collate, [])
        answering = forward(module, dtypes)
        if attention:
            example = empty(inputs.buckets[0], 2)
            answering = attending(answering, run, variables, dtypes, example)
        programs, sizes = trace(
            answering,
            kept,
            empty,
            inputs.buckets,
            platforms=platforms,
            batch_sizes=batch_sizes,
        )
        steps: list[Steps] = []
        if can_stream(module):
            steps = trace_steps(
                module,
                dtypes,
                kept,
                empty,
                inputs.buckets,
                platforms=platforms,
            )
        manifest = {
            "name": name or run.folder.path.name,
            "task": EMBEDDING if isinstance(module, Pretraining) else run.config.task.name,
            "variant": variant,
            "platforms": list(platforms),
            "modalities": specs,
            "lengths": {one: list(values) for one, values in inputs.lengths.items()},
            "required": required,
            "answers": answers,
            "batch_sizes": list(sizes),
            "programs": write_programs(folder, programs),
            "steps": write_steps(folder, steps),
            "outputs": [
                {"name": one, "dtype": dtype, "shape": list(shape)}
                for one, dtype, shape in programs[0].outputs
            ],
            "metadata": {
                "metrics": measured.of.get(variant, {}),
                "measured": measured.of,
                "variant": variant,
                "license": license,
                "needs": needs,
                "versions": {"mmjax": __version__, "jax": jax.__version__},
                "config": run.folder.config_hash(),
                "id_column": run.config.data.id_column,
            },
        }
        write_parameters(folder / folders.PARAMETERS, kept)
        folders.write_manifest(folder, manifest)
        notes = [
            *_told(module),
            *measured.notes,
            *(f"needs the package {one} to be loaded" for one in needs),
        ]
        checked = folders.Opened(folder, "", {"format": folders.FORMAT, **manifest})
        if measured.dataset is not None and measured.evaluation is not None:
            notes.append(_agreement(Exported(checked), measured, variant))
        described = dataclasses.replace(inputs, required=tuple(required)).described()
        text = cards.written(
            cards.Card(
                name=manifest["name"],
                task=manifest["task"],
                variant=variant,
                platforms=platforms,
                inputs=described,
                outputs={one: f"{d} {list(s)}" for one, d, s in programs[0].outputs},
                labels=answers.get("names", ()),
                model=_model(run, flat),
                data=_data(run),
                measured=measured.of,
                sizes={
                    one: sum(value.nbytes for value in values.values())
                    for one, values in {"f32": flat, variant: kept}.items()
                },
                subgroups=told_apart,
                license=license,
                notes=notes,
            )
        )
        with atomic(folder / folders.CARD) as file:
            file.write(text)
    return Path(out)


def answers_of(module: Assembly | Pretraining) -> Answers:
    """The last step of a model as data."""
    if not isinstance(module, Pretraining):
        return module.task.answers()
    fused = () if module.fusion is None else ("fused",)
    return Vectors((*fused, *module.encoders), joint=module.joint is not None)


def _told(module: Assembly | Pretraining) -> list[str]:
    """What a card says of answers that are vectors."""
    if not isinstance(module, Pretraining):
        return []
    names = ", ".join(module.encoders)
    said = [f"it answers with embeddings: a vector for each of {names} that an item has"]
    if module.joint is not None:
        said.append(
            "they have unit length and share one space: their product says how alike two are"
        )
    return said


@dataclasses.dataclass(frozen=True)
class Measured:
    """Metrics by variant, and the rows that they are of."""

    of: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    dataset: Dataset | None = None
    evaluation: Evaluation | None = None
    """Of the parameters as trained."""


def _subgroups(
    run: Run, measured: Measured, by: Sequence[str] | None, split: str
) -> list[tuple[list[str], list[list[str]], list[str]]]:
    columns = subgroups.asked_for(run) if by is None else by
    if measured.dataset is None or measured.evaluation is None or not columns:
        return []
    found = subgroups.subgroups(run, measured.evaluation, measured.dataset, columns, split=split)
    return [(*told.tabled(found, one), told.gaps(found, one)) for one in found["columns"]]


def variables_of(run: Run, inputs: Inputs) -> dict[str, Any]:
    """All variables of a run on the host, with what an evaluation makes of them once."""
    module = run.module
    if run._loaded is not None:
        variables = dict(run._loaded[0])
    else:
        arrays = load_arrays(run.folder.path, run.step, prefixes=("params", "ema", "collections"))
        params = arrays.get("ema") or arrays["params"]
        variables = {"params": params, **arrays.get("collections", {})}
        if run._adopted:
            fields = inputs.collate([], (), 1)
            batch = Batch(targets={}, row=np.zeros(1, np.int32), **fields)
            init = functools.partial(module.init, jax.random.key(0), batch, train=False)
            variables = adapters.adopted(variables, run._adopted, jax.eval_shape(init))
    variables = jax.device_get(variables)
    if isinstance(module, Prepares):
        variables = {**variables, **jax.device_get(module.prepare(variables))}
    return variables


def _measured(
    run: Run,
    variant: str,
    kept: Mapping[str, np.ndarray],
    dtypes: Mapping[str, Any],
    data: Any,
    root: str | None,
) -> Measured:
    try:
        dataset = run.dataset(data, root=root, labels=True)
        split = "test" if data is None else "all"
        evaluation = run.evaluate_dataset(dataset, split)
    except DataError as error:
        return Measured(notes=(f"not measured: {error.what}",))
    if data is None:
        reference.complete(run, dataset, evaluation)
    found = {"f32": _plain(evaluation.metrics)}
    if variant != "f32":
        whole = {path: np.asarray(value) for path, value in restored(kept, dtypes).items()}
        variables, shardings = run._ready(dataset)
        own = {name: one for name, one in nest(whole).items() if name in variables}
        placed = jax.device_put(own, shardings)
        with load_batches(dataset, split, run.mesh, train=False) as batches:
            other = evaluate(
                make_evaluate(run.module, run.mesh, shardings),
                placed,
                batches,
                run.module.task,
                run.mesh,
                texts=dataset.texts,
            )
        found[variant] = _plain(other.metrics)
    return Measured(found, (), dataset, evaluation)


def _plain(metrics: Mapping[str, float]) -> dict[str, float]:
    """Numbers that JSON has."""
    return {name: float(value) for name, value in metrics.items() if np.isfinite(value)}


def _agreement(program: Exported, measured: Measured, variant: str) -> str:
    """How far what was written is from the run, on a few rows.

    Raises CheckpointError where that is too far.
    """
    dataset, evaluation = measured.dataset, measured.evaluation
    assert dataset is not None
    assert evaluation is not None
    rows = evaluation.rows[:_CHECKED_ROWS]
    worst = 0.0
    for place, row in enumerate(rows.tolist()):
        try:
            found = program.run([program.prepare(_item(dataset, row), paths=True)])[0].arrays
        except DataError:
            # A row that takes others of its table, such as an utterance its dialogue.
            return "not compared with the run row by row"
        # A program tells the weights of modalities besides.
        for name in found.keys() & evaluation.predictions.keys():
            value = found[name]
            expected = np.asarray(evaluation.predictions[name][place], np.float64)
            if not np.issubdtype(value.dtype, np.floating) or value.shape != expected.shape:
                continue
            apart = np.abs(np.asarray(value, np.float64) - expected)
            worst = max(worst, float(np.nan_to_num(apart[np.isfinite(expected)]).max(initial=0.0)))
    if worst > _AGREES[variant]:
        raise CheckpointError(
            664,
            f"the export is off by {worst:.2g} from what the run answers",
            where=program.name,
            fix="report it with the config, or export with another variant",
        )
    return f"over {len(rows)} rows the largest difference from the run is {worst:.2g}"


def _item(dataset: Dataset, row: int) -> dict[str, Any]:
    """A row's raw item, its media with their whole paths."""
    table, found = dataset.table, {}
    for name, spec in dataset.config.modalities.items():
        for column in dataset.columns[name]:
            cell = table.column(column)[row]
            if spec.name in MEDIA and isinstance(cell, str) and cell.strip():
                cell = Path(table.root_of(column, row) or ".") / cell
            found[column] = cell
    return found


def _model(run: Run, flat: Mapping[str, np.ndarray]) -> dict[str, str]:
    model = run.config.model
    count = sum(value.size for value in flat.values())
    return {
        "encoders": ", ".join(f"{name}: {spec.name}" for name, spec in model.encoders.items()),
        "fusion": model.fusion.name,
        "parameters": f"{count:,}",
        "checkpoint": str(run.step),
    }


def _data(run: Run) -> dict[str, str]:
    data = run.config.data
    found = {
        "source": data.source.name,
        "modalities": ", ".join(f"{n}: {spec.name}" for n, spec in data.modalities.items()),
        "targets": ", ".join(f"{n}: {spec.name}" for n, spec in data.targets.items()),
    }
    for target, facts in run.facts["targets"].items():
        counts, names = facts.get("label_counts"), facts.get("label_names")
        if counts and names:
            pairs = list(zip(names, counts, strict=False))[:20]
            found[f"training rows by {target}"] = ", ".join(f"{n} {c}" for n, c in pairs)
    return found
