"""Measure what a run's frozen vectors know of a column: linear, by neighbours, or zero-shot.

mmjax probe RUN --label group
mmjax probe RUN --label group --kind knn --space image
mmjax probe RUN --label group --kind zero-shot --template "a photo of a {}." --template "a {}"

A classifier is trained on the rows of split `train`, and measured on those of `test`. Zero-shot,
nothing is trained: the pictures of the test rows are told apart by the column's own names, each the
mean of its prompts.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--label", required=True, help="the column of classes")
    parser.add_argument("--data", help="a manifest with splits; the run's own data if left out")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--kind", choices=("linear", "knn", "zero-shot"), default="linear")
    parser.add_argument("--space", help="which vectors: fused, or a modality")
    parser.add_argument(
        "--template", action="append", help="a prompt with {} for the name; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="every metric as one line of JSON")


def run(args: argparse.Namespace) -> int:
    import json

    from mmjax.api.evaluating import strict
    from mmjax.api.run import load_run
    from mmjax.cli import summary
    from mmjax.core.errors import ConfigError
    from mmjax.writers.console import say

    options = {} if args.template is None else {"templates": tuple(args.template)}
    if options and args.kind != "zero-shot":
        raise ConfigError(105, f"--template with --kind {args.kind}", fix="--kind zero-shot")
    found = load_run(args.run_folder).probe(
        args.label,
        args.data,
        root=args.root,
        kind=args.kind.replace("-", "_"),
        space=args.space,
        **options,
    )
    if args.json:
        say(json.dumps(strict(found), ensure_ascii=False))
    else:
        summary.results({args.kind: found}, f"{args.label}, test rows")
    return 0
