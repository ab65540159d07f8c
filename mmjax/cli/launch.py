"""Run a command of mmjax on a machine, a cluster or a cloud, again and again until it is done.

    mmjax launch local --processes 2 -- train configs/quickstart.py --workdir runs/a
    mmjax launch tpu-vm --zone us-west4-a --type v5litepod-16 -- train CONFIG.py --workdir gs://b/a

What a platform takes before the `--`: mmjax launch PLATFORM --help. With --dry-run it says what it
would do, and does nothing. After 42 (preempted, saved) and 75 (transient) it goes on with the same
run; 2 and 3 end it. The scripts lie in launch/, where README.md says what was not tried.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from mmjax.core.errors import ConfigError, nearest

PLATFORMS = {
    "local": ("local.sh",),
    "gpu-box": ("gpu_box.sh",),
    "tpu-vm": ("tpu_vm.sh",),
    "queued": ("tpu_vm.sh", "--queued"),
    "slurm": ("slurm.sh",),
    "jobset": ("gke.sh",),
    "gke": ("gke.sh", "--gke"),
    "sky": ("sky.sh",),
}
"""Each platform's script, and what it is always given."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("platform", help=", ".join(PLATFORMS))
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="[--dry-run] [options] -- train CONFIG.py ...",
        help="the platform's options, then a command of mmjax",
    )


def run(args: argparse.Namespace) -> NoReturn:
    if args.platform not in PLATFORMS:
        raise ConfigError(
            100, f"no platform '{args.platform}'", fix=nearest(args.platform, PLATFORMS)
        )
    if shutil.which("bash") is None:
        raise ConfigError(100, "there is no bash", fix="the scripts of launch/ need it")
    script, *always = PLATFORMS[args.platform]
    # The scripts run the very installation that was asked.
    environment = {"MMJAX_INTERPRETER": sys.executable, **os.environ}
    sys.stdout.flush()
    os.execvpe("bash", ["bash", str(folder() / script), *always, *args.arguments], environment)


def folder() -> Path:
    """Where the scripts lie: in the package where it is installed, else beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "launch"
    return inside if inside.is_dir() else package.parent / "launch"
