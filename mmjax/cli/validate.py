"""Tell every problem of a manifest with its row, its column and what to do; nothing is trained.

mmjax validate data.csv --label group
mmjax validate data.csv --config configs/quickstart.py
mmjax validate data.csv --columns notes=text photo=image --json

Rows that cannot be read, cells and media that are damaged (each file is decoded), ids, splits and
labels, rows that repeat or contradict each other, and what they leak between splits. Exits with 2
if there is a problem; warnings alone are 0, or 2 with --strict.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", nargs="?", metavar="MANIFEST", help="the config's own if left")
    parser.add_argument("--config", metavar="CONFIG | RUN", help="what says what the columns are")
    parser.add_argument("--label", help="the column to predict")
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="COLUMN=KIND",
        help="take a column for text, image, audio, video, volume, points, number, category, "
        "identifier or ignored",
    )
    parser.add_argument("--id", dest="id_column", help="the column that names rows")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--no-decode", action="store_true", help="look for media, do not open them")
    parser.add_argument("--strict", action="store_true", help="exit with 2 for warnings too")
    parser.add_argument("--json", action="store_true", help="everything as JSON")


def run(args: argparse.Namespace) -> int:
    import json

    from mmjax.api.validating import validate
    from mmjax.core.errors import ConfigError
    from mmjax.writers import Progress
    from mmjax.writers.console import say

    columns = dict(one.partition("=")[::2] for one in args.columns)
    if not all(columns.values()):
        raise ConfigError(105, f"--columns {' '.join(args.columns)}", fix="write COLUMN=KIND")
    with Progress(0, title="validate") as progress:
        found = validate(
            args.manifest,
            config=args.config,
            label=args.label,
            columns=columns,
            id_column=args.id_column,
            root=args.root,
            decode=not args.no_decode,
            told=lambda done, of: progress.update(done, examples=1, total=of),
        )
    if args.json:
        say(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        for line in found.lines():
            say(line)
    return 0 if found.ok and not (args.strict and found.warnings) else 2
