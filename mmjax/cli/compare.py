"""Compare runs on the same rows: differences with intervals, and paired tests.

mmjax compare RUN_A RUN_B
mmjax compare RUN_A RUN_B RUN_C --data labelled.csv --metrics accuracy macro_f1 --out comparison

The others are compared with the first. Rows are matched by id; every metric of the task is measured
again on resamples of them, the same for all runs. What is right or wrong gets McNemar's exact test.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--split", help="train, validation, test (the default) or all")
    parser.add_argument("--data", help="another manifest; all its rows unless --split says which")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--metrics", nargs="+", default=[], help="these alone")
    parser.add_argument("--resamples", type=int, default=1000, help="of the rows (1000)")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals (0.95)")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument("--out", help="a folder for comparison.json and report.html")


def run(args: argparse.Namespace) -> int:
    from mmjax.api.comparing import compare, compare_into
    from mmjax.writers import Progress
    from mmjax.writers.console import say, table

    with Progress(args.resamples, title="compare") as progress:
        options = {
            "data": args.data,
            "split": args.split,
            "root": args.root,
            "metrics": args.metrics,
            "resamples": args.resamples,
            "level": args.level,
            "seed": args.seed,
            "told": progress.update,
        }
        if args.out is None:
            found = compare(*args.runs, **options)
        else:
            found, _ = compare_into(args.out, *args.runs, **options)
    several = len(found.runs) > 2
    share = f"{100 * found.level:g} %"
    columns = ["metric", "run", found.runs[0], "value", "difference", f"{share} interval", "p"]
    rows = [
        [
            one.metric,
            one.run,
            one.first,
            one.value,
            f"{one.difference.value:+.4f}",
            f"{one.difference.low:+.4f} to {one.difference.high:+.4f}",
            f"{one.difference.p:.4f}",
            *([f"{one.p_adjusted:.4f}"] if several else []),
        ]
        for one in found.compared
    ]
    columns += ["p, Holm"] if several else []
    table(rows, columns, f"against {found.runs[0]}, {found.rows} {found.split} rows")
    for name, test in found.mcnemar.items():
        say(
            f"McNemar  {found.runs[0]} alone right {test.first_only}, {name} alone right "
            f"{test.second_only}, p = {test.p:.4f}"
        )
    if args.out is not None:
        say(f"comparison  {args.out}/comparison.json")
        say(f"report      {args.out}/report.html")
    return 0
