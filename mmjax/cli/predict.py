"""Predict the rows of a manifest, or one example given by modality.

mmjax predict RUN --data new.csv --out predictions.jsonl
mmjax predict RUN --split test --out predictions.jsonl
mmjax predict RUN --text "red apple" --image apple.png
mmjax predict RUN --data new.csv --out classes.jsonl --name apple --name pear --template "a {}"

With names, pictures are told apart by prompts made of them, in the joint space of a pretrained run.
"""

from __future__ import annotations

import argparse

from mmjax.cli import one_example


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--data", help="a manifest; the run's own data if a split is named alone")
    parser.add_argument("--out", help="where predictions of rows go, as JSON Lines")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--split", help="only the rows of this split")
    one_example.configure(parser)
    parser.add_argument(
        "--name", action="append", default=[], help="a class, in words; two or more make a choice"
    )
    parser.add_argument(
        "--template", action="append", default=[], help="a prompt with {} for the name"
    )


def run(args: argparse.Namespace) -> int:
    import json
    from typing import Any

    from mmjax.api.evaluating import list_left_out
    from mmjax.api.run import load_run
    from mmjax.api.zero_shot import classify_dataset
    from mmjax.core.errors import ConfigError, DataError
    from mmjax.core.files import atomic
    from mmjax.writers.console import say

    single: dict[str, Any] = one_example.given(args)
    if bool(single) == bool(args.data or args.split):
        what = "predict needs --data, or a --split of the run's own, or one example"
        raise ConfigError(105, what, fix="--data new.csv")
    if not single and args.out is None:
        asked = "--data" if args.data else "--split"
        raise ConfigError(105, f"{asked} without --out", fix="--out predictions.jsonl")
    if args.template and not args.name:
        raise ConfigError(105, "--template without --name", fix="--name apple --name pear")
    found = load_run(args.run_folder)
    classes: dict[str, Any] = {"names": args.name}
    if args.template:
        classes["templates"] = args.template
    if single and args.name:
        rows = found.zero_shot(found.columns_of(single), **classes)
        if not rows:
            raise DataError(564, "the example has nothing to classify", fix="--image a.png")
        say(json.dumps({k: v for k, v in rows[0].items() if k != "id"}, ensure_ascii=False))
        return 0
    if single:
        say(json.dumps(found.predict_one(**single), ensure_ascii=False))
        return 0
    dataset = found.dataset(args.data, root=args.root)
    if args.name:
        rows = classify_dataset(found, dataset, split=args.split, **classes)
    else:
        rows = found.predict_dataset(dataset, args.split)
    with atomic(args.out) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    say(f"{len(rows)} predictions  {args.out}")
    for line in list_left_out(dataset, args.out):
        say(line)
    return 0
