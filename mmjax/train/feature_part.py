"""The features of one modality: what they are like, and how they are made and kept."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from mmjax.checkpoint import processes
from mmjax.core.types import Batch
from mmjax.core.typing import Int
from mmjax.data import kept
from mmjax.data.collate import PADDING, Collator, Source, as_batch
from mmjax.data.dataset import Dataset
from mmjax.data.kept import KeptFeatures, Shaped
from mmjax.data.order import InOrder
from mmjax.encoders.fields import select
from mmjax.models.encoding import encode_views
from mmjax.parallel.feeding import batch_part
from mmjax.parallel.mesh import traced_on
from mmjax.parallel.sharding import put_batch, replicated
from mmjax.train import feature_checks, feature_key
from mmjax.train.config import Config
from mmjax.train.state import StatePlan
from mmjax.writers import console

Variables = Mapping[str, Any]
"""Of the model or of the encoder, by collection."""

SPLITS = {True: "train", False: "validation"}
"""Whose rows are kept, as in training and as in evaluation."""


@dataclasses.dataclass(frozen=True)
class Part:
    """The features of one modality."""

    name: str
    encoder: nn.Module
    config: Config
    dataset: Dataset
    mesh: Mesh
    width: int
    alike: bool
    """Whether training and evaluation run the same program."""
    shaped: Mapping[bool, Shaped]
    processor: KeptFeatures
    known: dict[Path, kept.Store] = dataclasses.field(default_factory=dict)
    """What was made or found to be whole already."""

    @classmethod
    def planned(
        cls,
        config: Config,
        dataset: Dataset,
        module: Any,
        plan: StatePlan,
        mesh: Mesh,
        name: str,
    ) -> Part:
        encoder, raw = module.encoders[name], dataset.modalities[name]
        longest = max(raw.padded_lengths) if raw.padded_lengths else None
        alike, found = feature_checks.require_no_draws(
            config,
            name,
            functools.partial(encode, encoder, name),
            _own(plan.abstract.variables, name),
            {train: _absent(raw, name, longest, mesh.size, train=train) for train in SPLITS},
        )
        shaped = {}
        for train, shapes in found.items():
            fields = {
                key: (one.shape[1:], one.dtype.name)
                for key, one in shapes.items()
                if key != kept.PRESENT
            }
            shaped[train] = Shaped(fields, {})
        width = found[True]["values"].shape[-1]
        processor = KeptFeatures(raw, shaped)
        return cls(name, encoder, config, dataset, mesh, width, alike, shaped, processor)

    def with_tokens(self, plan: StatePlan) -> Part:
        """With the number of tokens in batches of each length."""
        raw, variables = self.processor.raw, _own(plan.abstract.variables, self.name)

        def count(length: int, train: bool) -> int:
            batch = _absent(raw, self.name, length, self.mesh.size, train=train)
            program = functools.partial(encode, self.encoder, self.name, train=train)
            return jax.eval_shape(program, variables, batch)["mask"].shape[1]

        return self._shaped_anew(
            {
                train: Shaped(one.fields, {n: count(n, train) for n in raw.padded_lengths})
                for train, one in self.shaped.items()
            }
        )

    def without_tokens(self) -> Part:
        return self._shaped_anew(
            {
                train: Shaped({k: v for k, v in one.fields.items() if k != "values"}, {})
                for train, one in self.shaped.items()
            }
        )

    def holding(self, stores: Mapping[bool, kept.Store]) -> Part:
        """With these features, of training (True) or evaluation, in its batches."""
        processor = KeptFeatures(self.processor.raw, self.shaped)
        processor.stores.update(stores)
        return dataclasses.replace(self, processor=processor)

    def _shaped_anew(self, shaped: Mapping[bool, Shaped]) -> Part:
        processor = KeptFeatures(self.processor.raw, shaped)
        return dataclasses.replace(self, shaped=shaped, processor=processor)

    def fill(self, variables: Variables) -> None:
        """Makes what is not kept yet of the rows of training and of validation."""
        for train, split in SPLITS.items():
            rows = np.sort(self.dataset.splits.get(split, np.zeros(0, np.int64)))
            if len(rows):
                self.processor.stores[train] = self.store(variables, rows, train=train)

    def store(self, variables: Variables, rows: Int[np.ndarray, "n"], *, train: bool) -> kept.Store:
        """What is kept of these rows, ascending, made if it is not there. A collective."""
        own = _own(variables, self.name)
        folder = self._folder(own, rows, train)
        if folder not in self.known:
            self.known[folder] = kept.Store(folder)
            self._make(self.known[folder], own, rows, train)
        return self.known[folder]

    @property
    def root(self) -> Path:
        return folder_of(self.config.train.feature_cache[self.name])

    def _folder(self, own: Variables, rows: Int[np.ndarray, "n"], train: bool) -> Path:
        mode = "alike" if self.alike else SPLITS[train]
        fields = self.shaped[train].fields
        return self.root / feature_key.of(
            self.config, self.dataset, self.name, own, rows, (mode, fields)
        )

    def _make(
        self, store: kept.Store, own: Variables, rows: Int[np.ndarray, "n"], train: bool
    ) -> None:
        first = processes.is_first()
        # Another process of this run must not wait for the lock: the first one waits for it.
        with kept.locked(store.folder, wanted=first):
            whole = store.is_whole()
            if processes.agree(whole):
                self._tell(f"{len(rows):,} rows from {store.folder}")
                return
            start = time.perf_counter()
            fill = functools.partial(self._fill, own, rows, train)
            # Of processes that share a disk one writes; each is at every batch with the others.
            number = processes.first(time.time_ns() % 2**31)
            with kept.claimed(store.folder, number, wanted=not whole) as mine:
                if mine:
                    kept.write(store.folder, rows, self.shaped[train].fields, fill)
                else:
                    fill(None)
                processes.agree(True)
            seconds = time.perf_counter() - start
            self._tell(f"{len(rows):,} rows made in {seconds:.1f} s, kept in {store.folder}")

    def _tell(self, what: str) -> None:
        if processes.is_first():
            console.say(f"features of {self.name}: {what}")

    def _fill(
        self,
        own: Variables,
        rows: Int[np.ndarray, "n"],
        train: bool,
        arrays: dict[str, np.ndarray] | None,
    ) -> None:
        program = _compiled(self.encoder, self.name, self.mesh, train and not self.alike)
        wanted = (*self.shaped[train].fields, kept.PRESENT)

        def keep(numbers: Int[np.ndarray, "b"], found: Mapping[str, jax.Array]) -> None:
            if arrays is None:
                return
            filled = numbers != PADDING
            places = np.searchsorted(rows, numbers[filled])
            for field in wanted:
                value = np.asarray(found[field])[filled]
                inner = tuple(slice(size) for size in value.shape[1:])
                arrays[field][(places, *inner)] = value

        # One batch is read while the devices are at the one before.
        last = None
        for numbers, batch in self._batches(rows, train):
            found = program(own, put_batch(batch, self.mesh))
            if last is not None:
                keep(*last)
            last = numbers, found
        if last is not None:
            keep(*last)

    def _batches(
        self, rows: Int[np.ndarray, "n"], train: bool
    ) -> Iterator[tuple[Int[np.ndarray, "b"], Batch]]:
        """The rows, those of one length together, with this process's part of each batch."""
        raw, table = self.dataset.modalities[self.name], self.dataset.table
        lengths = {}
        if raw.padded_lengths:
            whole = np.zeros(len(table), np.int32)
            whole[rows] = raw.lengths(table, rows)
            lengths[self.name] = whole
            buckets = np.searchsorted(np.array(raw.padded_lengths), whole[rows])
            rows = rows[np.argsort(buckets, kind="stable")]
        part, parts = batch_part(self.mesh)
        collator = Collator(
            table=table,
            modalities={self.name: Source(raw, self.dataset.columns[self.name])},
            targets={},
            seed=0 if train else None,
            lengths=lengths,
            process_index=part,
            process_count=parts,
        )
        order = InOrder(rows, self.config.data.batch_size)
        for step in range(len(order)):
            yield order[step], as_batch(collator(step, order[step]))


