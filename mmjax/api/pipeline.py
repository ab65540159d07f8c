"""The short form of every task: `mmjax.pipeline(name, model=...)`, by the names of transformers."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmjax.api.pipeline_forms import ALIASES, FEATURES, FORMS, SPEECH, ZERO_SHOT, Form
from mmjax.api.pretrained_pipeline import Features, ZeroShot
from mmjax.api.run import Run, load_run
from mmjax.api.speech_pipeline import Speech
from mmjax.api.writing_pipeline import KEYS, Writes
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.data.config import kind_of

_MOST_AT_ONCE = 32


def pipeline(
    task: str | None = None, model: Any = None, *, batch_size: int | None = None, **options: Any
) -> Any:
    """A function from plain inputs to plain answers.

        ask = mmjax.pipeline("visual-question-answering", model="runs/easy_vqa")
        ask(image="a.png", question="What colour is the circle?")
        [{"score": 0.98, "answer": "red"}, ...]

    `model` is a run or its folder; a Hugging Face folder or hub id will do for the forms that say
    so (`pipeline_forms.FORMS`): those that write texts, features, and classes given as words.
    `translation_en_to_de` is `translation` with languages. Without a `task`, it is the one that the
    run was trained for. `batch_size` rows go through the model together.
    `options`, such as `top_k`, are those of every call, which may give others.

    A call takes one input, named or, if it is of the form's first kind, not; a dictionary of them;
    or a list of either, for which a list is returned. Further modalities and columns of the run are
    given by their names. Text is a string, a picture a path, bytes, a Pillow image or an array
    uint8 [h w c], a sound a path, bytes or `{"array": [s], "sampling_rate": hertz}`.

    Raises ConfigError for a task, option or model that does not fit, DataError for an input that
    the run does not read.
    """
    if model is None:
        raise ConfigError(105, "pipeline needs a model", fix="model='runs/first'")
    run = _run_of(model)
    name = task if task is not None else _own(run, model)
    name = ALIASES.get(name, name)
    languages = re.fullmatch(r"translation_(\w+)_to_(\w+)", name)
    if languages is not None:
        name = "translation"
        if run is None:
            options = {"src_lang": languages[1], "tgt_lang": languages[2], **options}
    if name not in FORMS:
        raise ConfigError(105, f"no pipeline '{name}'", fix=nearest(name, (*FORMS, *ALIASES)))
    form = FORMS[name]
    if run is None:
        if not form.folders:
            what = f"'{name}' needs a trained run, '{model}' is none"
            raise ConfigError(105, what, fix="train one with `mmjax fit` or `mmjax train`")
        return _of_folder(name, form, model, batch_size, options)
    own = run.config.task.name if run.config.task is not None else None
    if form.tasks and own not in form.tasks:
        fitting = [one for one, other in FORMS.items() if own in other.tasks]
        what = f"'{name}' is of the tasks {', '.join(form.tasks)}, the run's is {own}"
        raise ConfigError(105, what, where=str(run.folder.path), fix=nearest(name, fitting))
    return Pipeline(name, form, run, batch_size, options)


def _of_folder(
    name: str, form: Form, model: Any, batch_size: int | None, options: Mapping[str, Any]
) -> Any:
    if name in KEYS:
        return Writes(model, name=name, batch_size=batch_size, **options)
    if name == SPEECH:
        return Speech(model, **options)
    make = ZeroShot if name == ZERO_SHOT else Features
    return make(model, kind=next(iter(form.inputs.values())), **options)


def _run_of(model: Any) -> Run | None:
    if isinstance(model, Run):
        return model
    if not isinstance(model, (str, os.PathLike)):
        raise ConfigError(105, f"{model!r} is no run", fix="give a run, or a folder")
    folder = RunFolder(Path(model))
    # A Hugging Face folder has a config.json as well.
    return load_run(model) if folder.exists() and folder.processors.is_dir() else None


def _own(run: Run | None, model: Any) -> str:
    """The form of the run's own task."""
    own = None if run is None or run.config.task is None else run.config.task.name
    kinds = set() if run is None else {kind_of(s) for s in run.config.data.modalities.values()}
    fitting = [name for name, form in FORMS.items() if own in form.tasks]
    whole = [name for name in fitting if set(FORMS[name].inputs.values()) == kinds]
    general = [name for name in fitting if not FORMS[name].inputs]
    for name in (*whole, *general, *fitting):
        return name
    raise ConfigError(105, f"which pipeline of '{model}'?", fix=nearest("", FORMS))


