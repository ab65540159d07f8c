"""Search the settings of a config: its get_space() says which, and what they may be.

mmjax tune configs/quickstart.py --trials 50 --workdir runs/search
mmjax tune configs/quickstart.py --trials 50 --workdir runs/search --resume
mmjax train runs/search/best.json --workdir runs/best

The search goes by train.best_metric on the validation rows, or on folds of them and the training
rows (--folds); test rows have no part in it. It lives on disk: stopped or killed, it goes on with
--resume, and the same command with --resume in further processes, on any host that shares the
folder, shares the work. With --nested, an honest estimate of what the search finds is made first.

One setting alone, in seconds to minutes, without trials:

mmjax tune configs/quickstart.py --find learning-rate     a range test of the training step
mmjax tune configs/quickstart.py --find batch-size        by the compiler's own memory figures
mmjax tune RUN --find fusion-weights                      every point of the simplex, encoders fixed
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmjax.api.study import Record


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", metavar="CONFIG | RUN", help="a Python file with get_config() and get_space()"
    )
    parser.add_argument("settings", nargs="*", default=[], metavar="dotted.key=value")
    parser.add_argument("--workdir", help="the folder of the search")
    parser.add_argument("--trials", type=int, default=20, help="how many in all (20)")
    parser.add_argument("--sampler", choices=("tpe", "random", "grid"), default="tpe")
    parser.add_argument("--pruner", choices=("none", "median", "halving"), default="median")
    parser.add_argument("--folds", type=int, default=0, help="so many trainings a trial")
    parser.add_argument("--nested", type=int, default=0, help="outer folds of an honest estimate")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument("--resume", action="store_true", help="go on with what is there")
    parser.add_argument("--storage", help="another database than study.db, such as postgresql://")
    parser.add_argument(
        "--keep-checkpoints", action="store_true", help="of all trials, not of the best alone"
    )
    parser.add_argument("--find", choices=("learning-rate", "batch-size", "fusion-weights"))
    parser.add_argument("--low", type=float, default=1e-7, help="learning rate to begin at (1e-7)")
    parser.add_argument("--high", type=float, default=1.0, help="learning rate to end at (1)")
    parser.add_argument("--steps", type=int, default=100, help="of the range test (100)")
    parser.add_argument("--memory", help="of a device, such as 80GiB; what it has if left out")
    parser.add_argument("--parts", type=int, default=20, help="weights are multiples of 1 / PARTS")


def run(args: argparse.Namespace) -> int:
    from mmjax.api.hyperparameters import tune
    from mmjax.cli import finders
    from mmjax.core.errors import ConfigError
    from mmjax.core.space import load_space
    from mmjax.train.config_file import load_config
    from mmjax.writers.console import say, table

    if args.find is not None:
        finders.require(args)
        return getattr(finders, args.find.replace("-", "_"))(args)
    if args.workdir is None:
        raise ConfigError(103, "a search needs a folder", fix="--workdir runs/search")

    def told(ended: Record, best: Record | None) -> None:
        value = "" if ended.value is None else f" {ended.value:.4f}"
        known = "" if best is None else f"   best {best.value:.4f}, trial {best.number}"
        note = f" ({ended.note})" if ended.note else ""
        say(f"trial {ended.number} of {args.trials}  {ended.state}{value}{note}{known}")

    found = tune(
        load_config(args.config, args.settings),
        load_space(args.config),
        args.workdir,
        trials=args.trials,
        sampler=args.sampler,
        pruner=args.pruner,
        folds=args.folds,
        nested=args.nested,
        seed=args.seed,
        resume=args.resume,
        storage=args.storage,
        keep_checkpoints=args.keep_checkpoints,
        told=told,
    )
    done = [one for one in found.trials if one.state == "complete"]
    sign = -1.0 if found.best is not None and _higher(found.metric) else 1.0
    done = sorted(done, key=lambda one: sign * (one.value or 0.0))[:10]
    names = list(dict.fromkeys(name for one in done for name in one.params))
    rows = [
        [str(one.number), one.value, *(_shown(one.params.get(name)) for name in names)]
        for one in done
    ]
    if rows:
        table(rows, ["trial", found.metric, *names], f"the best of {len(found.trials)} trials")
    if found.estimate and found.metric in found.estimate:
        one = found.estimate[found.metric]
        say(f"nested estimate  {found.metric} {one['mean']:.4f} ± {one['spread']:.4f}")
    say(f"report  {found.folder}/report.html")
    if found.best is not None:
        say(f"best    mmjax train {found.folder}/best.json --workdir {found.folder}/best")
    return 0


def _higher(metric: str) -> bool:
    from mmjax.train.selection import mode_of

    return mode_of(metric) == "max"


def _shown(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
