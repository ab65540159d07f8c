"""Show the curves of a run as it trains; ends when the run does.

mmjax watch RUN

Reads what the run writes (RUN/metrics.jsonl) and nothing else: the run may be trained by another
process, or on another machine that shares the folder. Ctrl-C ends the watching, not the run.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between looks (2)")
    parser.add_argument("--once", action="store_true", help="show how things are now, and end")
    parser.add_argument("--width", type=int, help="columns of the terminal")


def run(args: argparse.Namespace) -> int:
    import time

    import rich.console
    import rich.live

    from mmjax.api.watching import Followed
    from mmjax.core.errors import ConfigError
    from mmjax.writers.console import say

    if args.every <= 0:
        raise ConfigError(106, f"--every {args.every}", fix="give seconds, above 0")
    followed = Followed(args.run_folder)
    console = rich.console.Console(width=args.width)
    followed.look()
    if args.once or not console.is_terminal:
        console.print(followed.drawn(console.width))
        return 0
    with rich.live.Live(console=console, auto_refresh=False, screen=False) as live:
        try:
            while True:
                live.update(followed.drawn(console.width), refresh=True)
                if followed.status != "training":
                    break
                time.sleep(args.every)
                followed.look()
        except KeyboardInterrupt:
            return 0
    if followed.status == "stopped":
        say("nobody trains it now; mmjax train ... --resume goes on with it")
    return 0
