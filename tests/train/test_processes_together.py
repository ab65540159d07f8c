"""Two processes that train one model, stop together, and go on as one."""

import socket
import subprocess
import sys
from pathlib import Path

import jax
import member
import numpy as np
import pytest
import tiny_run

from mmjax.checkpoint.load import load_arrays
from mmjax.train.trainer import fit
from mmjax.writers import read_records

CHANGES = ("train.log_every=2 steps", "data.batch_size=8")


def together(folder, data, stop_at):
    """Exit codes and errors of two processes with four devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = str(Path(tiny_run.__file__).parent)
    running = []
    for process in (0, 1):
        environment = {
            **tiny_run.environment(devices=4),
            "PYTHONPATH": here,
            "MMJAX_COORDINATOR": f"127.0.0.1:{port}",
            "MMJAX_NUM_PROCESSES": "2",
            "MMJAX_PROCESS_ID": str(process),
        }
        # The signal reaches one of the two only.
        arguments = [str(folder), str(data), str(stop_at if process else 0), *CHANGES]
        running.append(
            subprocess.Popen(
                [sys.executable, member.__file__, *arguments],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    errors = [one.communicate(timeout=300)[1] for one in running]
    return [one.returncode for one in running], errors


@pytest.mark.slow
def test_two_processes_stop_at_the_same_step_and_end_like_one(tmp_path):
    data = tiny_run.write_data(tmp_path)
    codes, errors = together(tmp_path / "two", data, stop_at=3)
    assert codes == [42, 42], errors
    # Asked after step 3, agreed at the next line of metrics.
    assert all("SIGTERM: saved after step 4 of 8" in error for error in errors)
    assert load_arrays(tmp_path / "two", "latest")["step"] == 4
    codes, errors = together(tmp_path / "two", data, stop_at=0)
    assert codes == [0, 0], errors

    one = fit(tiny_run.config(data, *CHANGES), tmp_path / "one").path
    ours, theirs = (load_arrays(run, "latest") for run in (tmp_path / "two", one))
    assert ours["step"] == theirs["step"] == 8
    for name in ("params", "ema"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), ours[name], theirs[name]
        )
    found = [
        [
            record["train/loss"]
            for record in read_records(run / "metrics.jsonl")
            if "train/loss" in record
        ]
        for run in (tmp_path / "two", one)
    ]
    assert len(found[0]) == 4
    np.testing.assert_allclose(*found, rtol=1e-5)
