import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import killed_run
import numpy as np
import pytest

from mmjax.checkpoint.run_folder import RunFolder
from mmjax.checkpoint.store import Checkpoints

SCRIPT = Path(killed_run.__file__)


def launch(folder, failpoint="", steps=8):
    # Compiled programs are cached, one device will do: what is left is importing jax.
    environment = {**os.environ, "MMJAX_FAILPOINT": failpoint, "XLA_FLAGS": ""}
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), str(steps)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def check(folder, step):
    """The newest step that can be restored is `step`, and it is exact."""
    run = RunFolder(folder)
    with run.lock(), Checkpoints(run.checkpoints) as checkpoints:
        restored = checkpoints.restore(killed_run.initial())
    want = killed_run.expected(step)
    assert restored.step == step
    assert restored.data_state == {"next_step": step}
    assert restored.state["step"] == want["step"]
    assert np.array_equal(restored.state["params"]["w"], want["params"]["w"])
    return restored.state


# Killed at the second save, of step 4: what was left on disk, and where a restart begins. A whole
# run is killed at each of these by train/test_resume.py.
CASES = [
    pytest.param("save-started:2", ["2", "4.uncommitted"], 2, marks=pytest.mark.slow),
    ("before-commit:2", ["2", "4.uncommitted"], 2),
    pytest.param("after-commit:2", ["2", "4"], 4, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("failpoint", "left", "resumed"), CASES)
def test_sigkill_during_a_save_leaves_the_previous_or_the_new_step(
    tmp_path, failpoint, left, resumed
):
    killed = launch(tmp_path, failpoint)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert names(tmp_path) == left
    if failpoint.startswith("save-started"):
        assert [p.name for p in (tmp_path / "checkpoints" / "4.uncommitted").iterdir()] == [
            "state.orbax-checkpoint-tmp"
        ]
    state = check(tmp_path, resumed)
    # The next life, in this process: it goes on, and its save replaces what was left.
    run = RunFolder(tmp_path)
    with run.lock(), Checkpoints(run.checkpoints) as checkpoints:
        for _ in range(4 - resumed + 2):
            state = killed_run.advance(state)
        checkpoints.save(6, state, data_state={"next_step": 6})
    check(tmp_path, 6)
    assert names(tmp_path) == [str(resumed), "6"]


@pytest.mark.slow
def test_every_life_makes_progress_until_the_end_is_exact(tmp_path):
    starts = []
    for life in range(12):
        failpoint = ("save-started:2", "before-commit:2", "after-commit:2")[life % 3]
        done = launch(tmp_path, failpoint, steps=16)
        starts.append(int(done.stdout.split()[1]))
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.returncode == 0
    assert all(later > earlier for earlier, later in itertools.pairwise(starts))
    check(tmp_path, 16)
    # A life killed between a commit and the removal of older steps leaves one more.
    assert names(tmp_path)[-2:] == ["14", "16"]
