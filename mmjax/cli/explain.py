"""Explain what a run says of rows: what matters, where it looked, what like it, and how true.

mmjax explain RUN --out explanations
mmjax explain RUN --data new.csv --rows 8 --method integrated_gradients --method occlusion:cells=4
mmjax explain RUN --text "red apple" --image apple.png --out apple
mmjax explain RUN --method all --of fruit
mmjax explain RUN --worst --rows 8 && mmjax report RUN

Written are a page (index.html), pictures, and every number as JSON Lines; to RUN/explanations
unless --out says where. `mmjax list explanations` shows the methods.
"""

from __future__ import annotations

import argparse

from mmjax.cli import one_example

THAN = ("", "_random", "_moved")
"""What an area is held against: nothing, a random order, the same map moved elsewhere."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--data", help="a manifest; the run's own data if left out")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--split", help="train, validation, test (the default) or all")
    parser.add_argument("--rows", type=int, default=16, help="how many rows; 16 unless given")
    parser.add_argument(
        "--worst", action="store_true", help="the rows of the highest loss, as a report shows them"
    )
    parser.add_argument("--out", help="the folder to write; RUN/explanations if left out")
    parser.add_argument(
        "--of",
        metavar="CLASS",
        help="explain this class, whatever is said; of several tasks, TASK or TASK=CLASS",
    )
    parser.add_argument(
        "--method",
        action="append",
        metavar="NAME[:setting=value]",
        help="a method, or all; may be repeated",
    )
    parser.add_argument("--no-check", action="store_true", help="do not ask how true they are")
    one_example.configure(parser)


def run(args: argparse.Namespace) -> int:
    from typing import Any

    from mmjax.api import explaining
    from mmjax.api.run import load_run
    from mmjax.core.errors import ConfigError
    from mmjax.writers import Progress
    from mmjax.writers.console import say, table

    single: dict[str, Any] = one_example.given(args)
    if single and (args.data or args.split):
        raise ConfigError(105, "one example, and --data or --split", fix="leave one out")
    if args.rows < 1:
        raise ConfigError(105, f"--rows {args.rows}", fix="--rows 16")
    found = load_run(args.run_folder)
    methods: Any = explaining.DEFAULT
    if args.method:
        methods = "all" if args.method == ["all"] else [*map(explaining.parse, args.method)]
    with Progress(100, title="explain") as progress:
        explained, folder = explaining.explain_into(
            found,
            found.columns_of(single) if single else args.data,
            out=args.out,
            methods=methods,
            rows=args.rows,
            split=args.split,
            root=args.root,
            of=args.of,
            worst=args.worst,
            check=not args.no_check,
            told=lambda done, total: progress.update(100 * done // total),
        )
    names = list(found.module.encoders)
    say(f"explained {explained.results.about}")
    over = explained.results.over
    shown = [[m, *(one["modalities"].get(n) for n in names)] for m, one in over.items()]
    shown = [row for row in shown if any(value is not None for value in row[1:])]
    if shown:
        title = f"{found.folder.path.name}, {explained.rows} rows, mean sizes"
        table(shown, ["method", *names], title)
    curves = [f"{one}{than}" for one in ("deletion", "insertion") for than in THAN]
    keys = (*curves, "randomised")
    checked = [[m, *(o["checks"].get(k) for k in keys)] for m, o in over.items() if o["checks"]]
    if checked:
        table(checked, ["method", *(key.replace("_", " ") for key in keys)], "how true they are")
    for name, why in explained.results.refused.items():
        say(f"left out  {name}: {why}")
    say(f"page      {folder / 'index.html'}")
    say(f"numbers   {folder / 'explanations.jsonl'}")
    return 0
