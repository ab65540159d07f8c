"""Several processes that train one model, stop together, and go on as one."""

import shutil
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
from mmjax.data import kept
from mmjax.train.trainer import fit
from mmjax.writers import read_records

CHANGES = ("train.log_every=2 steps", "data.batch_size=8")


def together(folder, data, stop_at, *, processes=2, changes=(), slow=0.0):
    """Exit codes and errors of processes with eight devices in all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = str(Path(tiny_run.__file__).parent)
    running = []
    for process in range(processes):
        environment = {
            **tiny_run.environment(devices=8 // processes),
            "PYTHONPATH": here,
            "MMJAX_COORDINATOR": f"127.0.0.1:{port}",
            "MMJAX_NUM_PROCESSES": str(processes),
            "MMJAX_PROCESS_ID": str(process),
            "MEMBER_SLOW": str(slow if process == 1 else 0),
        }
        # The signal reaches one of them only.
        arguments = [str(folder), str(data), str(stop_at if process == 1 else 0)]
        running.append(
            subprocess.Popen(
                [sys.executable, member.__file__, *arguments, *CHANGES, *changes],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    errors = [one.communicate(timeout=300)[1] for one in running]
    return [one.returncode for one in running], errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "changes", "mesh"),
    [
        (2, (), "mesh data=8"),
        (4, (), "mesh data=8"),
        # Over both processes: each brings all rows of a batch.
        (2, ("mesh.tensor=8",), "mesh data=1 fsdp=1 tensor=8"),
    ],
)
def test_processes_stop_at_the_same_step_and_end_like_one(tmp_path, processes, changes, mesh):
    kind = {"processes": processes, "changes": changes}
    data = tiny_run.write_data(tmp_path)
    codes, errors = together(tmp_path / "several", data, stop_at=3, **kind)
    assert codes == [42] * processes, errors
    assert f"{processes} processes on 1 hosts (MMJAX_* variables), 8 cpu devices" in errors[0]
    assert mesh in errors[0]
    assert not any("processes on" in error for error in errors[1:])
    # Asked after step 3, agreed at the next line of metrics.
    assert all("SIGTERM: saved after step 4 of 8" in error for error in errors)
    assert load_arrays(tmp_path / "several", "latest")["step"] == 4
    shutil.copytree(tmp_path / "several", tmp_path / "elastic")
    codes, errors = together(tmp_path / "several", data, stop_at=0, **kind)
    assert codes == [0] * processes, errors

    one = fit(tiny_run.config(data, *CHANGES), tmp_path / "one").path
    # What several processes began, one goes on with, on a mesh of one device.
    fit(tiny_run.config(data, *CHANGES), tmp_path / "elastic", resume=True)
    theirs = load_arrays(one, "latest")
    for run in ("several", "elastic"):
        ours = load_arrays(tmp_path / run, "latest")
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
        for run in (tmp_path / "several", one)
    ]
    assert len(found[0]) == 4
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.slow
def test_a_slow_host_is_named(tmp_path):
    data = tiny_run.write_data(tmp_path)
    codes, errors = together(tmp_path / "slow", data, stop_at=0, slow=1.0)
    assert codes == [0, 0], errors
    host = socket.gethostname()
    told = [line for line in errors[0].splitlines() if "holds the others up" in line]
    assert told, errors[0]
    assert all(f"process 1 on {host} holds the others up" in line for line in told)


@pytest.mark.slow
def test_processes_keep_features_together(tmp_path, capfd):
    """Each store is made once, is what one process would make, and is found by the next run."""
    data, cache = tiny_run.write_data(tmp_path), tmp_path / "features"
    frozen = (
        "train.duration=4 steps",
        "model.encoders.text.token_dropout=0",
        "model.encoders.text.dropout=0",
        'optimizer.multipliers={"^/encoders_text/": 0.0}',
        f"train.feature_cache.text={cache}",
    )
    codes, errors = together(tmp_path / "several", data, stop_at=0, changes=frozen)
    assert codes == [0, 0], errors
    assert capfd.readouterr().out.count("rows made in") == 3
    stores = {one.name: one for one in cache.iterdir() if one.is_dir()}
    # Training, validation and test rows; no claim and no half-made store is left.
    assert len(stores) == 3
    assert {one.name.split(".")[1] for one in cache.iterdir() if one.is_file()} <= set(stores)
    assert all(one.name.endswith(".lock") for one in cache.iterdir() if one.is_file())
    made = {name: (one.stat().st_ino, one.stat().st_mtime_ns) for name, one in stores.items()}
    fit(tiny_run.config(data, *CHANGES, *frozen), tmp_path / "one")
    assert "rows made in" not in capfd.readouterr().out
    assert made == {n: (one.stat().st_ino, one.stat().st_mtime_ns) for n, one in stores.items()}
    ours, theirs = (load_arrays(tmp_path / name, "latest") for name in ("several", "one"))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), ours["params"], theirs["params"]
    )


def test_one_of_those_that_see_a_folder_writes_it(tmp_path):
    with kept.claimed(tmp_path / "made" / "store", 7) as first:
        with kept.claimed(tmp_path / "made" / "store", 7) as second:
            assert (first, second) == (True, False)
        with kept.claimed(tmp_path / "elsewhere" / "store", 7) as third:
            assert third
        with kept.claimed(tmp_path / "nowhere" / "store", 7, wanted=False) as fourth:
            assert not fourth
    assert not list((tmp_path / "made").iterdir())
    assert not (tmp_path / "nowhere").exists()
