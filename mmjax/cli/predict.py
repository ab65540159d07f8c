"""Predict the rows of a manifest, or one example given by modality.

mmjax predict RUN --data new.csv --out predictions.jsonl
mmjax predict RUN --split test --out predictions.jsonl
mmjax predict RUN --text "red apple" --image apple.png
mmjax predict RUN --data new.csv --out classes.jsonl --name apple --name pear --template "a {}"

With names, pictures are told apart by prompts made of them, in the joint space of a pretrained run.

mmjax predict EXPORT_OR_RUN rows.parquet OUT --workers 4
mmjax predict EXPORT_OR_RUN rows.parquet OUT --ray auto --resume

So rows are read and answered a block at a time, however many there are: CSV, TSV, JSON Lines or
Parquet, or a folder of such files. OUT/predictions.jsonl has a line for each row, with its id and
its answer, or the error that this row alone has. What is killed goes on with --resume, and no id is
there twice. Machines that share a disk may each do a --shard, or all be one Ray cluster; in a job
of several processes (mmjax launch) a RUN is spread over them, and each writes its share.
"""

from __future__ import annotations

import argparse

from mmjax.cli import one_example


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="EXPORT_OR_RUN")
    parser.add_argument("rows", nargs="?", metavar="ROWS", help="a manifest or a folder of them")
    parser.add_argument("out_folder", nargs="?", metavar="OUT", help="the folder of the answers")
    parser.add_argument("--data", help="a manifest; the run's own data if a split is named alone")
    parser.add_argument("--out", help="where predictions of --data go, as JSON Lines")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--split", help="only the rows of this split")
    many = parser.add_argument_group("of ROWS")
    many.add_argument("--workers", type=int, metavar="N", help="processes, or actors of Ray")
    many.add_argument(
        "--ray", metavar="ADDRESS", help="a Ray cluster: auto, local or its address (extra 'ray')"
    )
    many.add_argument("--shard", metavar="I/N", help="every N-th block from the I-th on, from 0")
    many.add_argument("--resume", action="store_true", help="go on with what OUT has")
    many.add_argument("--id", metavar="COLUMN", help="what rows are known by; their numbers if not")
    many.add_argument(
        "--filter", metavar="M:F", help="a function that may change or withhold answers"
    )
    many.add_argument("--block", type=int, default=1024, help="rows that are written together")
    many.add_argument("--threads", type=int, default=4, help="threads that read media, each")
    one_example.configure(parser)
    parser.add_argument(
        "--name", action="append", default=[], help="a class, in words; two or more make a choice"
    )
    parser.add_argument(
        "--template", action="append", default=[], help="a prompt with {} for the name"
    )


def run(args: argparse.Namespace) -> int:
    return _rows(args) if args.rows is not None else _one_or_few(args)


def _rows(args: argparse.Namespace) -> int:
    import time

    from mmjax.api.predicting import predict_rows
    from mmjax.core.errors import ConfigError
    from mmjax.writers.console import say

    if args.out_folder is None:
        raise ConfigError(105, "ROWS without OUT", fix="mmjax predict RUN rows.csv OUT")
    for name in ("data", "out", "split"):
        if getattr(args, name) is not None:
            raise ConfigError(105, f"--{name} beside ROWS and OUT", fix="leave it out")
    for name in ("workers", "block", "threads"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ConfigError(106, f"--{name} {getattr(args, name)}", fix="1 or more")
    began, last = time.monotonic(), 0.0

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic() - began
        if now - last > 2 or done == total:
            last = now
            say(f"{done:,} of {total:,} rows, {now:.0f} s")

    path = predict_rows(
        args.run_folder,
        args.rows,
        args.out_folder,
        workers=args.workers,
        ray=args.ray,
        shard=(0, 1) if args.shard is None else _shard(args.shard),
        resume=args.resume,
        id_column=args.id,
        root=args.root,
        block=args.block,
        threads=args.threads,
        filter=args.filter,
        progress=tell,
    )
    say(f"{path}")
    return 0


def _shard(text: str) -> tuple[int, int]:
    from mmjax.core.errors import ConfigError
    from mmjax.serve.bulk.running import checked

    place, slash, count = text.partition("/")
    if not slash or not place.isdecimal() or not count.isdecimal():
        raise ConfigError(105, f"--shard {text}", fix="0/8 to 7/8 for eight")
    return checked((int(place), int(count)))


def _one_or_few(args: argparse.Namespace) -> int:
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
        what = "predict needs ROWS, --data, a --split of the run's own, or one example"
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
