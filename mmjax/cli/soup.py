"""Average the weights of several runs into one run.

mmjax soup RUN_A RUN_B RUN_C OUT             all of them
mmjax soup RUN_A RUN_B RUN_C OUT --greedy    those that do not make validation worse

For runs of one config that began from the same weights, such as a pretrained run tuned with
several learning rates. OUT is a run like any other, with metrics and a report.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("out", metavar="OUT", help="a new folder")
    parser.add_argument("--greedy", action="store_true", help="take what validation likes")
    parser.add_argument("--metric", help="of validation; train.best_metric of the first if left")


def run(args: argparse.Namespace) -> int:
    from mmjax.api.souping import Method, soup
    from mmjax.core.files import read_json
    from mmjax.writers.console import say, table

    method: Method = "greedy" if args.greedy else "uniform"
    made = soup(args.runs, args.out, method=method, metric=args.metric)
    told = read_json(made.folder.path / "soup.json")
    rows = [[one["run"], one["value"], "yes" if one["taken"] else "no"] for one in told["runs"]]
    measured = {split: found.get(told["metric"]) for split, found in made.metrics.items()}
    rows.append(["soup", measured.get("validation"), ""])
    table(rows, ["run", f"validation {told['metric']}", "taken"], f"a {method} soup")
    for split, value in measured.items():
        say(f"{split} {told['metric']}  {value}")
    say(f"run folder  {made.folder.path}")
    return 0
