"""Tell whether new data have moved away from what a run was measured on, and raise alarms.

mmjax drift RUN --data new.csv
mmjax drift RUN --predictions served.jsonl --rule confidence=0.1 --out drift.json --fail

Compared with the run's own test rows, of which training keeps statistics in RUN/reference, are the
vectors of each modality, modalities that are missing, predictions, how sure they are, and, where
the new rows have labels, the first metric and the calibration. With --fail the exit code is 1 after
an alarm.

mmjax drift RUN --data news.csv --time date --topic topic

With --time, a run of sentiment also tells where bad news of a topic surged (mmjax trends has more).
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--data", help="a manifest of new rows")
    parser.add_argument("--predictions", help="JSON Lines of answers, in place of rows")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="KIND=NUMBER",
        help="another threshold: embedding, prediction, confidence, missing, calibration, metric, "
        "surge",
    )
    parser.add_argument("--time", help="the column of dates: surges of bad news are alarms too")
    parser.add_argument("--topic", help="the column of topics of --time")
    parser.add_argument("--out", help="a file for what was found, as JSON")
    parser.add_argument("--fail", action="store_true", help="exit code 1 after an alarm")


def run(args: argparse.Namespace) -> int:
    from mmjax.api.drifting import drift
    from mmjax.core.errors import ConfigError
    from mmjax.writers.console import say, table

    if (args.data is None) == (args.predictions is None):
        raise ConfigError(105, "what to compare", fix="give either --data or --predictions")
    found = drift(
        args.run_folder,
        args.data,
        predictions=args.predictions,
        root=args.root,
        rules=dict(map(_rule, args.rule)),
        time=args.time,
        topic=args.topic,
        out=args.out,
    )
    rows = [
        [
            one.kind,
            one.of,
            f"{one.value:.4f}",
            "" if one.p is None else f"{one.p:.4f}",
            f"{one.threshold:g}",
            "" if one.before is None else f"{one.before:.4f} to {one.after:.4f}",
            "ALARM" if one.alarm else "",
        ]
        for one in found.measures
    ]
    columns = ["what", "of", "value", "p", "threshold", "from", ""]
    table(rows, columns, f"{found.rows} rows against {found.reference_rows} of the reference")
    say(f"{len(found.alarms)} alarms" if found.alarms else "no alarm")
    return int(args.fail and bool(found.alarms))


def _rule(text: str) -> tuple[str, float]:
    from mmjax.core.errors import ConfigError
    from mmjax.data.numbers import parse_number

    name, _, value = text.partition("=")
    number = parse_number(value)
    if number is None:
        raise ConfigError(105, f"'{text}'", where="--rule", fix="write confidence=0.1")
    return name, float(number)
