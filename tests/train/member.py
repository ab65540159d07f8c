"""One process of a job that trains together.

usage: member.py FOLDER DATA STOP_AT [setting=value ...]. The process sends itself SIGTERM after
step STOP_AT (never if 0), and exits with what `mmjax train --resume` would. Each of its batches
takes `MEMBER_SLOW` seconds longer.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import tiny_run

from mmjax.api.training import train
from mmjax.core.errors import MMJaxError
from mmjax.data.loader import Loader
from mmjax.train import trainer


def main(folder: Path, data: Path, stop_at: int, changes: list[str]) -> int:
    made = trainer.Moment

    def moment(step, *rest, **more):
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return made(step, *rest, **more)

    trainer.Moment = moment
    slow, next_batch = float(os.environ.get("MEMBER_SLOW", "0")), Loader.__next__

    def slowly(loader):
        time.sleep(slow)
        return next_batch(loader)

    Loader.__next__ = slowly
    try:
        train(tiny_run.config(data, *changes), folder, resume=True)
    except MMJaxError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
