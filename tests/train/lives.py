"""Several lives of `mmjax train`, each in a process of its own that may be killed.

usage: lives.py PLAN.json RESULT.json. A life of the plan is `{"arguments": [...], "failpoint":
"step:3", "signals": {"at": 3, "names": ["SIGTERM"]}, "folder": run, "name": ...}`. Its result has
`code` (negative for the signal that ended it), `out`, `err`, and the committed steps of its folder
`before` and `after`. What each step was given is appended to `<folder>.rows`, a JSON line a step.

Everything is imported once; a life is a fork, so it costs what it does and not its imports. No
device is touched before the fork.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import orbax.checkpoint  # noqa: F401

import mmjax.api.training
import mmjax.cli.summary
import mmjax.cli.train  # noqa: F401
from mmjax.checkpoint.layout import step_folders
from mmjax.cli import main
from mmjax.train import hooks, trainer


def committed(folder: Path) -> list[int]:
    checkpoints = folder / "checkpoints"
    return sorted(step_folders(checkpoints)) if checkpoints.is_dir() else []


def watch(life: dict, rows: Path) -> None:
    """Notes the rows of each step; stops the process where signals are to be sent to it."""
    asked = life.get("signals", {"at": 0, "names": []})
    made, save_now = trainer.Moment, hooks.Save.now
    steps = 0

    def moment(step, state, values, at, **more):
        nonlocal steps
        steps += 1
        with rows.open("a") as file:
            file.write(json.dumps({"step": step, "rows": np.asarray(at).tolist()}) + "\n")
        if steps == asked["at"] and asked["names"]:
            os.kill(os.getpid(), signal.SIGSTOP)
        return made(step, state, values, at, **more)

    def now(self, moment):
        if steps == asked["at"] and len(asked["names"]) > 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        save_now(self, moment)

    trainer.Moment, hooks.Save.now = moment, now


def child(life: dict, prefix: Path) -> None:
    for number, suffix in ((1, ".out"), (2, ".err")):
        file = os.open(f"{prefix}{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    if life.get("failpoint"):
        os.environ["MMJAX_FAILPOINT"] = life["failpoint"]
    watch(life, Path(life["folder"] + ".rows"))
    code = 99
    try:
        code = main(life["arguments"])
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def live(life: dict, prefix: Path) -> dict:
    folder = Path(life["folder"])
    before, began = committed(folder), time.monotonic()
    process = os.fork()
    if not process:
        child(life, prefix)
    names = list(life.get("signals", {}).get("names", ()))
    while True:
        _, status = os.waitpid(process, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            break
        os.kill(process, getattr(signal, names.pop(0)))
        os.kill(process, signal.SIGCONT)
    return {
        "name": life["name"],
        "code": os.waitstatus_to_exitcode(status),
        "out": Path(f"{prefix}.out").read_text(),
        "err": Path(f"{prefix}.err").read_text(),
        "before": before,
        "after": committed(folder),
        "seconds": round(time.monotonic() - began, 2),
    }


if __name__ == "__main__":
    plan, result = map(Path, sys.argv[1:])
    lives = json.loads(plan.read_text())
    done = [live(life, plan.with_name(f"life_{i}")) for i, life in enumerate(lives)]
    result.write_text(json.dumps(done))
