"""A run folder put to use: evaluate, predict, embed."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh

from mmjax.api import adapters, probing, searching, zero_shot
from mmjax.checkpoint.load import load_arrays
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core import config as config_lib
from mmjax.core.errors import DataError, nearest
from mmjax.core.files import as_tuples, read_json
from mmjax.core.types import Batch
from mmjax.data import manifest
from mmjax.data.config import modalities as modality_registry
from mmjax.data.dataset import ALL, Dataset
from mmjax.data.pipeline import prepare
from mmjax.models.base import Assembly
from mmjax.models.pretraining import Pretraining
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import batch_sharding, put_batch, replicated, variable_shardings
from mmjax.train import adapting
from mmjax.train.config import Config
from mmjax.train.evaluate import Evaluation, evaluate, gather
from mmjax.train.example import example_batch
from mmjax.train.features import Features
from mmjax.train.loading import load
from mmjax.train.step import make_evaluate

if TYPE_CHECKING:
    from mmjax.explain.writing import Explanations

_MEDIA = ("image", "audio", "video", "volume", "points")


class Run:
    """A trained run, loaded from its folder alone; arrays are read when first needed.

    `step` is "best" (the best validation metric, the newest checkpoint where none was measured),
    "latest" or a number.
    """

    def __init__(self, folder: str | os.PathLike, *, step: str | int = "best"):
        self.folder = RunFolder(Path(folder)).open()
        self.step = step
        self._loaded: tuple[Any, Any] | None = None
        self._stored: Any = None
        self._adopted: Mapping[str, np.ndarray] = {}
        self._function: Callable[..., Any] | None = None
        self._embed: dict[tuple[str, ...], Callable[..., Any]] = {}
        self.features: Features | None = None
        """What is read in place of running frozen encoders while a trained run is measured."""

    def __repr__(self) -> str:
        return f"Run({str(self.folder.path)!r})"

    @functools.cached_property
    def config(self) -> Config:
        return config_lib.from_json(Config, self.folder.read_config())

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """What the data gave, such as `facts["targets"]["label"]["label_names"]`."""
        return as_tuples(self.folder.read_facts())

    @functools.cached_property
    def module(self) -> Assembly | Pretraining:
        return adapting.build(self.config, self.facts)

    @functools.cached_property
    def mesh(self) -> Mesh:
        return make_mesh(MeshConfig())

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """`{split: metrics}` as the last evaluation wrote them."""
        path = self.folder.path / "metrics.json"
        return read_json(path) if path.is_file() else {}

    def dataset(
        self,
        data: Any = None,
        *,
        root: str | None = None,
        labels: bool = False,
        batch_size: int | None = None,
    ) -> Dataset:
        """The run's own data, or other data through the run's processors.

        `data` is a manifest's path, a DataFrame, a mapping of columns or an embedded set's name.
        With `labels`, every row must have a known one. `batch_size` rows go through the model
        together, as many as in the run's evaluations if None. Raises DataError if the run's own
        data is not what it was.
        """
        config, frame = self.config.data, None
        if data is None and config.source.name == "frame":
            raise DataError(
                201,
                "the run was trained on a DataFrame, which it does not keep",
                where=str(self.folder.path),
                fix="pass the DataFrame, or a manifest",
            )
        if data is not None:
            config = dataclasses.replace(config, source=manifest.source_for(data, root))
            frame = None if isinstance(data, (str, os.PathLike)) else data
        dataset = prepare(
            self._sized(config, batch_size),
            frame=frame,
            processors_folder=self.folder.processors,
            targets="required" if labels else "optional",
        )
        if data is None:
            stored = read_json(self.folder.processors / "data.json")["table"]
            if stored != dataset.table.fingerprint:
                raise DataError(
                    223,
                    "the data has changed since the run was trained, its splits are unknown",
                    where=dataset.table.name,
                    fix="restore it, or pass it as other data",
                )
        return dataset

    def evaluate(
        self, data: Any = None, *, split: str | None = None, root: str | None = None
    ) -> dict[str, float]:
        """The task's metrics on a split: of the run's data the test rows, of other data all rows.

        Raises DataError for a label that the run does not know, or a row without one.
        """
        return self.evaluation(data, split=split, root=root).metrics

    def evaluation(
        self, data: Any = None, *, split: str | None = None, root: str | None = None
    ) -> Evaluation:
        """As `evaluate`, with predictions, targets and sums."""
        dataset = self.dataset(data, root=root, labels=True)
        return self.evaluate_dataset(dataset, split or ("test" if data is None else ALL))

    def predict(
        self, data: Any = None, *, split: str | None = None, root: str | None = None
    ) -> list[dict[str, Any]]:
        """One dictionary a row: its `row` and `id`, and what the task decodes (label, ...)."""
        return self.predict_dataset(self.dataset(data, root=root), split)

    def predict_dataset(self, dataset: Dataset, split: str | None = None) -> list[dict[str, Any]]:
        """As `predict`, for a data set that `dataset` made."""
        if not any(len(rows) for rows in dataset.splits.values()):
            return []
        found = self.evaluate_dataset(dataset, split or ALL)
        decoded = self.module.task.decode(found.predictions, dataset.texts(found.rows))
        named = zip(found.rows.tolist(), dataset.ids(found.rows), decoded, strict=True)
        return [{"row": row, "id": one, **answer} for row, one, answer in named]

    def predict_one(self, **inputs: Any) -> dict[str, Any]:
        """The prediction for a single example, given by modality or by column.

        `run.predict_one(text="red apple", image="a.png")`: a path or bytes for a picture, a sound,
        a video, a volume or a set of points. What is not given is missing. Raises DataError for a
        name that is neither modality nor column, and a file that cannot be read.
        """
        dataset = self.dataset(self.columns_of(inputs), batch_size=1)
        answer = self.predict_dataset(dataset)[0]
        return {key: value for key, value in answer.items() if key not in ("row", "id")}

    def columns_of(self, inputs: Mapping[str, Any]) -> dict[str, list[Any]]:
        """A table of one row from values by modality or column."""
        reads = {
            name: (spec.name, modality_registry.build(spec).reads())
            for name, spec in self.config.data.modalities.items()
        }
        columns: dict[str, list[Any]] = {c: [None] for _, cs in reads.values() for c in cs}
        if self.config.data.id_column is not None:
            columns.setdefault(self.config.data.id_column, ["0"])
        media = {column for kind, cs in reads.values() if kind in _MEDIA for column in cs}
        for name, value in inputs.items():
            column = reads[name][1][0] if name in reads and name not in columns else name
            if column not in columns:
                raise DataError(
                    214,
                    f"the run reads no '{name}'",
                    where=str(self.folder.path),
                    fix=nearest(name, (*reads, *columns)),
                )
            is_path = column in media and isinstance(value, (str, os.PathLike))
            columns[column] = [read_file(value) if is_path else value]
        return columns

    def embed(
        self, data: Any = None, *, split: str | None = None, root: str | None = None
    ) -> dict[str, np.ndarray]:
        """`fused` [n d], one array [n d] a modality, and `ids` [n].

        Batches are spread over all devices, of several processes too, each of which returns all.
        """
        return self.embed_dataset(self.dataset(data, root=root), split)

    def embed_dataset(
        self, dataset: Dataset, split: str | None = None, names: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """As `embed`, for a data set that `dataset` made; of `names` alone, if there are some."""
        variables, shardings = self._ready(dataset)
        chosen = tuple(names)
        if chosen not in self._embed:

            def embedded(variables: Any, batch: Batch) -> dict[str, Any]:
                found: Any = self.module.apply(variables, batch, method=type(self.module).embed)
                return {name: found[name] for name in chosen or found}

            self._embed[chosen] = jax.jit(
                embedded,
                in_shardings=(shardings, batch_sharding(self.mesh)),
                out_shardings=replicated(self.mesh),
            )
        parts: list[dict[str, np.ndarray]] = []
        rows: list[np.ndarray] = []
        for batch in self._batches(dataset, split or ALL):
            device = put_batch(batch, self.mesh)
            found = jax.device_get(self._embed[chosen](variables, device))
            whole = gather(batch, device)
            kept = np.asarray(whole.row_mask)
            parts.append({name: value[kept] for name, value in found.items()})
            rows.append(np.asarray(whole.row)[kept])
        ids = np.array(dataset.ids(np.concatenate(rows)))
        return {"ids": ids, **{k: np.concatenate([p[k] for p in parts]) for k in parts[0]}}

    def search(self, index: Any, query: Any, **options: Any) -> list[dict[str, Any]]:
        """The rows of `index` nearest to a text or a media file; see `mmjax.api.searching.search`.

        `run.search("embeddings.npz", "a red car", top=10)`.
        """
        return searching.search(self, index, query, **options)

    def zero_shot(
        self, data: Any = None, *, names: Sequence[str], **options: Any
    ) -> list[dict[str, Any]]:
        """Rows told apart by classes in words, in a joint space; see `mmjax.api.zero_shot`."""
        return zero_shot.classify(self, data, names=names, **options)

    def probe(self, label: str, data: Any = None, **options: Any) -> dict[str, float]:
        """How well frozen vectors tell a column's classes; see `mmjax.api.probing.probe`."""
        return probing.probe(self, label, data, **options)

    def explain(self, data: Any = None, **options: Any) -> Explanations:
        """Why the run says what it says of rows; see `mmjax.api.explaining.explain`.

        `run.explain("new.csv", methods=["shapley", "integrated_gradients"], rows=8)`, and `.save`
        of what it returns writes a page, pictures and numbers.
        """
        from mmjax.api.explaining import explain

        return explain(self, data, **options)

    def save_adapter(self, folder: str | os.PathLike, **options: Any) -> Path:
        """What was trained, without the frozen weights; see `mmjax.api.adapters.save`.

        `run.save_adapter("adapters/birds")`, or `form="peft"` for a LoRA as PEFT has it.
        """
        return adapters.save(self, folder, **options)

    def export(self, out: str | os.PathLike, **options: Any) -> Path:
        """A folder that can be served; see `mmjax.api.exporting.export`.

        `run.export("exported", variant="int8")`.
        """
        from mmjax.api.exporting import export

        return export(self, out, **options)

    def drift(self, data: Any = None, **options: Any) -> Any:
        """How far new rows are from those that it was measured on; see `mmjax.api.drifting.drift`.

        `run.drift("new.csv").alarms`.
        """
        from mmjax.api.drifting import drift

        return drift(self, data, **options)

    def load_adapter(
        self, folder: str | os.PathLike | None, *, modality: str | None = None
    ) -> None:
        """Goes on with the adapters of a folder, of PEFT too, in place of those of before.

        None takes back the run's own. Where the kinds and sizes stay the same nothing is compiled
        again. Errors are those of `mmjax.api.adapters.load`.
        """
        config, self._adopted = adapters.load(self, folder, modality=modality)
        if config.adapt != self.config.adapt:
            self.config = config
            self.__dict__.pop("module", None)
            self._function, self._embed = None, {}
        self._loaded = None

    def adopt(self, variables: Mapping[str, Any]) -> None:
        """Goes on with these variables, of the same shapes, in place of the checkpoint's."""
        self._stored, self._adopted, self._loaded = variables, {}, None

    def _sized(self, config: Any, batch_size: int | None) -> Any:
        """The data settings with an evaluation batch that splits over this run's devices."""
        size = batch_size or config.eval_batch_size or config.batch_size
        devices = self.mesh.size
        return dataclasses.replace(config, eval_batch_size=-(-size // devices) * devices)

    def _batches(self, dataset: Dataset, split: str) -> Iterator[Batch]:
        with load(dataset, split, self.mesh, train=False) as batches:
            yield from batches

    def _abstract(self, dataset: Dataset) -> Any:
        example = example_batch(dataset, self.mesh.size)
        key = jax.random.key(0)
        return jax.eval_shape(lambda: self.module.init(key, example, train=False))

    def _ready(self, dataset: Dataset) -> tuple[Any, Any]:
        """The variables on the devices and their shardings, loaded once."""
        if self._loaded is None:
            shardings = variable_shardings(self._abstract(dataset), self.mesh)
            if self._stored is None:
                arrays = load_arrays(
                    self.folder.path, self.step, prefixes=("params", "ema", "collections")
                )
                params = arrays.get("ema") or arrays["params"]
                self._stored = {"params": params, **arrays.get("collections", {})}
            variables = adapters.adopted(self._stored, self._adopted, shardings)
            placed = jax.device_put(variables, shardings)
            if not self._adopted:
                self._stored = placed
            self._loaded = placed, shardings
        return self._loaded

    def evaluate_dataset(self, dataset: Dataset, split: str) -> Evaluation:
        """A pass over a split of a data set that `dataset` made."""
        variables, shardings = self._ready(dataset)
        kept = self.features
        if kept is not None and kept.serves(dataset, self.mesh):
            module, dataset = kept.evaluating(self.module, dataset, split, variables)
            function = make_evaluate(module, self.mesh, shardings)
        elif self._function is None:
            function = self._function = make_evaluate(self.module, self.mesh, shardings)
        else:
            function = self._function
        batches = self._batches(dataset, split)
        task, texts = self.module.task, dataset.texts
        return evaluate(function, variables, batches, task, self.mesh, texts=texts)


def read_file(path: str | os.PathLike) -> bytes | list[bytes]:
    """A media file, or those of a folder, such as a DICOM series. Raises DataError if it cannot be
    read.
    """
    try:
        if Path(path).is_dir():
            return [one.read_bytes() for one in sorted(Path(path).iterdir()) if one.is_file()]
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(301, f"'{path}' cannot be read: {error.strerror}") from error


def load_run(folder: str | os.PathLike, *, step: str | int = "best") -> Run:
    """The run in `folder`. Raises CheckpointError, naming the runs near it, if there is none."""
    return Run(folder, step=step)
