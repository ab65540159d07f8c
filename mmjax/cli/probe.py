"""Measure what a run's frozen vectors know of a column: a linear classifier, or nearest neighbours.

mmjax probe RUN --label group
mmjax probe RUN --label group --kind knn --space image

Trained on the rows of split `train`, measured on those of `test`.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--label", required=True, help="the column of classes")
    parser.add_argument("--data", help="a manifest with splits; the run's own data if left out")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--kind", choices=("linear", "knn"), default="linear")
    parser.add_argument("--space", help="which vectors: fused, or a modality")
    parser.add_argument("--json", action="store_true", help="every metric as one line of JSON")


def run(args: argparse.Namespace) -> int:
    import json

    from mmjax.api.evaluating import strict
    from mmjax.api.run import load_run
    from mmjax.cli import summary
    from mmjax.writers.console import say

    found = load_run(args.run_folder).probe(
        args.label, args.data, root=args.root, kind=args.kind, space=args.space
    )
    if args.json:
        say(json.dumps(strict(found), ensure_ascii=False))
    else:
        summary.results({args.kind: found}, f"{args.label}, test rows")
    return 0
