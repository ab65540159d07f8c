"""Lives of a reader of batches that is killed again and again.

usage: reader_lives.py SOURCE.json FOLDER STEPS KILLS. A life begins at the step that the one before
noted last, and appends `step digest` for every batch to FOLDER/batches; the first KILLS lives are
killed, each a few batches after it began, wherever that finds them.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import grain  # noqa: F401
import numpy as np

from mmjax.core import config as config_lib
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, sources
from mmjax.data.pipeline import prepare

MODALITIES = {
    "text": Spec("text", column="text", max_length=12, word_dropout=0.2),
    "image": Spec("image", columns=("image",), size=8, augment={"noise": 0.1}),
}


def dataset(source: Spec, **changes):
    """The data that is read, of any source with columns `image` and `text`."""
    config = DataConfig(source=source, modalities=MODALITIES, batch_size=10, **changes)
    return prepare(config)


def digest(batch) -> str:
    """Of everything in a batch."""
    found = hashlib.sha256()
    for part in (batch.inputs["text"], batch.inputs["image"], batch.present):
        for name in sorted(part):
            found.update(np.ascontiguousarray(part[name]).tobytes())
    found.update(batch.row.tobytes() + batch.row_mask.tobytes())
    return found.hexdigest()


def read(source: Spec, folder: Path, steps: int) -> None:
    state = folder / "state.json"
    start = json.loads(state.read_text())["next_step"] if state.exists() else 0
    data = dataset(source, threads=2, on_bad_sample="quarantine")
    with (folder / "batches").open("a") as file:
        loader = data.loader("train", train=True, seed=3, start=start)
        for step in range(start, steps):
            file.write(f"{step} {digest(next(loader))}\n")
            file.flush()
            state.with_suffix(".new").write_text(json.dumps(loader.state()))
            os.replace(state.with_suffix(".new"), state)


def main() -> None:
    source = config_lib.spec_from_json(sources, json.loads(Path(sys.argv[1]).read_text()))
    folder, steps, kills = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    for life in range(kills + 1):
        process = os.fork()
        if not process:
            read(source, folder, steps)
            os._exit(0)
        wanted = (life + 1) * steps // (kills + 2)
        while life < kills:
            made = folder / "batches"
            if made.exists() and len(made.read_bytes().splitlines()) >= wanted:
                os.kill(process, signal.SIGKILL)
                break
            time.sleep(0.001)
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
