import dataclasses
import json
import os
import signal
import subprocess
import sys

import pytest

from mmjax.checkpoint.lock import Holder, Lock, holder
from mmjax.checkpoint.run_folder import RunFolder, runs_in
from mmjax.core.errors import CheckpointError

HOLD = """
import sys
from mmjax.checkpoint.run_folder import RunFolder
RunFolder(sys.argv[1]).lock().acquire()
assert "jax" not in sys.modules
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_is_created_once_and_opened(tmp_path):
    run = RunFolder(tmp_path / "runs" / "first").create()
    run.write_config({"seed": 0, "name": "é"})
    run.write_facts({"labels": ["a", "b"]})
    again = RunFolder(str(run.path)).open()
    assert again == run
    assert again.read_config() == {"seed": 0, "name": "é"}
    assert again.read_facts() == {"labels": ["a", "b"]}
    assert run.processors.is_dir()
    assert run.checkpoints.is_dir()
    assert [found.path.name for found in runs_in(tmp_path / "runs")] == ["first"]
    with pytest.raises(CheckpointError, match="holds a run already"):
        run.create()


def test_a_start_that_died_before_its_config_can_be_repeated(tmp_path):
    RunFolder(tmp_path / "run").create()
    RunFolder(tmp_path / "run").create()


def test_what_is_no_run_offers_the_nearest(tmp_path):
    for name in ("baseline", "larger"):
        RunFolder(tmp_path / name).create().write_config({})
    with pytest.raises(CheckpointError, match=r"does not exist.*did you mean 'baseline'"):
        RunFolder(tmp_path / "basline").open()
    with pytest.raises(CheckpointError, match=r"has no config.json.*/larger, .*/baseline"):
        RunFolder(tmp_path).open()
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is a file"):
        RunFolder(tmp_path / "file").create()


def test_unreadable_or_missing_json_is_an_error_of_one_line(tmp_path):
    run = RunFolder(tmp_path).create()
    with pytest.raises(CheckpointError, match=r"no facts\.json"):
        run.read_facts()
    run.config.write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        run.read_config()


def test_config_hash_ignores_spelling_only(tmp_path):
    run = RunFolder(tmp_path).create()
    run.config.write_text('{"a": 1, "b": [2.0]}', encoding="utf-8")
    first = run.config_hash()
    run.config.write_text('{"b": [2.0],\n "a": 1}', encoding="utf-8")
    assert run.config_hash() == first
    run.config.write_text('{"b": [2.5], "a": 1}', encoding="utf-8")
    assert run.config_hash() != first


def test_the_lock_is_released_and_taken_again(tmp_path):
    lock = RunFolder(tmp_path).lock()
    with lock:
        assert holder(lock.path).pid == os.getpid()
        with pytest.raises(CheckpointError, match=f"another run .* process {os.getpid()} on"):
            Lock(lock.path).acquire()
    assert not lock.path.exists()
    assert holder(lock.path) is None
    with lock:
        pass


def test_a_live_process_is_refused_and_a_killed_one_taken_over(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(CheckpointError, match=f"process {child.pid} on .* since 2"):
            RunFolder(tmp_path).lock().acquire()
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet reaped
        with RunFolder(tmp_path).lock() as lock:
            assert holder(lock.path).pid == os.getpid()
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize(
    ("change", "alive"),
    [
        ({}, True),
        ({"host": "elsewhere", "boot": "other", "pid": 1, "job": ""}, True),
        ({"boot": "before the reboot"}, False),
        ({"started": "12"}, False),
        ({"pid": 2**22 + 1}, False),
        # An earlier attempt at this very run, on a machine that was taken away.
        ({"host": "elsewhere", "job": "mine"}, False),
        ({"host": "elsewhere", "job": "another"}, True),
        ({"job": "mine"}, True),
    ],
)
def test_who_is_alive(tmp_path, monkeypatch, change, alive):
    monkeypatch.setenv("MMJAX_RUN_ID", "mine")
    other = dataclasses.replace(Holder.current(), **change)
    path = tmp_path / "run.lock"
    path.write_text(json.dumps(dataclasses.asdict(other)), encoding="utf-8")
    assert other.alive() is alive
    if alive:
        with pytest.raises(CheckpointError, match=f"process {other.pid} on {other.host}"):
            Lock(path).acquire()
        assert json.loads(path.read_text(encoding="utf-8")) == dataclasses.asdict(other)
    else:
        Lock(path).acquire().release()


def test_a_lock_cut_short_by_a_crash_is_taken_over(tmp_path):
    path = tmp_path / "run.lock"
    path.write_text('{"host": "a', encoding="utf-8")
    with Lock(path):
        assert holder(path).pid == os.getpid()
