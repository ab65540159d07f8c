"""A process that is killed, or stopped, ends the others, and the launcher starts all again."""

import re
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny_run
from shims import LAUNCH, told

from mmjax.checkpoint.load import load_arrays
from mmjax.train.trainer import fit

CHANGES = ("train.log_every=1 steps", "train.duration=6 steps", "train.save_every=2 steps")
HEARTBEAT = 10

DIES = '''

import os, signal, time
from pathlib import Path
import mmjax.train.trainer as trainer

made, folder = trainer.Moment, Path({folder!r})
(folder / f"start-{{time.time()}}").touch()


def moment(step, *rest, **more):
    """Process 1 is killed, or stopped, in its first life, once step 2 is saved."""
    if step == 4 and os.environ["MMJAX_PROCESS_ID"] == "1" and not (folder / "killed").exists():
        while not list(folder.glob("run/checkpoints/2/MMJAX_MANIFEST.json")):
            time.sleep(0.05)
        (folder / "killed").write_text(str(time.time()))
        os.kill(os.getpid(), signal.{how})
    return made(step, *rest, **more)


trainer.Moment = moment
'''


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_a_lost_process_ends_the_others_within_the_heartbeat_and_all_go_on(tmp_path, how):
    data = tiny_run.write_data(tmp_path)
    config = tiny_run.write_config(tmp_path / "config.py", tiny_run.config(data, *CHANGES))
    config.write_text(config.read_text() + DIES.format(folder=str(tmp_path), how=how))
    words = ["--processes", "2", "--retries", "1", "--", "train", str(config)]
    result = subprocess.run(
        ["bash", str(LAUNCH / "local.sh"), *words, "--workdir", str(tmp_path / "run")],
        env={
            **tiny_run.environment(devices=1),
            "MMJAX_INTERPRETER": sys.executable,
            "MMJAX_HEARTBEAT_SECONDS": str(HEARTBEAT),
            "MMJAX_RETRY_SECONDS": "0",
            "MMJAX_GRACE_SECONDS": "2",
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert result.returncode == 0, told(result)
    assert (tmp_path / "killed").exists()
    code = int(re.search(r"launch: exit code (\d+): trying again", result.stderr)[1])
    assert code in (75, 134, 137), told(result)
    killed = float((tmp_path / "killed").read_text())
    starts = sorted(float(one.name.removeprefix("start-")) for one in tmp_path.glob("start-*"))
    assert len(starts) == 4
    # Ending a process that is stopped, and the start of new ones, are in it.
    assert starts[2] - killed < HEARTBEAT + 20, (killed, starts)

    one = fit(tiny_run.config(data, *CHANGES), tmp_path / "one").path
    ours, theirs = (load_arrays(run, "latest") for run in (tmp_path / "run", one))
    assert ours["step"] == theirs["step"] == 6
    for name in ("params", "ema"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), ours[name], theirs[name]
        )
