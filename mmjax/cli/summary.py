"""What a finished run shows: one table, and where everything is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmjax.api import before_after
from mmjax.api.cross_validation import CrossValidation
from mmjax.api.reporting import usage
from mmjax.api.run import Run
from mmjax.api.training import comparison, spread
from mmjax.writers.console import say, table

_SHOWN = {"macro_f1": "macro-F1", "micro_f1": "micro-F1"}
_MORE = ("map", "lrap", "subset_accuracy", "ap", "auroc")
"""What else is told where there are classes or labels."""
_OF_SEEDS = ("weighted_f1", "map", "spearman", "log_loss", "ece")
_MOST_CLASSES = 40
"""A table of more helps nobody; they are in the report."""


def _cells(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def results(
    models: Mapping[str, Mapping[str, float]],
    title: str,
    headline: Sequence[str] = ("accuracy", "macro_f1"),
) -> None:
    """The headline of each model, then precision / recall / F1 of each class or label.

    Where no class has these, all metrics that are not one class's or target's own.
    """
    names = list(models)
    found = models[names[-1]]
    classes = [k.removeprefix("f1/") for k in found if k.startswith("f1/")]
    shown = [*headline, *_MORE] if classes else [*headline, *(k for k in found if "/" not in k)]
    shown = [metric for metric in dict.fromkeys(shown) if metric in found]
    rows = [
        [_SHOWN.get(metric, metric), *(_cells(models[name].get(metric)) for name in names)]
        for metric in shown
    ]
    for one in classes if len(classes) <= _MOST_CLASSES else ():
        cells = [
            " / ".join(_cells(models[n].get(f"{m}/{one}")) for m in ("precision", "recall", "f1"))
            for n in names
        ]
        rows.append([f"{one}  P / R / F1", *cells])
    table(rows, ["", *names], title)


def objectives(run: Run, found: Mapping[str, float | None], split: str) -> None:
    """The loss of each objective, and retrieval in the joint space both ways."""
    shown = [name for name in found if name.endswith(("loss", "perplexity", "accuracy"))]
    ranks = ("recall@1", "recall@10", "median_rank", "queries")
    shown += [name for name in found if name.rpartition("/")[2] in ranks]
    rows = [[name, _cells(found[name])] for name in dict.fromkeys(shown)]
    table(rows, ["", split], f"{run.folder.path.name}, {split} rows")


def _objectives_used(run: Run, split: str) -> None:
    say(f"run folder  {run.folder.path}")
    say(f"report      {run.folder.report}")
    say("use it:")
    say(f"  mmjax embed {run.folder.path} --split {split} --out embeddings.npz")
    say(f'  mmjax search {run.folder.path} --index embeddings.npz --query "..."')


def finished(run: Run) -> None:
    """The end of a training command."""
    split = list(run.metrics)[-1]
    if run.config.objectives:
        objectives(run, run.metrics[split], split)
        _objectives_used(run, split)
        return
    results(comparison(run), f"{run.folder.path.name}, {split} rows", run.module.task.headline)
    for line in before_after.lines(run):
        say(line)
    say(f"run folder  {run.folder.path}")
    say(f"report      {run.folder.report}")
    say(f"plots       {run.folder.path / 'plots'}")
    say("use it:")
    for line in usage(run):
        say(f"  {line}")


def seeds(runs: Sequence[Run], workdir: str) -> None:
    """Mean and sample standard deviation of several seeds."""
    summary = spread(runs)
    metrics = (*runs[0].module.task.headline, *_OF_SEEDS)
    known = {name for found in summary.values() for name in found}
    rows = []
    for metric in (name for name in dict.fromkeys(metrics) if name in known):
        cells = []
        for model in summary:
            found = summary[model].get(metric)
            if found is None:
                cells.append("-")
            elif found["spread"] is None:
                cells.append(f"{found['mean']:.4f}")
            else:
                cells.append(f"{found['mean']:.4f} ± {found['spread']:.4f}")
        rows.append([metric, *cells])
    table(rows, ["mean ± sd", *summary], f"{len(runs)} seeds")
    say(f"runs        {', '.join(str(run.folder.path) for run in runs)}")
    say(f"summary     {workdir}/seeds.json")


def folds(found: CrossValidation, count: int) -> None:
    """Mean and sample standard deviation over folds, and which are still being trained."""
    rows = [
        [name, f"{one['mean']:.4f} ± {one['spread'] or float('nan'):.4f}", *one["values"]]
        for name, one in found.summary().items()
        if "/" not in name
    ]
    done = len(found.metrics)
    columns = ["mean ± sd", "", *(f"fold {fold + 1}" for fold in range(done))]
    table(rows, columns, f"{done} of {count} folds")
    if found.unfinished:
        left = ", ".join(str(fold + 1) for fold in found.unfinished)
        say(f"fold {left}: another process is at it; the last one to finish sums up")
        return
    say(f"summary      {found.folder}/cv.json")
    say(f"report       {found.folder}/report.html")
    say(f"predictions  {found.folder}/out_of_fold.jsonl")
