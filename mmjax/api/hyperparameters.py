"""Searching the settings of a config: trials, the best of them, and an honest estimate of it."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from mmjax.api.cross_validation import begin, fold_splits, measure_fold, prepared, with_all_names
from mmjax.api.evaluating import strict
from mmjax.api.study import Pruner, Record, Sampler, Study, Trial, alone
from mmjax.api.trials import Objective, Pruned, Training, free_folder
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, MMJaxError, Preempted, TransientError
from mmjax.core.files import read_json, write_json
from mmjax.core.space import Space, applied, check_space, space_to_json
from mmjax.data.splits import Splits
from mmjax.metrics import mean_and_spread
from mmjax.parallel.distributed import initialize
from mmjax.report import studies
from mmjax.report.pages import write_page
from mmjax.train.config import Config
from mmjax.train.selection import mode_of
from mmjax.train.warm_start import with_encoders

log = logging.getLogger(__name__)

_HELD = "held_out.json"

Told = Callable[[Record, Record | None], None]
"""Called with a trial that has ended, and the best so far."""

_PAUSE = 0.2
"""Seconds between two looks at what other processes are at."""
_IN_A_ROW = 3
"""Failures of a search's first trials after which the last one is raised."""


@dataclasses.dataclass(frozen=True)
class Search:
    """A search as it stands on disk."""

    folder: Path
    metric: str
    trials: tuple[Record, ...]
    best: Record | None
    config: Config | None
    """That of the best trial, as `best.json` holds it."""
    estimate: Mapping[str, Any] | None = None
    """Of a nested search: `{metric: {"mean", "spread", "values"}}` on rows that chose nothing."""


def tune(
    config: Config,
    space: Space,
    workdir: str | os.PathLike,
    *,
    trials: int = 20,
    sampler: Sampler = "tpe",
    pruner: Pruner = "median",
    folds: int = 0,
    nested: int = 0,
    seed: int = 0,
    resume: bool = False,
    storage: str | None = None,
    keep_checkpoints: bool = False,
    frame: Any = None,
    objective: Objective | None = None,
    told: Told | None = None,
) -> Search:
    """Looks for the settings of `space` with the best `train.best_metric` on validation rows.

    A trial is a training in `workdir/trial_<n>`, or one for each of `folds`; `objective` may say
    otherwise. `sampler` proposes points ("tpe": by those tried, Bergstra et al. 2011; "grid": all
    of them, whatever `trials` says), `pruner` ends what is worse on the way ("median": than the
    median of the others at that step; "halving": successive halving, Li et al. 2020). Test rows
    have no part in it. A search is stopped and resumed at will, and several processes and hosts may
    work in one folder: with `resume`, finished trials stay, what a dead process was at is tried
    again from its last checkpoint, and no point is tried twice. `storage` is `Study`'s.

    `best.json` is the best config, ready for `mmjax train`; `report.html` shows the search and
    `trials.json` lists it. Of finished trials but the best, checkpoints are removed unless
    `keep_checkpoints`. With `nested`, the search is first made in that many outer folds of all
    rows, each time without the held-out ones, which then measure what it found
    (Varma and Simon 2006).

    Raises ConfigError for a space with what is no setting, and without validation rows;
    CheckpointError for a folder in use without `resume`; MissingExtra without Optuna; what the
    first trials raised, if all of them failed.
    """
    initialize()
    config = config_lib.check(config)
    check_space(config, space)
    if trials < 1 or folds < 0 or folds == 1 or nested < 0 or nested == 1:
        raise ConfigError(
            106,
            f"trials = {trials}, folds = {folds}, nested = {nested}",
            fix="1 or more trials; folds from 2 on, or none",
        )
    if jax.process_count() > 1:
        raise ConfigError(
            112, "one search over several processes of one mesh", fix="start each by itself"
        )
    folder = Path(workdir)
    plan = {
        "space": space_to_json(space),
        "sampler": sampler,
        "pruner": pruner,
        "folds": folds,
        "nested": nested,
        "seed": seed,
        "config": config_lib.to_json(config),
    }
    begin(folder / "plan.json", plan, resume=resume)
    how = _How(space, trials, sampler, pruner, folds, seed, storage, keep_checkpoints, frame, told)
    estimate = _nested(config, folder, nested, how) if nested else None
    return _search(config, folder, how, plan, objective=objective, estimate=estimate)


@dataclasses.dataclass(frozen=True)
class _How:
    """What searches within one command share."""

    space: Space
    trials: int
    sampler: Sampler
    pruner: Pruner
    folds: int
    seed: int
    storage: str | None
    keep_checkpoints: bool
    frame: Any
    told: Told | None


def _search(
    config: Config,
    folder: Path,
    how: _How,
    plan: Mapping[str, Any],
    *,
    objective: Objective | None = None,
    splits: Splits | None = None,
    estimate: Mapping[str, Any] | None = None,
    wait: bool = False,
) -> Search:
    """With `wait`, other processes' trials have ended too when this returns."""
    metric = config.train.best_metric
    lower = mode_of(metric) == "min"
    study = Study(
        folder,
        how.space,
        lower=lower,
        sampler=how.sampler,
        pruner=how.pruner,
        seed=how.seed,
        storage=how.storage,
    )
    failed: list[BaseException] = []
    while True:
        trial = study.claim(how.trials)
        if trial is None and wait and any(one.state == "running" for one in study.records()):
            time.sleep(_PAUSE)
            continue
        if trial is None:
            break
        if objective is None:
            training = Training(folds=how.folds, splits=splits, frame=how.frame)
            try:
                training.check(with_encoders(config))
            except BaseException:
                trial.release("the search stopped")
                raise
            objective = training
        error = _try(study, trial, config, folder, how.space, objective)
        failed = [*failed, error] if error is not None else failed
        records = study.records()
        best = study.best(records)
        if len(failed) >= _IN_A_ROW and best is None:
            raise failed[-1]
        _write(records, best, config, folder, how.space)
        if not how.keep_checkpoints:
            _remove_checkpoints(folder, records, best)
        if how.told is not None:
            how.told(records[trial.number], best)
    records = study.records()
    found = _write(records, study.best(records), config, folder, how.space)
    found = dataclasses.replace(found, estimate=estimate)
    write_page(folder / "report.html", _page(found, study, plan, lower))
    return found


