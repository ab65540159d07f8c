"""`mmjax predict RUN ROWS OUT` of two processes that a model spans: each writes its share."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import tiny_run

from mmjax.api.predicting import spanning
from mmjax.api.run import Run

ROWS = 26


def _started(arguments, port, **environment):
    return [
        subprocess.Popen(
            [sys.executable, "-m", "mmjax", "predict", *map(str, arguments)],
            env={
                **tiny_run.environment(devices=2),
                "MMJAX_COORDINATOR": f"127.0.0.1:{port}",
                "MMJAX_NUM_PROCESSES": "2",
                "MMJAX_PROCESS_ID": str(process),
                **environment,
            },
            stdout=subprocess.DEVNULL,
        )
        for process in (0, 1)
    ]


def _port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _ended(running, timeout=400):
    try:
        return [one.wait(timeout) for one in running]
    finally:
        for one in running:
            one.kill()


@pytest.mark.slow
def test_two_processes_answer_every_row_once(trained, tmp_path):
    data = tiny_run.write_data(tmp_path, ROWS, name="corpus", seed=5)
    rows = tiny_run.read_rows(data)
    rows[7]["picture"] = "nowhere.png"
    tiny_run.write_rows(data, rows)
    out = tmp_path / "out"
    arguments = [trained, data, out, "--block", "4", "--resume"]
    # One of them is killed between two blocks, and the other cannot go on alone.
    running = _started(arguments, _port())
    ends = time.monotonic() + 300
    while not list(out.glob("parts-00001/0*")) and time.monotonic() < ends:
        time.sleep(0.02)
    os.kill(running[1].pid, signal.SIGKILL)
    assert 0 not in _ended(running)
    there = {one.name for one in out.glob("parts-*/0*")}
    assert there
    assert _ended(_started(arguments, _port())) == [0, 0]
    found = []
    for process in (0, 1):
        path = out / f"predictions-{process:05d}-of-00002.jsonl"
        found += [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(one["row"] for one in found) == list(range(ROWS))
    assert sorted(one["id"] for one in found) == sorted(row["id"] for row in rows)
    bad = next(one for one in found if one["row"] == 7)
    assert bad["error"]["code"] == "MMX-306"
    good = tmp_path / "good.csv"
    tiny_run.write_rows(good, [row for row in rows if row["picture"] != "nowhere.png"])
    with tiny_run.one_device():
        wanted = {one["id"]: one for one in Run(trained).predict(str(good))}
    for one in found:
        if "error" not in one:
            assert one["label"] == wanted[one["id"]]["label"]
            assert one["probability"] == pytest.approx(wanted[one["id"]]["probability"], abs=1e-5)


@pytest.mark.slow
def test_one_process_does_all_rounds(trained, tmp_path):
    data = tiny_run.write_data(tmp_path, ROWS, name="corpus", seed=5)
    run = Run(trained)
    before = run.config
    path = spanning(run, data, tmp_path / "out", block=8)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    wanted = run.predict(str(data))
    assert run.config == before
    assert [(one["row"], one["id"]) for one in found] == [(w["row"], w["id"]) for w in wanted]
    assert [one["label"] for one in found] == [one["label"] for one in wanted]