def encode(
    encoder: nn.Module, name: str, variables: Any, batch: Batch, *, train: bool, rngs: Any = None
) -> dict[str, jax.Array]:
    """What is kept of a batch: `pooled`, `mask`, `values`, and which rows have the modality."""

    def run(module: nn.Module) -> Any:
        return encode_views(module, select(module, batch.inputs[name], name), train=train)

    found = nn.apply(run, encoder)(variables, rngs=rngs)
    here = jnp.asarray(batch.present[name])
    return {
        "pooled": found.pooled,
        "mask": found.mask,
        "values": found.values,
        kept.PRESENT: here,
    }


def _absent(raw: Any, name: str, length: int | None, rows: int, *, train: bool) -> Batch:
    """A batch in which no row has the modality."""
    none = np.zeros(rows, bool)
    fields = raw.collate([None] * rows, length, train=train)
    return Batch({name: fields}, {name: none}, {}, none, np.zeros(rows, np.int32))


def folder_of(where: str) -> Path:
    """The folder that features are kept in: of "auto", `mmjax/features` in the user's cache."""
    if where != "auto":
        return Path(where)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "mmjax" / "features"


def _own(variables: Variables, name: str) -> dict[str, Any]:
    """The encoder's variables."""
    key = f"encoders_{name}"
    own = {kind: tree[key] for kind, tree in variables.items() if key in tree}
    return {"params": {}, **own}


@functools.lru_cache(maxsize=8)
def _compiled(encoder: nn.Module, name: str, mesh: Mesh, train: bool) -> Callable[..., Any]:
    program = functools.partial(encode, encoder, name, train=train)
    return jax.jit(traced_on(mesh, program), out_shardings=replicated(mesh))