def _try(
    study: Study, trial: Trial, config: Config, folder: Path, space: Space, objective: Objective
) -> BaseException | None:
    """Ends the trial, with its value if it has one; what it failed of, if it is its point's own."""
    known = study.same_as(trial.number, trial.params)
    if known is not None and known.value is not None:
        trial.complete(known.value, f"as trial {known.number}")
        return None
    try:
        changed = applied(config, space, trial.params)
        value = objective(changed, free_folder(folder / trial.folder), trial.report)
        trial.complete(value)
    except Pruned:
        trial.prune()
    except (Preempted, TransientError, KeyboardInterrupt) as error:
        trial.release(str(error) or "interrupted")
        raise
    except (MMJaxError, jax.errors.JaxRuntimeError) as error:
        # A point may be too large, or diverge: the search goes on without it.
        note = " ".join(str(error).split())[:500]
        log.warning("trial %d failed: %s", trial.number, note)
        trial.fail(note)
        return error
    except BaseException:
        trial.release("an unknown error")
        raise
    return None


def _write(
    records: list[Record], best: Record | None, config: Config, folder: Path, space: Space
) -> Search:
    """`trials.json` and `best.json` as the search stands."""
    metric = config.train.best_metric
    shown = [one for one in records if not one.again]
    listed = [dataclasses.asdict(one) for one in shown]
    for one in listed:
        one["curve"] = strict(one["curve"])
    write_json(
        folder / "trials.json",
        {
            "metric": metric,
            "best": None if best is None else best.number,
            "trials": listed,
        },
    )
    found = None
    if best is not None:
        found = applied(config, space, best.params)
        write_json(folder / "best.json", config_lib.to_json(found))
    return Search(folder, metric, tuple(shown), best, found)


def _remove_checkpoints(folder: Path, records: list[Record], best: Record | None) -> None:
    for one in records:
        over = one.state in ("complete", "pruned") and one.folder
        if over and (best is None or one.folder != best.folder):
            for path in (folder / one.folder).glob("**/checkpoints"):
                shutil.rmtree(path, ignore_errors=True)


def _nested(config: Config, folder: Path, count: int, how: _How) -> dict[str, Any]:
    """What the search finds in each outer fold, measured on the rows that it was not told of.

    Processes share the searches of all folds, and then the folds that are to be measured.
    """
    whole = prepared(with_encoders(config), how.frame)
    named = with_all_names(config, whole)
    inside = dataclasses.replace(how, storage=None)
    folds = list(enumerate(fold_splits(whole, count)))

    def search(fold: int, splits: Splits, *, wait: bool) -> Search:
        plan = {"outer fold": f"{fold + 1} of {count}"}
        inner = {name: rows for name, rows in splits.items() if name != "test"}
        return _search(named, folder / f"outer_{fold}", inside, plan, splits=inner, wait=wait)

    def measure(fold: int, splits: Splits) -> None:
        path = folder / f"outer_{fold}"
        chosen = search(fold, splits, wait=True).config
        if chosen is None:
            raise ConfigError(109, "no trial of an outer fold came to a result", fix="more")
        measured = measure_fold(
            with_encoders(chosen), path / "chosen", how.frame, splits, f"outer {fold + 1}"
        )
        write_json(path / _HELD, strict(measured))

    def done(fold: int) -> bool:
        return (folder / f"outer_{fold}" / _HELD).is_file()

    for fold, splits in folds:
        if not done(fold):
            search(fold, splits, wait=False)
    # What another process measures is waited for only when there is nothing else to do.
    for patient in (False, True):
        for fold, splits in folds:
            with alone(folder / f"outer_{fold}" / "measure.lock", patient=patient) as mine:
                if mine and not done(fold):
                    measure(fold, splits)
    results = [read_json(folder / f"outer_{fold}" / _HELD) for fold, _ in folds]
    estimate = {}
    for name in results[0]:
        values = [one[name] for one in results if one.get(name) is not None]
        if len(values) == count:
            mean, spread = mean_and_spread(values)
            estimate[name] = {"mean": mean, "spread": spread, "values": values}
    write_json(folder / "nested.json", {"folds": count, "metrics": estimate})
    return estimate


def _page(found: Search, study: Study, plan: Mapping[str, Any], lower: bool) -> str:
    estimate = ""
    if found.estimate and found.metric in found.estimate:
        one = found.estimate[found.metric]
        estimate = (
            f"nested estimate {one['mean']:.4f} ± {one['spread']:.4f} on rows that chose nothing"
        )
    return studies.search_page(
        found.folder.resolve().name,
        [
            studies.Trial(one.number, one.state, one.value, one.params, one.curve, one.note)
            for one in found.trials
        ],
        metric=found.metric,
        lower=lower,
        best=None if found.best is None else found.best.number,
        importance=study.importance(),
        settings={name: value for name, value in plan.items() if name != "config"},
        folder=str(found.folder),
        estimate=estimate,
    )
