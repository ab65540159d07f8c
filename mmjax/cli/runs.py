"""List the runs in a folder: what each is, how far it came, how good it is.

mmjax runs runs
mmjax runs runs --sort accuracy --where "accuracy>0.7" seed=0
mmjax runs runs --where task=classification --columns model.fusion.width accuracy --json

A column is a fact (status, step, task, fusion, modalities, seed, changed), a metric, or a setting's
dotted path. --sort puts the best first by a metric, --sort=-accuracy the worst.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--where", nargs="+", default=[], metavar="NAME=VALUE", help="these alone")
    parser.add_argument("--sort", metavar="NAME", help="the column that orders them")
    parser.add_argument("--columns", nargs="+", default=[], metavar="NAME", help="more columns")
    parser.add_argument("--split", help="of the metrics: test, validation, ...")
    parser.add_argument(
        "--alone", action="store_true", help="the runs of single modalities beside a run as well"
    )
    parser.add_argument("--json", action="store_true", help="everything, as a line of JSON a run")


_MOST = 3
"""Metrics of a table that asks for none."""


def run(args: argparse.Namespace) -> int:
    import json

    from mmjax.api.runs import runs
    from mmjax.report.curves import FIRST
    from mmjax.writers.console import say, table

    found = runs(args.folder, where=args.where, sort=args.sort, split=args.split, alone=args.alone)
    if args.json:
        for one in found:
            facts = ("run", "status", "step", "task", "fusion", "modalities", "seed", "changed")
            values = {name: getattr(one, name) for name in facts}
            more = {name: one.value(name) for name in args.columns}
            line = {**values, "split": one.split, "metrics": dict(one.metrics), **more}
            say(json.dumps(line, ensure_ascii=False))
        return 0
    if not found:
        say(f"no run in {args.folder}{' is so' if args.where else ''}")
        return 0
    shown = ["run", "status", "step", "task", "fusion", "modalities", "seed"]
    named = [*args.columns, *([args.sort.removeprefix("-")] if args.sort else [])]
    if not any(name in one.metrics for name in named for one in found):
        common = {name for one in found for name in one.metrics if "/" not in name}
        ordered = [name for name in FIRST if name in common]
        named += (ordered or sorted(common))[:_MOST]
    columns = list(dict.fromkeys([*shown, *named, "changed"]))
    rows = [[_cell(one.value(name)) for name in columns] for one in found]
    table(rows, columns, f"{len(found)} run{'s' * (len(found) != 1)} in {args.folder}")
    return 0


def _cell(value: object) -> object:
    # A step is a count and not a quantity, and needs no separators to be copied.
    return value if isinstance(value, float) or value is None else str(value)
