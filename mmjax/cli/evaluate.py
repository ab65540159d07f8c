"""Measure a run on a split or on other data; writes metrics and a report.

On the run's own data, RUN/metrics.json is renewed. On other data, the metrics and the report go to
--out, which is RUN/evaluations/<name of the manifest> unless given.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--split", help="train, validation, test (the default) or all")
    parser.add_argument("--data", help="another manifest; all its rows unless --split says which")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--out", help="the folder for the metrics and the report")
    parser.add_argument("--step", default="best", help="best, latest, or a checkpoint's step")


def run(args: argparse.Namespace) -> int:
    from mmjax.api.evaluating import evaluate_into
    from mmjax.api.run import load_run
    from mmjax.cli import summary
    from mmjax.writers.console import say

    step = int(args.step) if args.step.isdigit() else args.step
    found = load_run(args.run_folder, step=step)
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
