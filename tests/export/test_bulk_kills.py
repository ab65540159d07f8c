"""Predictions of many rows while drivers and workers are killed: each id is there exactly once.

Real processes and an export of a real model. The tests of Ray need its package.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models

import mmjax

pytestmark = pytest.mark.slow

ROWS = 2400
TIMES = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bulk")
    run = tiny_models.made(folder / "run", tiny_models.cases(folder)["classification"])
    run.export(folder / "exported", batch_sizes=(1, 8), platforms=("cpu",), measure=False)
    frame = tiny_models.frame()
    columns = {
        name: [frame[name][i % tiny_models.ROWS] for i in range(ROWS)]
        for name in ("words", "weight", "place")
    }
    ids = [f"id-{i}" for i in range(ROWS)]
    pq.write_table(pa.table({"key": ids, **columns}), folder / "rows.parquet", row_group_size=500)
    return folder


@pytest.fixture(scope="module")
def wanted(folder) -> list[dict]:
    """What is written where nothing is killed, the answers of single items."""
    program = mmjax.export.load(folder / "exported")
    table = pq.read_table(folder / "rows.parquet").to_pylist()
    answers = [
        program.predict({name: row[name] for name in ("words", "weight", "place")})
        for row in table[: tiny_models.ROWS]
    ]
    return [
        {"row": i, "id": row["key"], **answers[i % tiny_models.ROWS]} for i, row in enumerate(table)
    ]


def _started(folder: Path, out: Path, *more: str, **environment: str) -> subprocess.Popen:
    command = ["predict", folder / "exported", folder / "rows.parquet", out, "--id", "key"]
    return subprocess.Popen(
        [sys.executable, "-m", "mmjax", *map(str, command), "--block", "20", *more],
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def _parts(out: Path) -> int:
    return len(list((out / "parts").glob("0*.jsonl"))) if (out / "parts").is_dir() else 0


def _until(more: int, out: Path, driver: subprocess.Popen) -> bool:
    """Waits for so many more blocks; False if the job ended first."""
    there, ends = _parts(out), time.monotonic() + 900
    while driver.poll() is None and _parts(out) < there + more:
        assert time.monotonic() < ends
        time.sleep(0.005)
    return driver.poll() is None


def _check(out: Path, wanted: list[dict]) -> None:
    found = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert set(Counter(one["id"] for one in found).values()) == {1}
    assert [one["id"] for one in found] == [one["id"] for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)
    assert not (out / "parts").exists()


def _children(pid: int, word: str) -> list[int]:
    """The processes below one whose command has a word."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    found, below = [], {pid}
    for _ in range(16):
        below |= {int(own) for own, parent, *_ in rows if int(parent) in below}
    for own, _, *said in rows:
        if int(own) in below - {pid} and said and word in said[0]:
            found.append(int(own))
    return found


def _kill_drivers(folder: Path, out: Path, *more: str) -> None:
    draw = random.Random(0)
    for _ in range(TIMES):
        driver = _started(folder, out, "--resume", *more)
        assert _until(draw.randint(1, 8), out, driver), "it ended before it could be killed"
        time.sleep(draw.random() * 0.05)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    assert _started(folder, out, "--resume", *more).wait(900) == 0


def _kill_workers(folder: Path, out: Path, word: str, *more: str, below: int | None = None) -> int:
    draw = random.Random(1)
    driver, killed = _started(folder, out, *more), 0
    while killed < TIMES and _until(draw.randint(1, 6), out, driver):
        pids = _children(below or driver.pid, word)
        # One that has just ended by itself was not killed.
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(draw.choice(pids), signal.SIGKILL)
            killed += 1
    assert driver.wait(900) == 0
    return killed


@pytest.mark.parametrize("workers", ["", "2"])
def test_a_driver_killed_five_times(folder, wanted, tmp_path, workers):
    more = ["--workers", workers] if workers else []
    _kill_drivers(folder, tmp_path / "out", *more)
    _check(tmp_path / "out", wanted)


def test_a_worker_killed_five_times(folder, wanted, tmp_path):
    out = tmp_path / "out"
    assert _kill_workers(folder, out, "bulk.worker", "--workers", "2") == TIMES
    _check(out, wanted)


@pytest.mark.parametrize("point", ["part:3", "after-part:3", "after-merge:1"])
def test_a_kill_at_every_place(folder, wanted, tmp_path, point):
    """In the middle of a block's file, right behind its renaming, and behind the merge."""
    out = tmp_path / "out"
    for _ in range(2):
        driver = _started(folder, out, "--resume", MMJAX_FAILPOINT=point)
        assert driver.wait(900) == (-signal.SIGKILL if "merge" not in point or not _ else 0)
    assert _started(folder, out, "--resume").wait(900) == 0
    _check(out, wanted)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a cluster: that of `RAY_ADDRESS`, or one of this machine, made here."""
    pytest.importorskip("ray")
    if "RAY_ADDRESS" in os.environ:
        yield os.environ["RAY_ADDRESS"]
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"),
        *("--port", str(port), "--num-cpus", "2", "--include-dashboard=false"),
        *("--node-ip-address", "127.0.0.1"),
        *("--disable-usage-stats", "--temp-dir", tempfile.mkdtemp(prefix="ray", dir="/tmp")),
    ]
    # A busy machine takes longer than the half minute that it is given.
    patience = {
        "RAY_agent_register_timeout_ms": "900000",
        "RAY_worker_register_timeout_seconds": "900",
    }
    head = subprocess.Popen(
        command,
        env={**os.environ, **patience},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert head.stdout is not None
    try:
        assert any("Ray runtime started" in line for line in head.stdout)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(60)


def test_a_driver_of_ray_killed_five_times(folder, wanted, tmp_path, cluster):
    _kill_drivers(folder, tmp_path / "out", "--ray", cluster, "--workers", "2")
    _check(tmp_path / "out", wanted)


def test_an_actor_of_ray_killed_five_times(folder, wanted, tmp_path, cluster):
    out = tmp_path / "out"
    more = ["--ray", cluster, "--workers", "2"]
    # Actors are children of the cluster, and not of the driver.
    assert _kill_workers(folder, out, "MapBatches(_Actor)", *more, below=1) == TIMES
    _check(out, wanted)
