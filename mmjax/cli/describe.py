"""Describe a config, a run or a manifest.

A config: its parameters, shapes, memory and the cost of a step. A run: what it is and how well it
does. A manifest: its columns, and the modalities they would make.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="CONFIG.py | RUN | MANIFEST")
    parser.add_argument("settings", nargs="*", default=[], metavar="dotted.key=value")
    parser.add_argument("--root", help="the folder that a manifest's media paths are relative to")
    parser.add_argument("--label", help="the column to predict, to see what `fit` would choose")


def _is_run(path: Path) -> bool:
    """Whether what is named is, or was meant as, a run folder."""
    from mmjax.data.manifest import EMBEDDED

    if path.is_dir():
        return not (path / "dataset_info.json").exists()
    return not path.exists() and not path.suffix and str(path) not in EMBEDDED


def run(args: argparse.Namespace) -> int:
    from mmjax.api import describing
    from mmjax.core import config as config_lib
    from mmjax.writers.console import say, table

    path = Path(args.what)
    if path.suffix == ".py":
        config = config_lib.override(config_lib.load(path), args.settings)
        for title, columns, rows in describing.describe_config(config):
            table(rows, columns, title)
    elif _is_run(path):
        for title, columns, rows in describing.describe_run(path):
            table(rows, columns, title)
    else:
        for line in describing.describe_manifest(args.what, root=args.root, label=args.label):
            say(line)
    return 0
