"""Measure a committed result again, and tell whether it comes out as it did.

mmjax reproduce --list
mmjax reproduce quickstart --seed 0
mmjax reproduce movielens --workdir runs/again

A result is trained and measured from its config, data and seeds, which must be those of then; each
of its figures passes within a band around what was committed. Exits with 1 if one does not. Some
results are those of programs of the repository, and need it.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", metavar="ID")
    parser.add_argument("settings", nargs="*", default=[], metavar="dotted.key=value")
    parser.add_argument("--list", action="store_true", help="the results that there are")
    parser.add_argument(
        "--seed", type=int, nargs="+", metavar="N", help="these seeds; those of then if left out"
    )
    parser.add_argument("--workdir", help="keep the runs here, and go on with those that are there")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON")


def run(args: argparse.Namespace) -> int:
    import json
    import sys

    from mmjax.api.reproducing import reproduce
    from mmjax.cli.list import results
    from mmjax.core.errors import ConfigError
    from mmjax.writers.console import printable, say, table

    if args.list or args.id is None:
        if not args.list:
            raise ConfigError(105, "which result?", fix="mmjax reproduce --list shows them")
        results()
        return 0

    def tell(line: str) -> None:
        sys.stderr.write(printable(line) + "\n")

    found = reproduce(
        args.id, workdir=args.workdir, seeds=args.seed, settings=args.settings, tell=tell
    )
    passed = all(one.passed for one in found)
    if args.json:
        figures = [
            {
                "name": one.figure.name,
                "committed": one.figure.mean,
                "values": list(one.values),
                "band": list(one.band),
                "passed": one.passed,
            }
            for one in found
        ]
        say(json.dumps({"id": args.id, "passed": passed, "figures": figures}))
        return 0 if passed else 1
    rows = []
    for one in found:
        low, high = one.band
        mean = sum(one.values) / len(one.values) if one.values else None
        said = "passed" if one.passed else "OUTSIDE"
        rows.append([one.figure.name, one.figure.mean, mean, f"{low:.4f} to {high:.4f}", said])
    table(rows, ["figure", "committed", "now", "band", ""], args.id)
    return 0 if passed else 1
