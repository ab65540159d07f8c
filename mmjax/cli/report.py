"""Write one page that shows everything of a run, or several runs beside each other.

mmjax report RUN
mmjax report RUN_A RUN_B --out report
mmjax report RUN --data labelled.csv --out report --projection umap

The page is one file that loads nothing and runs no script: data with what is missing and what leaks
between splits, curves, metrics with bootstrap intervals, confusion, calibration, precision and
recall, slices, the worst errors with pictures, sounds and the explanations of `mmjax explain`,
every subset of the modalities, a map of embeddings, speed and memory, environment. Of several runs
the page is about the first, and the others are tested against it on the same rows.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--split", help="train, validation, test (the default) or all")
    parser.add_argument("--data", help="another manifest; all its rows unless --split says which")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--out", help="the folder for it; the run's own unless there are several")
    parser.add_argument(
        "--projection", choices=("pca", "umap"), default="pca", help="of the map (pca)"
    )
    parser.add_argument(
        "--no-subsets", action="store_true", help="leave out the subsets of the modalities"
    )
    parser.add_argument("--resamples", type=int, default=200, help="of the rows (200)")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")


def run(args: argparse.Namespace) -> int:
    from mmjax.api.reports import report
    from mmjax.writers import Progress
    from mmjax.writers.console import say

    with Progress(0, title="report") as progress:
        path = report(
            *args.runs,
            data=args.data,
            split=args.split,
            root=args.root,
            out=args.out,
            every_subset=not args.no_subsets,
            projection=args.projection,
            resamples=args.resamples,
            seed=args.seed,
            told=lambda done, of: progress.update(done, total=of),
        )
    say(f"report  {path}  ({path.stat().st_size / 2**20:.2f} MiB)")
    return 0
