"""Train on a manifest without a config: columns, encoders and task are chosen and shown.

MANIFEST is a CSV, JSON Lines or Parquet file, or the name of an embedded data set.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest")
    parser.add_argument("settings", nargs="*", default=[], metavar="dotted.key=value")
    parser.add_argument("--label", required=True, help="the column to predict")
    parser.add_argument("--workdir", required=True, help="the run folder")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument(
        "--kind",
        action="append",
        default=[],
        metavar="COLUMN=KIND",
        help="take a column for text, image, audio, video, volume, points, number, category, "
        "labels, identifier or ignored",
    )
    parser.add_argument(
        "--task",
        help="classification, ordinal, multi_label, regression, anomaly, token_classification, "
        "extractive_qa or recommendation; told by the label and the columns beside it else",
    )
    parser.add_argument("--seeds", type=int, default=1, help="so many runs: mean and spread")
    parser.add_argument("--resume", action="store_true", help="go on where the run there stopped")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from mmjax.api.fitting import fit
    from mmjax.api.run import Run
    from mmjax.cli import summary
    from mmjax.core.errors import ConfigError

    kinds = {}
    for one in args.kind:
        column, equals, kind = one.partition("=")
        if not equals:
            raise ConfigError(105, f"--kind {one}", fix="write --kind COLUMN=KIND")
        kinds[column] = kind
    found = fit(
        args.manifest,
        args.label,
        args.workdir,
        root=args.root,
        kinds=kinds,
        task=args.task,
        settings=args.settings,
        seeds=args.seeds,
        resume=args.resume,
    )
    if args.seeds > 1:
        folders = sorted(Path(args.workdir).glob("seed_*"))
        summary.seeds([Run(folder) for folder in folders], args.workdir)
    else:
        summary.finished(found)
    return 0
