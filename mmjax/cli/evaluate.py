"""Measure a run on a split or on other data; writes metrics and a report.

On the run's own data, RUN/metrics.json is renewed. On other data, the metrics and the report go to
--out, which is RUN/evaluations/<name of the manifest> unless given.

With --degrade, the task's headline metrics are measured as each modality is made worse step by step
(noise, blur, dropped words, missing frames, ...) and written as curves, with relative robustness
(the share of the clean score that stays on average) and, against --reference, effective robustness,
to RUN/robustness or --out, and shown in the report:

    mmjax evaluate RUN --degrade
    mmjax evaluate RUN --degrade image text/dropped_words --levels 0.5 1 --reference OTHER_RUN

With --modalities all-subsets, they are measured with every subset of the modalities left, the empty
one too, and what each modality adds is told by its exact Shapley value; to RUN/modalities or --out:

    mmjax evaluate RUN --modalities all-subsets

With --by, the rows are told apart by columns (one of numbers by its thirds), and each group's
accuracy and calibration, the gaps between groups, their intervals and their chance are written to
RUN/subgroups or --out, shown in the report, and go into the model card of later exports:

    mmjax evaluate RUN --by language age
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmjax.api.run import Run


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--split", help="train, validation, test (the default) or all")
    parser.add_argument("--data", help="another manifest; all its rows unless --split says which")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--out", help="the folder for the metrics and the report")
    parser.add_argument("--step", default="best", help="best, latest, or a checkpoint's step")
    parser.add_argument(
        "--degrade",
        nargs="*",
        metavar="MODALITY[/WAY]",
        help="make these modalities worse, or all of them, and write how the metrics hold",
    )
    parser.add_argument(
        "--levels",
        nargs="+",
        type=float,
        metavar="SEVERITY",
        help="how much worse, above 0 and to 1 (0.2 0.4 0.6 0.8 1)",
    )
    parser.add_argument("--reference", metavar="RUN", help="the run to be more robust than")
    parser.add_argument("--seed", type=int, default=0, help="of the noise and of what is dropped")
    parser.add_argument(
        "--modalities", choices=("all-subsets",), help="measure with every subset of them"
    )
    parser.add_argument("--by", nargs="+", metavar="COLUMN", help="compare groups of rows")


def run(args: argparse.Namespace) -> int:
    from mmjax.api.evaluating import evaluate_into
    from mmjax.api.run import load_run
    from mmjax.cli import summary
    from mmjax.core.errors import ConfigError
    from mmjax.writers.console import say

    if args.degrade is None and (args.levels or args.reference or args.seed):
        raise ConfigError(100, "--levels, --reference and --seed are of --degrade", fix="--degrade")
    step = int(args.step) if args.step.isdigit() else args.step
    found = load_run(args.run_folder, step=step)
    if args.degrade is not None:
        return _degrade(found, args)
    if args.modalities is not None:
        return _subsets(found, args)
    if args.by is not None:
        return _subgroups(found, args)
    metrics, split, folder = evaluate_into(
        found, args.data, split=args.split, root=args.root, out=args.out
    )
    if found.config.objectives:
        summary.objectives(found, metrics, split)
    else:
        name = found.folder.path.name
        headline = found.module.task.headline
        summary.results({name: metrics}, f"{args.data or 'its own data'}, {split}", headline)
    say(f"metrics  {folder / 'metrics.json'}")
    say(f"report   {folder / 'report.html'}")
    return 0


def _degrade(found: Run, args: argparse.Namespace) -> int:
    from mmjax.api import degrading
    from mmjax.api.run import load_run
    from mmjax.writers import Progress
    from mmjax.writers.console import say, table

    chosen = degrading.conditions(found, args.degrade)
    levels = args.levels or degrading.LEVELS
    reference = None if args.reference is None else load_run(args.reference)
    total = degrading.evaluations(chosen, levels, 1 if reference is None else 2)
    with Progress(total, title="degrade") as progress:
        measured, folder = degrading.degrade_into(
            found,
            args.data,
            split=args.split,
            root=args.root,
            out=args.out,
            wanted=args.degrade,
            levels=levels,
            seed=args.seed,
            reference=reference,
            told=lambda done, rows: progress.update(done, examples=rows),
        )
    for metric in measured.metrics:
        rows = []
        for name, curves in measured.curves.items():
            numbers = measured.summary(name, metric)
            rows.append([name, *curves[metric], numbers["relative_robustness"]])
            if reference is not None:
                rows[-1].append(numbers["effective_robustness"])
        columns = [metric, *(f"{level:g}" for level in measured.levels), "relative"]
        columns += [] if reference is None else ["effective"]
        title = f"{found.folder.path.name}, {measured.split}, by severity"
        table(rows, columns, title)
    say(f"curves  {folder / 'robustness.json'}")
    say(f"plots   {folder}")
    report = found.folder.path if folder == found.folder.path / "robustness" else folder
    say(f"report  {report / 'report.html'}")
    return 0


def _subsets(found: Run, args: argparse.Namespace) -> int:
    from mmjax.api.subsets import all_subsets_into
    from mmjax.writers import Progress
    from mmjax.writers.console import say, table

    with Progress(2 ** len(found.config.model.encoders), title="subsets") as progress:
        measured, folder = all_subsets_into(
            found,
            args.data,
            split=args.split,
            root=args.root,
            out=args.out,
            told=lambda done, rows: progress.update(done, examples=rows),
        )
    metrics = measured.metrics
    rows = [
        [" + ".join(one) or "none", *(scores[metric] for metric in metrics)]
        for one, scores in measured.scores.items()
    ]
    title = f"{found.folder.path.name}, {measured.rows} {measured.split} rows"
    table(rows, ["modalities", *metrics], title)
    for metric in metrics:
        values = [[name, *one.values()] for name, one in measured.table(metric).items()]
        table(values, [metric, "alone", "lost without it", "Shapley value"])
    say(f"subsets  {folder / 'modalities.json'}")
    say(f"plots    {folder}")
    return 0


def _subgroups(found: Run, args: argparse.Namespace) -> int:
    from mmjax.api.subgroups import subgroups_into
    from mmjax.report import subgroups
    from mmjax.writers.console import say, table

    measured, folder = subgroups_into(
        found, args.by, args.data, split=args.split, root=args.root, out=args.out
    )
    name = found.folder.path.name
    for column in measured["columns"]:
        head, rows = subgroups.tabled(measured, column)
        table(rows, head, f"{name}, {measured['rows']} {measured['split']} rows")
        for line in subgroups.gaps(measured, column):
            say(line)
    say(f"subgroups  {folder / 'subgroups.json'}")
    report = found.folder.path if folder == found.folder.path / "subgroups" else folder
    say(f"report     {report / 'report.html'}")
    return 0
