"""A job of SLURM that is told its end saves, queues itself again, and ends as if never stopped."""

import os
import subprocess
import sys

import fake_slurm
import jax
import numpy as np
import pytest
import tiny_run
from shims import LAUNCH, told

from mmjax.checkpoint.load import load_arrays

CHANGES = ("train.log_every=1 steps", "train.duration=6 steps", "train.save_every=6 steps")

STOPS = '''

import os, time
from pathlib import Path
import mmjax.train.trainer as trainer

made, folder = trainer.Moment, Path({folder!r})


def moment(step, *rest, **more):
    """In the first life the notice comes after step 3, and step 4 waits for it."""
    if step == 3 and os.environ.get("SLURM_PROCID") == "0" and not (folder / "told").exists():
        (folder / "told").touch()
        (folder / "notice").touch()
        while (folder / "notice").exists():
            time.sleep(0.02)
        time.sleep(0.3)
    return made(step, *rest, **more)


trainer.Moment = moment
'''


def environment(folder):
    kept = {k: v for k, v in tiny_run.environment().items() if not k.startswith("MMJAX_")}
    return {
        **kept,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "MMJAX_INTERPRETER": sys.executable,
        "MMJAX_HEARTBEAT_SECONDS": "20",
    }


@pytest.mark.slow
def test_signal_save_requeue_resume_gives_the_parameters_of_a_run_never_stopped(tmp_path):
    fake_slurm.install(tmp_path)
    data = tiny_run.write_data(tmp_path)
    config = tiny_run.write_config(tmp_path / "my config.py", tiny_run.config(data, *CHANGES))
    config.write_text(config.read_text() + STOPS.format(folder=str(tmp_path)))

    def submit(workdir):
        return subprocess.run(
            ["bash", str(LAUNCH / "slurm.sh"), "--", "train", str(config), "--workdir", workdir],
            env=environment(tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    result = submit("runs/stopped it's")
    assert result.returncode == 0, told(result)
    assert fake_slurm.events(tmp_path) == [
        "batch 0",
        "notice",
        "tasks 42 42",
        "scontrol requeue 4242",
        "ended 0",
        "batch 1",
        "tasks 0 0",
        "ended 0",
    ], told(result)
    assert "exit code 42 after USR1: queued again" in result.stderr
    assert "2 processes on 1 hosts (SLURM)" in result.stderr
    assert not (tmp_path / ".mmjax-launch" / "4242").exists()

    (tmp_path / "events").unlink()
    assert submit("runs/whole").returncode == 0
    assert fake_slurm.events(tmp_path) == ["batch 0", "tasks 0 0", "ended 0"]
    ours, theirs = (load_arrays(tmp_path / "runs" / n, "latest") for n in ("stopped it's", "whole"))
    assert ours["step"] == theirs["step"] == 6
    for name in ("params", "ema"):
        jax.tree.map(np.testing.assert_array_equal, ours[name], theirs[name])


TASK = """#!/usr/bin/env bash
life=${{SLURM_RESTART_COUNT:-0}}
echo "$SLURM_PROCID $*" >>{folder}/lives-$life
codes=({codes})
if [[ ${{codes[life]}} == notice ]]; then
  trap 'exit 42' USR1
  touch {folder}/ready-$SLURM_PROCID
  [[ -f {folder}/ready-0 && -f {folder}/ready-1 ]] && touch {folder}/notice
  while true; do sleep 0.05; done
fi
[[ $SLURM_PROCID == 1 ]] && exit 134
exit "${{codes[life]}}"
"""


@pytest.mark.parametrize(
    ("codes", "expected", "ends_with"),
    [
        # Both tasks of the first life; task 1 is aborted in the second, as one that lost its peer.
        ("notice 75", ["tasks 42 42", "requeue", "tasks 75 134", "requeue", "tasks 2 134"], 2),
        ("3", ["tasks 3 134"], 3),
        ("75 75 75", ["tasks 75 134", "requeue"] * 2 + ["tasks 75 134"], 75),
    ],
)
def test_a_job_queues_itself_again_after_what_may_pass(tmp_path, codes, expected, ends_with):
    fake_slurm.install(tmp_path)
    task = tmp_path / "bin" / "interpreter"
    task.write_text(TASK.format(folder=tmp_path, codes=f"{codes} 2"))
    task.chmod(0o755)
    words = ["train", "it's a config.py", "x=$(false) *", "--workdir", "a b"]
    result = subprocess.run(
        ["bash", str(LAUNCH / "slurm.sh"), "--retries", "2", "--", *words],
        env={**environment(tmp_path), "MMJAX_INTERPRETER": str(task)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    happened = fake_slurm.events(tmp_path)
    told_of = [line.replace("scontrol requeue 4242", "requeue") for line in happened]
    assert [line for line in told_of if line.startswith(("tasks", "requeue"))] == expected, told(
        result
    )
    assert happened[-1] == f"ended {ends_with}"
    lives = sorted((tmp_path / "lives-0").read_text().splitlines())
    assert lives == [f"{number} -m mmjax {' '.join(words)} --resume" for number in (0, 1)]
