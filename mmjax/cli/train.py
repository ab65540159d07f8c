"""Train a config into a run folder, evaluate it and write its report.

Settings are changed by dotted paths: mmjax train configs/quickstart.py model.fusion.width=256
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a Python file with get_config(), or a config as JSON")
    parser.add_argument("settings", nargs="*", default=[], metavar="dotted.key=value")
    parser.add_argument("--workdir", required=True, help="the run folder")
    parser.add_argument("--resume", action="store_true", help="go on where the run there stopped")
    parser.add_argument("--seeds", type=int, default=1, help="so many runs: mean and spread")


def run(args: argparse.Namespace) -> int:
    from mmjax.api.training import require_seeds, train, train_seeds
    from mmjax.cli import summary
    from mmjax.train.config_file import load_config

    require_seeds(args.seeds)
    config = load_config(args.config, args.settings)
    if args.seeds > 1:
        runs = train_seeds(config, args.workdir, seeds=args.seeds, resume=args.resume)
        summary.seeds(runs, args.workdir)
        return 0
    summary.finished(train(config, args.workdir, resume=args.resume))
    return 0
