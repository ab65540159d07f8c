"""One page of one run or of several, with everything that there is to see of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmjax.api import comparing, data_looks, embedding_maps, subsets
from mmjax.api.embedding_maps import Projection
from mmjax.api.evaluating import baselines
from mmjax.api.measured import Measured, intervals
from mmjax.api.reporting import title_of, write_run_report
from mmjax.api.run import Run, load_run
from mmjax.core.errors import ConfigError
from mmjax.data.dataset import ALL
from mmjax.report import comparisons

RESAMPLES = 200
Told = Callable[[int, int], None]
"""Called with the parts that are done, and how many there are."""


def report(
    *runs: Run | str | os.PathLike,
    data: Any = None,
    split: str | None = None,
    root: str | None = None,
    out: str | os.PathLike | None = None,
    every_subset: bool = True,
    projection: Projection = "pca",
    resamples: int = RESAMPLES,
    seed: int = 0,
    told: Told | None = None,
) -> Path:
    """Writes `report.html` of a run, or of several beside each other, and returns its path.

    What the page of `evaluate` has, and 95 % intervals of all metrics from `resamples` of the rows,
    what leaks between splits, the metrics of `every_subset` of the modalities, and where the rows
    lie in the space of the model (`projection`: "pca", or "umap" with the extra of that name). Of
    several runs, the page is about the first; the others are set against it with paired tests on
    the same rows.

    Rows are those of `split`: the test rows of the runs' own data, or of `data` all. The page goes
    to `out`, by default the folder of the only run; of several runs `out` must be given. Raises
    ConfigError for none, and what `compare` raises for runs that cannot be compared.
    """
    if not runs:
        raise ConfigError(106, "no run to report on", fix="name one or more")
    if len(runs) > 1 and out is None:
        raise ConfigError(105, "several runs in one report", fix="say --out, a folder for it")
    opened = [one if isinstance(one, Run) else load_run(one) for one in runs]
    run, part = opened[0], split or ("test" if data is None else ALL)
    if any(one.config.objectives for one in opened) and len(opened) > 1:
        raise ConfigError(109, "runs of objectives beside each other", fix="report on each alone")
    names = comparing.names_of(opened) if len(opened) > 1 else [title_of(run.config)]
    dataset = run.dataset(data, root=root, labels=True)
    evaluation = run.evaluate_dataset(dataset, part)
    work = 5 + len(opened)
    done = iter(range(1, work + 1))

    def finished() -> None:
        if told is not None:
            told(next(done, work), work)

    finished()
    evaluations = {names[0]: evaluation}
    measured = [] if run.config.objectives else [Measured(names[0], run, dataset, evaluation)]
    for name, one in zip(names[1:], opened[1:], strict=True):
        other = one.dataset(data, root=root, labels=True)
        evaluations[name] = one.evaluate_dataset(other, part)
        measured.append(Measured(name, one, other, evaluations[name]))
        finished()
    more: dict[str, Any] = {
        "leaks": None if dataset.table.lazy else data_looks.leaked(dataset),
        "maps": embedding_maps.maps(run, evaluation, dataset, part, projection=projection),
    }
    finished()
    if measured:
        more["metric_intervals"] = {
            one.name: intervals(one, resamples=resamples, seed=seed) for one in measured
        }
    finished()
    if len(measured) > 1:
        more["paired"] = _paired(measured, part, resamples, seed)

    elif measured and data is None and part == "test":
        for name, one in baselines(run).items():
            other = one.dataset(labels=True)
            found = one.evaluate_dataset(other, part)
            own = Measured(f"{name} alone", one, other, found)
            evaluations[own.name] = found
            more["metric_intervals"][own.name] = intervals(own, resamples=resamples, seed=seed)
    finished()
    several = 2 <= len(run.config.model.encoders) <= subsets.MOST
    if every_subset and several and not run.config.objectives:
        scores = subsets.all_subsets(run, data, split=part, root=root)
        more["modalities"] = scores.as_json()
    finished()
    title = names[0]
    others = {name: one for name, one in evaluations.items() if name != title}
    folder = run.folder.path if out is None else Path(out)
    path = write_run_report(
        run,
        evaluation,
        dataset,
        split=part,
        others=others,
        folder=folder,
        title=title,
        more=more,
    )
    finished()
    return path


def _paired(measured: Sequence[Measured], split: str, resamples: int, seed: int) -> str:
    found = comparing.compare_measured(measured, split=split, resamples=resamples, seed=seed)
    return comparisons.section(
        found.runs,
        comparing.lines_of(found),
        level=found.level,
        tests=comparing.tests_of(found),
    )
