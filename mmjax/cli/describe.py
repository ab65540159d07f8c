"""Describe a config, a run or a manifest.

A config: its parameters, shapes, memory and the cost of a step, or with --sharding where each
parameter and optimiser state lives on the mesh. A run: what it is and how well it does. A manifest:
its columns, and the modalities they would make.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="CONFIG.py | RUN | MANIFEST")
    parser.add_argument("settings", nargs="*", default=[], metavar="dotted.key=value")
    parser.add_argument("--root", help="the folder that a manifest's media paths are relative to")
    parser.add_argument("--label", help="the column to predict, to see what `fit` would choose")
    parser.add_argument("--sharding", action="store_true", help="of a config: what lives where")
    parser.add_argument("--topology", help="with --sharding: v5e:4x4, cpu:8, ...; needs no device")
    parser.add_argument("--html", metavar="FILE", help="with --sharding: also write a page")


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
    if args.sharding:
        return _sharding(args)
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


def _sharding(args: argparse.Namespace) -> int:
    if args.topology:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from mmjax.api import sharding_table
    from mmjax.report.pages import write_page
    from mmjax.train.config_file import load_config
    from mmjax.writers.console import say, table

    found = sharding_table.sharding(load_config(args.what, args.settings), topology=args.topology)
    for title, columns, rows in sharding_table.tables(found):
        table(rows, columns, title)
    if args.html:
        write_page(args.html, sharding_table.page(str(args.what), found))
        say(f"page    {args.html}")
    return 0
