"""Go on training a run with new rows, replaying old ones, and promote it or not.

mmjax continue RUN --data new.csv --workdir RUN2
mmjax continue RUN --data new.csv --workdir RUN2 --served served.json train.duration="2 epochs"

It is promoted if it is better than RUN on the new test rows and not worse on the old ones:
promotion.json and promotion.html say why. With --served, the promoted run is exported and served
from then on; mmjax promote served.json --rollback takes that back. The exit code is 1 where it is
rejected.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="changes of the config")
    parser.add_argument("--data", required=True, help="a manifest of new rows, with labels")
    parser.add_argument("--workdir", required=True, help="the folder of the new run")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument(
        "--replay", type=float, default=0.5, help="the share of old rows in training (0.5)"
    )
    parser.add_argument(
        "--tolerance", type=float, default=0.02, help="how much worse on old rows it may be (0.02)"
    )
    parser.add_argument("--resamples", type=int, default=1000, help="of the test rows (1000)")
    parser.add_argument("--served", help="the pointer that is to name it if it is promoted")


def run(args: argparse.Namespace) -> int:
    from mmjax.api.continuing import PAGE, continue_run
    from mmjax.writers.console import say

    found = continue_run(
        args.run_folder,
        args.data,
        args.workdir,
        root=args.root,
        replay=args.replay,
        tolerance=args.tolerance,
        settings=args.settings,
        served=args.served,
        resamples=args.resamples,
    )
    say(f"{'promoted' if found.promoted else 'rejected'}: {found.why}")
    say(f"report  {found.run.folder.path / PAGE}")
    if found.exported is not None:
        say(f"served  {found.exported}")
    return int(not found.promoted)
