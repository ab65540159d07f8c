"""A run that learns from new rows without losing the old: tuned, compared, promoted or not."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.api.comparing import Comparison, compare_measured, lines_of, tests_of
from mmjax.api.exporting import export
from mmjax.api.measured import Measured
from mmjax.api.reporting import title_of
from mmjax.api.run import Run, load_run
from mmjax.api.training import complete, keeping
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import write_json
from mmjax.core.registry import Spec
from mmjax.data import manifest
from mmjax.data.config import targets as target_registry
from mmjax.data.dataset import Dataset
from mmjax.data.folds import dealt_by
from mmjax.data.pipeline import prepare
from mmjax.data.splits import MADE, Splits, make_splits
from mmjax.export.pointer import point
from mmjax.report import comparisons, pages
from mmjax.report.html import escape
from mmjax.train.config import Config, InitConfig
from mmjax.train.features import Features
from mmjax.train.selection import mode_of
from mmjax.train.trainer import fit as fit_run

PROMOTION, PAGE, EXPORTED = "promotion.json", "promotion.html", "exported"

_SLOWER = 0.1
"""Of the learning rate that the run had, unless it is given."""
_PATIENCE = 3


@dataclasses.dataclass(frozen=True)
class Continued:
    """A candidate beside the run that it goes on from."""

    run: Run
    metric: str
    promoted: bool
    why: str
    new: Comparison
    """On the new rows that were held out."""
    old: Comparison | None
    """On the old test rows; None where there are none."""
    exported: Path | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "promoted": self.promoted,
            "why": self.why,
            "new": self.new.as_json(),
            "old": None if self.old is None else self.old.as_json(),
            "exported": None if self.exported is None else str(self.exported),
        }


def continue_run(
    run: Run | str | os.PathLike,
    data: str | os.PathLike,
    workdir: str | os.PathLike,
    *,
    root: str | None = None,
    replay: float = 0.5,
    tolerance: float = 0.02,
    settings: Sequence[str] = (),
    served: str | os.PathLike | None = None,
    resamples: int = 1000,
) -> Continued:
    """A new run in `workdir` that goes on from `run` with the rows of `data`, and whether it is
    to be promoted.

        found = mmjax.continue_run("runs/first", "new.csv", "runs/second", served="served.json")

    New rows are split as the run's were. The share `replay` of the training examples are old
    training rows, so that what was learnt stays; validation rows, by which it stops early, and test
    rows are those of old and new together. Processors, labels and scales are the run's own. It
    learns at a tenth of the run's rate; `settings` such as "train.duration=2 epochs" change that
    and the rest.

    The candidate is promoted if, in the task's first metric, it is better than the run on the new
    test rows, and on the old ones not worse by more than `tolerance`, by the lower end of the 95 %
    interval of paired resamples (`mmjax.compare`). What was found is written to `promotion.json`
    and `promotion.html`. With `served`, a promoted candidate is exported to `workdir/exported`, and
    the pointer names it from then on.

    Raises DataError for a run whose own data are not there, and for new rows with labels that it
    does not know; ConfigError for settings that are none.
    """
    old = run if isinstance(run, Run) else load_run(run)
    if not 0 <= replay < 1 or tolerance < 0:
        raise ConfigError(
            106, f"replay = {replay}, tolerance = {tolerance}", fix="0 to below 1; 0 or more"
        )
    if not isinstance(data, (str, os.PathLike)):
        raise ConfigError(106, f"data of type {type(data).__name__}", fix="a manifest's path")
    if old.config.data.source.name == "frame":
        raise DataError(
            201,
            "the run was trained on a DataFrame, which it does not keep: nothing old to replay",
            where=str(old.folder.path),
            fix="train it on a manifest: frame.to_parquet('data.parquet') writes one",
        )
    known = old.dataset(labels=True)
    config = config_lib.override(_config(old, data, root, replay), settings)
    dataset = _together(old, known, config, replay)
    title, kept = f"{title_of(config)}, continued", dict[str, Features]()
    fit_run(config, Path(workdir), dataset=dataset, title=title, built=keeping(kept))
    candidate = load_run(workdir)
    complete(candidate, kept=kept)
    found = _judged(old, candidate, dataset, len(known.table), tolerance, resamples)
    if found.promoted and served is not None:
        exported = export(candidate, candidate.folder.path / EXPORTED)
        point(served, exported)
        found = dataclasses.replace(found, exported=exported)
    write_json(candidate.folder.path / PROMOTION, found.as_json())
    pages.write_page(candidate.folder.path / PAGE, _page(found))
    return found


def _config(old: Run, data: str | os.PathLike, root: str | None, replay: float) -> Config:
    """The run's config over both tables, starting from its weights, more slowly."""
    config = old.config
    source, new = config.data.source, manifest.source_for(data, root)
    sources: dict[str, Spec] = {"old": source}
    if source.name == "mixture":
        sources = dict(source.options["sources"])
    weights = {}
    if replay:
        shares = dict(source.options.get("weights") or dict.fromkeys(sources, 1.0))
        whole = sum(shares.values())
        weights = {name: replay * share / whole for name, share in shares.items()}
    name = f"new_{len(sources)}"
    both = Spec(
        "mixture",
        sources={**sources, name: new},
        weights={**weights, name: 1 - replay} if weights else {},
    )
    patience = config.train.early_stopping_patience or _PATIENCE
    slower = config.optimizer.learning_rate * _SLOWER
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, source=both, few_shot=None),
        init=InitConfig(run=str(old.folder.path), step=old.step),  # type: ignore[arg-type]
        optimizer=dataclasses.replace(config.optimizer, learning_rate=slower),
        train=dataclasses.replace(config.train, early_stopping_patience=patience),
    )


