"""What `mmjax tune --find` does: a learning rate, a batch size, the weights of a fusion."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from mmjax.core.errors import ConfigError
from mmjax.writers import Progress
from mmjax.writers.console import say, table

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def learning_rate(args: argparse.Namespace) -> int:
    from mmjax.api.learning_rate import find_learning_rate, find_learning_rate_into
    from mmjax.train.config_file import load_config

    config = load_config(args.config, args.settings)
    with Progress(args.steps, title="range test") as progress:
        options = {
            "low": args.low,
            "high": args.high,
            "steps": args.steps,
            "told": lambda step, loss: progress.update(step, values={"loss": loss}),
        }
        if args.workdir is None:
            found = find_learning_rate(config, **options)
        else:
            found, _ = find_learning_rate_into(config, args.workdir, **options)
    shown = range(0, len(found.rates), max(1, len(found.rates) // 12))
    rows = [[f"{found.rates[i]:.3g}", found.losses[i], found.smooth[i]] for i in shown]
    table(rows, ["learning rate", "loss", "smoothed"], "range test")
    ended = f"diverged at {found.rates[-1]:.3g}" if found.diverged else "did not diverge"
    say(f"steepest at {found.suggestion:.3g}, lowest at {found.lowest:.3g}, {ended}")
    say(f"use it: optimizer.learning_rate={found.suggestion:.2g}")
    if args.workdir is not None:
        say(f"plot    {args.workdir}/learning_rate.png")
    return 0


def batch_size(args: argparse.Namespace) -> int:
    from mmjax.api.batch_size import find_batch_size
    from mmjax.train.config_file import load_config

    found = find_batch_size(
        load_config(args.config, args.settings),
        memory=None if args.memory is None else byte_count(args.memory),
        told=lambda size, total: say(f"batch of {size}: {total / 2**20:,.0f} MiB a device"),
    )
    rows = [
        [size, f"{total / 2**20:,.1f} MiB", f"{total / found.limit:.0%}"]
        for size, total in found.bytes.items()
    ]
    table(rows, ["batch", "a step on one device", "of the limit"], "compiled, not run")
    if found.best is None:
        say("not even the smallest batch fits: use a smaller model, or model parts over devices")
        return 1
    more = " (the largest that was tried)" if found.most else ""
    say(f"use it: data.batch_size={found.best}{more}")
    return 0


def fusion_weights(args: argparse.Namespace) -> int:
    from mmjax.api.fusion_weights import search_weights_into
    from mmjax.api.run import load_run

    if args.settings:
        raise ConfigError(100, f"'{args.settings[0]}': a run has its settings", fix="leave it out")
    started = time.perf_counter()
    found, folder = search_weights_into(
        load_run(args.config), out=args.workdir, parts=args.parts, folds=args.folds or 5
    )
    weights = ", ".join(f"{name} {value:.3g}" for name, value in found.best.items())
    rows = [
        ["as trained", found.own],
        [f"best of {len(found.points)} ({weights})", found.score],
        ["chosen on other rows", found.estimate],
    ]
    table(rows, ["weights", found.metric], f"{found.rows} {found.split} rows")
    seconds = time.perf_counter() - started
    say(f"{len(found.points)} points of the simplex in {seconds:.1f} s, compilation included")
    say(f"every point  {folder}/weights.json")
    say(f"config       {folder}/best.json")
    return 0


def byte_count(text: str) -> int:
    """The bytes that "16GB" or "80GiB" means."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?i?)b?", text.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise ConfigError(106, f"--memory {text}", fix="write 16GB or 80GiB")
    return int(float(found[1]) * _UNITS[found[2]])


def require(args: argparse.Namespace) -> None:
    """Raises ConfigError where what to look in is not there."""
    is_run = Path(args.config).is_dir()
    if (args.find == "fusion-weights") != is_run:
        what = "looks in a run folder" if args.find == "fusion-weights" else "looks at a config"
        raise ConfigError(105, f"--find {args.find} {what}", where=args.config, fix="name one")