class Pipeline:
    """A run, asked as one form of its task; `pipeline` makes it."""

    def __init__(
        self, name: str, form: Form, run: Run, batch_size: int | None, options: Mapping[str, Any]
    ):
        self.name, self.form, self.run, self.batch_size = name, form, run, batch_size
        self._columns = tuple(run.columns_of({}))
        self._options: dict[str, Any] = {}
        self._options = self._known(options)

    def __repr__(self) -> str:
        return f"pipeline({self.name!r}, model={str(self.run.folder.path)!r})"

    def __call__(self, inputs: Any = None, /, **named: Any) -> Any:
        """The answer to one input, or a list of answers to a list."""
        options = self._names()
        chosen = self._known({k: v for k, v in named.items() if k in options})
        given = {k: v for k, v in named.items() if k not in options}
        several, rows = self._rows(inputs, given)
        if not rows:
            return []
        answers = self._answers([self._columns_of(row) for row in rows], chosen)
        return answers if several else answers[0]

    def _names(self) -> tuple[str, ...]:
        """The options that there are."""
        if self.name == ZERO_SHOT:
            return ("candidate_labels", "hypothesis_template", "top_k")
        found = inspect.signature(self.form.answer).parameters.values()
        return tuple(one.name for one in found if one.kind is one.KEYWORD_ONLY)

    def _known(self, options: Mapping[str, Any]) -> dict[str, Any]:
        for name in options:
            if name not in self._names():
                what = f"pipeline '{self.name}' has no option '{name}'"
                raise ConfigError(105, what, fix=nearest(name, self._names()))
        return {**self._options, **options}

    def _rows(self, inputs: Any, named: Mapping[str, Any]) -> tuple[bool, list[dict[str, Any]]]:
        """Whether they are several, and each as `{name: value}`."""
        lists = {k: v for k, v in named.items() if isinstance(v, (list, tuple))}
        if isinstance(inputs, (list, tuple)):
            if lists:
                raise DataError(214, "a list, and lists by name", fix="give one of the two")
            return True, [{**self._one(value), **named} for value in inputs]
        if inputs is None and lists and not self._is_one(lists):
            count = {len(value) for value in lists.values()}
            if len(count) != 1:
                told = ", ".join(f"{name}: {len(value)}" for name, value in lists.items())
                raise DataError(214, f"lists of unequal length ({told})")
            return True, [{**named, **{k: v[i] for k, v in lists.items()}} for i in range(*count)]
        return False, [{**self._one(inputs), **named}]

    def _is_one(self, lists: Mapping[str, Any]) -> bool:
        """Whether a list is a value, as of a column of numbers or items."""
        modalities = self.run.config.data.modalities
        kinds = {self._kind(name) for name in lists if name in modalities}
        return bool(kinds & {"items", "sequence", "time_series", "marks"})

    def _kind(self, modality: str) -> str:
        return kind_of(self.run.config.data.modalities[modality])

    def _one(self, value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if isinstance(value, Mapping) and "sampling_rate" not in value:
            return dict(value)
        if not self.form.inputs:
            raise DataError(
                214,
                f"pipeline '{self.name}' needs to know what its input is",
                fix="name it; " + nearest("", (*self.run.config.data.modalities, *self._columns)),
            )
        return {next(iter(self.form.inputs)): value}

    def _columns_of(self, row: Mapping[str, Any]) -> dict[str, list[Any]]:
        """A table of one row: names of the form stand for the run's modality of their kind."""
        modalities, taken = self.run.config.data.modalities, set(row)
        found: dict[str, Any] = {}
        for name, value in row.items():
            target = name
            if name not in modalities and name not in self._columns and name in self.form.inputs:
                kind = self.form.inputs[name]
                free = [m for m in modalities if self._kind(m) == kind and m not in taken]
                if len(free) != 1:
                    what = (
                        f"'{name}' could be any of {', '.join(free)}"
                        if free
                        else (f"the run reads nothing of kind {kind} for '{name}'")
                    )
                    fix = nearest(name, (*modalities, *self._columns))
                    raise DataError(214, what, where=str(self.run.folder.path), fix=fix)
                target = free[0]
                taken.add(target)
            found[target] = value
        return self.run.columns_of(found)

    def _answers(self, rows: Sequence[Mapping[str, list[Any]]], options: dict[str, Any]) -> list:
        table = {name: [row[name][0] for row in rows] for name in rows[0]}
        identity = self.run.config.data.id_column
        if identity is not None:
            table[identity] = [str(i) for i in range(len(rows))]
        limit = self.batch_size or _MOST_AT_ONCE
        size = min(limit, 1 << (len(rows) - 1).bit_length())
        dataset = self.run.dataset(table, batch_size=size)
        if self.name in FEATURES:
            vectors = self.run.embed_dataset(dataset)
            kind = next(iter(self.form.inputs.values()))
            own = [name for name in vectors if name in self.run.config.data.modalities]
            mine = [name for name in own if self._kind(name) == kind]
            return list(vectors["fused"] if "fused" in vectors else vectors[mine[0]])
        if self.name == ZERO_SHOT:
            return self._zero_shot(dataset, options)
        return [self.form.answer(row, **options) for row in self.run.predict_dataset(dataset)]

    def _zero_shot(self, dataset: Any, options: dict[str, Any]) -> list:
        from mmjax.api.zero_shot import TEMPLATES, classify_dataset

        options = dict(options)
        names = options.pop("candidate_labels", None)
        template = options.pop("hypothesis_template", TEMPLATES[0])
        if not names:
            raise ConfigError(105, "no candidate_labels", fix="candidate_labels=['cat', 'dog']")
        found = classify_dataset(self.run, dataset, names=list(names), templates=(template,))
        return [self.form.answer(row, **options) for row in found]