def _together(old: Run, known: Dataset, config: Config, replay: float) -> Dataset:
    """Old and new rows with the run's processors: old ones in the splits that they were in."""
    processors = old.folder.processors
    source = list(config.data.source.options["sources"].values())[-1]
    table, _ = manifest.load(dataclasses.replace(config.data, source=source))
    wanted = {n: target_registry.build(spec) for n, spec in config.data.targets.items()}
    label, group = dealt_by(config.data.split, wanted)
    column = config.data.split.column
    split = dataclasses.replace(
        config.data.split, group=group, column=column if column in table.columns else None
    )
    new = make_splits(table, split, label)
    splits: Splits = {}
    for name in MADE:
        own = known.splits.get(name, np.zeros(0, np.int64))
        if name == "train" and not replay:
            own = own[:0]
        added = new.get(name, np.zeros(0, np.int64)) + len(known.table)
        splits[name] = np.concatenate([own, added])
    return prepare(config.data, processors_folder=processors, targets="required", splits=splits)


def _judged(
    old: Run, new: Run, dataset: Dataset, first: int, tolerance: float, resamples: int
) -> Continued:
    test = dataset.splits["test"]
    parts = {"new": test[test >= first], "old": test[test < first]}
    if not len(parts["new"]):
        parts["new"] = dataset.splits["validation"][dataset.splits["validation"] >= first]
    if not len(parts["new"]):
        raise DataError(222, "no new row is held out to be judged by", fix="give more new rows")
    marked = dataclasses.replace(dataset, splits={**dataset.splits, **parts})
    task: Any = new.module.task
    found: dict[str, Comparison] = {}
    metric = ""
    for part, rows in parts.items():
        if not len(rows):
            continue
        both = [
            Measured(name, run, marked, run.evaluate_dataset(marked, part))
            for name, run in (("before", old), ("candidate", new))
        ]
        common = [one for one in both[0].metrics if one in both[1].metrics]
        metric = next((one for one in task.headline if one in common), common[0])
        found[part] = compare_measured(both, split=part, resamples=resamples)
    promoted, why = _decided(found["new"], found.get("old"), metric, tolerance)
    return Continued(new, metric, promoted, why, found["new"], found.get("old"))


def _decided(
    new: Comparison, old: Comparison | None, metric: str, tolerance: float
) -> tuple[bool, str]:
    sign = -1.0 if mode_of(metric) == "min" else 1.0
    gain = next(one for one in new.compared if one.metric == metric)
    better = sign * gain.difference.value
    told = f"on new rows {metric} went from {gain.first:.4f} to {gain.value:.4f}"
    if not better > 0:
        return False, f"{told}, which is not better"
    if old is None:
        return True, f"{told}; there are no old test rows"
    kept = next(one for one in old.compared if one.metric == metric)
    ends = (sign * kept.difference.low, sign * kept.difference.high)
    told = f"{told}; on old rows from {kept.first:.4f} to {kept.value:.4f}"
    if not min(ends) >= -tolerance:
        return False, f"{told}, and may be worse by {-min(ends):.4f}, over {tolerance:g}"
    return True, told


def _page(found: Continued) -> str:
    """Both comparisons on one page, after the verdict."""

    def section(one: Comparison | None) -> str | None:
        if one is None:
            return None
        return comparisons.section(one.runs, lines_of(one), level=one.level, tests=tests_of(one))

    verdict = "Promoted" if found.promoted else "Rejected"
    return pages.frame(
        f"{verdict}: {found.run.folder.path.name}",
        [("new", "New rows", section(found.new)), ("old", "Old rows", section(found.old))],
        headline=f'<div class="headline"><p class="about">{escape(found.why)}</p></div>',
    )
