"""Cross-validate a config: a run for each fold, mean and spread, and out-of-fold predictions.

mmjax cv configs/quickstart.py --folds 5 --workdir runs/cv

Folds are even in classes, and never part the rows of one data.split.group. With --resume, finished
folds stay and begun ones go on; the same command, started several times, shares the folds.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a Python file with get_config(), or a config as JSON")
    parser.add_argument("settings", nargs="*", default=[], metavar="dotted.key=value")
    parser.add_argument("--workdir", required=True, help="the folder for the runs of the folds")
    parser.add_argument("--folds", type=int, default=5, help="how many (5)")
    parser.add_argument(
        "--without-test", action="store_true", help="leave the test rows out of it altogether"
    )
    parser.add_argument("--resume", action="store_true", help="go on with what is there")


def run(args: argparse.Namespace) -> int:
    from mmjax.api.cross_validation import cross_validate
    from mmjax.cli import summary
    from mmjax.train.config_file import load_config

    found = cross_validate(
        load_config(args.config, args.settings),
        args.workdir,
        folds=args.folds,
        without_test=args.without_test,
        resume=args.resume,
    )
    summary.folds(found, args.folds)
    return 0
