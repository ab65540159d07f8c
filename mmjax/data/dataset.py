"""A table with its splits and fitted processors: what gives batches, and what a run keeps of it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core import config as typed
from mmjax.core.errors import ConfigError, DataError, code_name, nearest
from mmjax.core.files import write_json
from mmjax.core.typing import Int
from mmjax.data import lazy
from mmjax.data import splits as split_files
from mmjax.data.collate import Collator, Source
from mmjax.data.config import DataConfig, kind_of
from mmjax.data.config import targets as target_registry
from mmjax.data.joining import JoinReport
from mmjax.data.loader import Loader
from mmjax.data.modalities.base import Place, Processor
from mmjax.data.order import epoch_examples
from mmjax.data.quarantine import Quarantine
from mmjax.data.sampling import class_column
from mmjax.data.splits import Splits, codes
from mmjax.data.table import Table
from mmjax.data.targets.base import HasGroups, HasTexts, TargetProcessor, cell_of
from mmjax.data.together import Together

ALL = "all"
"""Every row of every split, in the order of the table."""

_IN_FINGERPRINT = ("batch_size", "modalities", "targets", "sampling")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows by split without the quarantined ones, and what turns them into batches.

    `columns` are those that each modality and target reads. Every data set has, besides its splits,
    one named "all".
    """

    config: DataConfig
    table: Table
    splits: Splits
    modalities: Mapping[str, Processor]
    targets: Mapping[str, TargetProcessor]
    columns: Mapping[str, tuple[str, ...]]
    quarantine: Quarantine
    joins: tuple[JoinReport, ...] = ()
    _lengths: dict[str, Int[np.ndarray, "row"]] = dataclasses.field(default_factory=dict)
    _grouped: dict[tuple[str, str], Int[np.ndarray, "n"]] = dataclasses.field(default_factory=dict)

    @property
    def facts(self) -> dict[str, dict[str, dict[str, Any]]]:
        """What models must know: `{"modalities": {name: facts}, "targets": {name: facts}}`."""
        return {
            "modalities": {name: one.facts for name, one in self.modalities.items()},
            "targets": {name: one.facts for name, one in self.targets.items()},
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes when the batches do: with the content, the splits, and the settings of rows."""
        settings = typed.to_json(self.config)
        kept = {key: settings[key] for key in _IN_FINGERPRINT if key in settings}
        digest = hashlib.sha256(json.dumps([self.table.fingerprint, kept], sort_keys=True).encode())
        for name, rows in sorted(self.splits.items()):
            digest.update(f"{name} {len(rows)} ".encode() + rows.astype("<i8").tobytes())
        return digest.hexdigest()

    def rows(self, split: str) -> Int[np.ndarray, "n"]:
        """The table rows of a split. Raises DataError for an unknown or empty one."""
        if split == ALL and ALL not in self.splits:
            return np.unique(np.concatenate(list(self.splits.values())))
        if split not in self.splits:
            raise DataError(
                222,
                f"no split '{split}'",
                where=self.table.name,
                fix=nearest(split, (*self.splits, ALL)),
            )
        if not len(self.splits[split]):
            raise DataError(
                222, f"the split '{split}' is empty", where=self.table.name, fix="choose another"
            )
        return self.splits[split]

    def ids(self, rows: Sequence[int] | Int[np.ndarray, "n"]) -> list[Any]:
        """What names each row: its cell in `id_column`, or its number."""
        if self.config.id_column is None:
            return [int(row) for row in rows]
        cells = self.table.column(self.config.id_column)
        return [cells[int(row)] for row in rows]

    def texts(self, rows: Sequence[int] | Int[np.ndarray, "n"]) -> dict[str, list[Any]]:
        """The rows' own texts by modality, as the table has them.

        Of a target that is text, `<target>/references` and the like (`targets.base.HasTexts`).
        """
        found: dict[str, list[Any]] = {}
        for name, spec in self.config.modalities.items():
            if kind_of(spec) == "text":
                cells = self.table.column(spec.options["column"])
                row_cells = (cells[int(row)] for row in rows)
                found[name] = [None if cell is None else str(cell) for cell in row_cells]
        for name, processor in self.targets.items():
            if isinstance(processor, HasTexts):
                columns = self.columns[name]
                own = [cell_of(self.table, columns, int(row)) for row in rows]
                places = [Place(self.table, int(row)) for row in rows]
                found |= {f"{name}/{k}": v for k, v in processor.texts(own, places).items()}
        return found

    def only(self, *names: str) -> Dataset:
        """The same rows, with some of the modalities."""
        for name in names:
            if name not in self.modalities:
                raise ConfigError(109, f"no modality '{name}'", fix=nearest(name, self.modalities))
        specs = {name: self.config.modalities[name] for name in names}
        return dataclasses.replace(
            self,
            config=dataclasses.replace(self.config, modalities=specs),
            modalities={name: self.modalities[name] for name in names},
        )

    def epoch_examples(self, split: str, *, batch_size: int | None = None) -> int:
        """Training examples of one epoch: the rows of a split, unless they are a mixture's.

        Of groups that stay together, the places of their batches, the empty ones too.
        """
        rows, groups = self.rows(split), self._groups(split)
        if groups is None:
            return epoch_examples(self.table, rows)
        size = batch_size or self.config.batch_size
        return Together(rows, groups, size, seed=0).batches * size

    def steps_per_epoch(self, split: str, *, batch_size: int | None = None) -> int:
        """Batches of one epoch, which hold every row of a split at least once.

        A mixture's epoch may end, if it is so set, with the first part that was seen whole.
        """
        size = batch_size or self.config.batch_size
        return -(-self.epoch_examples(split, batch_size=size) // size)

    def loader(
        self,
        split: str,
        *,
        train: bool,
        seed: int = 0,
        start: int = 0,
        process_index: int = 0,
        process_count: int = 1,
        batch_size: int | None = None,
        ahead: int = 1,
    ) -> Loader:
        """Batches `start`, `start` + 1, ... of a split; `Loader` says what they are.

        `batch_size` is global; `config.batch_size`, or `eval_batch_size` in evaluation, if None.
        `config.prefetch` batches are made before they are asked for, `ahead` at least.
        """
        config, rows = self.config, self.rows(split)
        if not 0 <= process_index < process_count:
            raise ConfigError(
                112, f"process {process_index} of {process_count}", fix="count from 0"
            )
        size = config.batch_size if train else config.eval_batch_size or config.batch_size
        collator = Collator(
            table=self.table,
            modalities={n: Source(one, self.columns[n]) for n, one in self.modalities.items()},
            targets={n: Source(one, self.columns[n]) for n, one in self.targets.items()},
            seed=seed if train else None,
            lengths={
                n: self._row_lengths(n) for n, one in self.modalities.items() if one.padded_lengths
            },
            process_index=process_index,
            process_count=process_count,
            quarantine=self.quarantine if self.table.lazy else None,
        )
        return Loader(
            collator,
            rows,
            batch_size=batch_size or size,
            fingerprint=self.fingerprint,
            start=start,
            threads=config.threads,
            workers=config.workers,
            prefetch=max(config.prefetch, ahead),
            groups=self._groups(split) if train else None,
            classes=self._classes(split) if train else None,
            power=config.sampling.power if config.sampling else 0.0,
        )

    def _classes(self, split: str) -> Int[np.ndarray, "n"] | None:
        """The number of each row's class; None if they train as they come."""
        setting, where = self.config.sampling, "data.sampling"
        if setting is None:
            return None
        if self.table.mixture is not None or self._groups(split) is not None:
            what = "a mixture of tables" if self.table.mixture is not None else "whole groups"
            raise ConfigError(109, f"sampling by class of {what}", where=where, fix="leave it out")
        if (where, split) not in self._grouped:
            rows = self.rows(split)
            if self.table.lazy:
                lazy.require_few(self.table, len(rows), where)
            built = {n: target_registry.build(spec) for n, spec in self.config.targets.items()}
            column = class_column(self.config, setting, built, where)
            self._grouped[where, split] = codes(self.table, column, rows)
        return self._grouped[where, split]

    def _groups(self, split: str) -> Int[np.ndarray, "n"] | None:
        """The number of each row's group; None if no target says that rows belong together."""
        all_ = self.targets.items()
        wanted = {n: one for n, one in all_ if isinstance(one, HasGroups) and one.together}
        if not wanted:
            return None
        name, processor = next(iter(wanted.items()))
        where = f"data.targets.{name}.together"
        if len(wanted) > 1 or self.table.mixture is not None:
            what = "a mixture of tables" if len(wanted) == 1 else f"targets {list(wanted)}"
            raise ConfigError(109, f"batches of whole groups of {what}", where=where, fix="false")
        if (name, split) not in self._grouped:
            rows = self.rows(split)
            if self.table.lazy:
                lazy.require_few(self.table, len(rows), where)
            cells = ((row, cell_of(self.table, self.columns[name], row)) for row in rows.tolist())
            found = [processor.group(cell, Place(self.table, row)) for row, cell in cells]
            self._grouped[name, split] = np.array(found, np.int64)
        return self._grouped[name, split]

    def _row_lengths(self, modality: str) -> Int[np.ndarray, "row"]:
        if modality not in self._lengths:
            rows = self.rows(ALL)
            lengths = np.zeros(len(self.table), np.int32)
            if self.table.lazy:
                lazy.require_few(self.table, len(rows), f"data.modalities.{modality}.lengths")
                lengths[rows] = lazy.lengths(self.modalities[modality], self.table, rows)
            else:
                lengths[rows] = self.modalities[modality].lengths(self.table, rows)
            self._lengths[modality] = lengths
        return self._lengths[modality]

    def summary(self) -> dict[str, Any]:
        """JSON values: rows by split and label, what was left out, what each join matched."""
        codes = Counter(code_name(bad.code) for bad in self.quarantine.found)
        return {
            "table": self.table.name,
            "rows": len(self.table) + len(self.table.bad),
            "used": len(self.rows(ALL)),
            "quarantined": len(self.quarantine.found),
            "quarantined_by_code": dict(sorted(codes.items())),
            "splits": {name: len(rows) for name, rows in self.splits.items()},
            "labels": {name: self._label_counts(name) for name in self.targets},
            "joins": [dataclasses.asdict(report) for report in self.joins],
        }

    def _label_counts(self, target: str) -> dict[str, dict[str, int]]:
        processor, columns = self.targets[target], self.columns[target]
        names = processor.facts.get("label_names", ())
        counts = {}
        for split, rows in self.splits.items():
            if self.table.lazy or not names:
                continue
            found: Counter[int] = Counter()
            for row in rows.tolist():
                cell = cell_of(self.table, columns, row)
                one = processor.encode(cell, Place(self.table, row))
                found.update(one if isinstance(one, tuple) else (one,))
            counts[split] = {name: found.get(i, 0) for i, name in enumerate(names)}
        return counts

    def save(self, folder: Path) -> None:
        """Everything but the rows: processors, splits, `quarantine.jsonl`, fingerprints."""
        for kind, processors in (("modalities", self.modalities), ("targets", self.targets)):
            for name, processor in processors.items():
                processor.save(folder / kind / name)
        split_files.save(self.splits, self.table, folder / "splits.json")
        self.quarantine.save(folder / "quarantine.jsonl")
        # Last, since it is what says that the folder is whole.
        write_json(
            folder / "data.json",
            {"table": self.table.fingerprint, "fingerprint": self.fingerprint},
        )
