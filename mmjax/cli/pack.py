"""Write a data set as shards, for training that reads from them in place.

From a config (its source and splits) or a manifest. Tar shards in the form of WebDataset open with
any tool; ArrayRecord shards carry checksums and keep every type of cell. The source to put into a
config is printed, and kept in `source.json`.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="CONFIG.py | MANIFEST")
    parser.add_argument("settings", nargs="*", default=[], metavar="dotted.key=value")
    parser.add_argument("--to", required=True, help="a new folder for the shards")
    parser.add_argument("--format", choices=("webdataset", "arrayrecord"), default="webdataset")
    parser.add_argument(
        "--shard-size", default="500MB", help="rows (10000) or bytes (500MB) of one shard"
    )
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--columns", help="only these columns, with commas between")
    parser.add_argument("--media", help="the columns whose cells name files")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave bad rows out, and list them by the shards"
    )


def run(args: argparse.Namespace) -> int:
    from mmjax.api.packing import pack
    from mmjax.core import config as config_lib
    from mmjax.writers.console import say

    data = args.what
    if Path(args.what).suffix == ".py":
        data = config_lib.override(config_lib.load(args.what), args.settings)
    source = pack(
        data,
        args.to,
        format=args.format,
        shard_size=args.shard_size,
        root=args.root,
        columns=args.columns.split(",") if args.columns else (),
        media=args.media.split(",") if args.media is not None else None,
        skip_bad=args.skip_bad,
    )
    say(f"source={source!r}")
    bad = Path(args.to) / "quarantine.jsonl"
    if bad.exists():
        lines = sum(1 for _ in bad.open(encoding="utf-8"))
        say(f"{lines} rows left out  {bad}")
    return 0
