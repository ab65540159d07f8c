"""Follow predicted sentiment over time, by topic, and tell when bad news surges.

mmjax trends RUN --time date --topic topic
mmjax trends RUN --data news.csv --time date --topic topic --window 7 --out trends.jsonl

Of a run of the task sentiment or sentiment_classes. The columns that --time and --topic name say
when a row is from, a date or a number of days, and what it is about. Each topic and period is a
line of --out (RUN/trends.jsonl unless given): its news, how many of them are bad, their mean score,
trend and slope over the window, and whether that many bad ones are more than the periods before let
expect.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--time", required=True, help="the column of dates, or of days as numbers")
    parser.add_argument("--topic", help="the column of topics; all rows are of one if left out")
    parser.add_argument("--data", help="a manifest; the run's own data if left out")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--split", help="only these rows: test of the run's own data, else all")
    parser.add_argument("--out", help="where the periods go, as JSON Lines")
    parser.add_argument("--period", type=float, default=1.0, help="days of a period (1)")
    parser.add_argument("--window", type=int, default=5, help="periods that are judged (5)")
    parser.add_argument(
        "--reference", type=int, default=30, help="periods before them that they are held to (30)"
    )
    parser.add_argument(
        "--negative", type=float, default=-0.5, help="a score below this is bad news (-0.5)"
    )
    parser.add_argument(
        "--alpha", type=float, default=1e-3, help="how unlikely an alarm must be (0.001)"
    )
    parser.add_argument(
        "--least", type=int, default=3, help="bad news that an alarm needs at least (3)"
    )


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from mmjax.api.run import load_run
    from mmjax.api.trends import alarms, latest, of_run
    from mmjax.writers.console import say, table

    found = load_run(args.run_folder)
    out = Path(args.out) if args.out else found.folder.path / "trends.jsonl"
    options = ("period", "window", "reference", "negative", "alpha", "least")
    periods = of_run(
        found,
        args.data,
        split=args.split,
        root=args.root,
        time=args.time,
        topic=args.topic,
        out=out,
        **{name: getattr(args, name) for name in options},
    )
    rows = [
        [str(one["topic"]), one["time"], one["trend"], one["slope"], "alarm" * one["alarm"]]
        for one in latest(periods)
    ]
    table(rows, ["topic", "until", "trend", "slope", ""], found.folder.path.name)
    for one in alarms(periods):
        say(
            f"alarm  {one['topic']} on {one['time']}: {one['negative']} bad news that day, more in "
            f"the last {args.window} than expected ({one['expected']:.1f}), p = {one['p']:.1e}"
        )
    say(f"{len(periods)} periods  {out}")
    return 0
