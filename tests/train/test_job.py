"""What is told of the processes of a job."""

import logging

import jax
import numpy as np
import pytest

from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.train import job


@pytest.mark.parametrize(
    ("own", "whole", "found"),
    [
        ([0.01, 0.01, 0.05, 0.01], 0.06, {2}),
        ([0.05, 0.01], 0.06, {0}),
        ([0.05, 0.05], 0.06, set()),  # all of them wait for their input: no one holds up the others
        ([0.001, 0.005], 1.0, set()),  # five times as long, of which no one notices anything
        ([0.02, 0.01], 0.03, set()),
        ([0.05], 0.06, set()),
        ([0.0, 0.9, 0.0, 1.0], 1.0, {1, 3}),
    ],
)
def test_a_straggler_works_far_longer_than_the_others(own, whole, found):
    assert job.stragglers(own, whole) == found


def test_a_straggler_is_named_once_with_its_host(monkeypatch, caplog):
    monkeypatch.setattr(job, "hosts", lambda: ["fast", "slow.example"])
    pace = job.Pace()
    with caplog.at_level(logging.WARNING, logger="mmjax.train.job"):
        for own in ([0.1, 0.1], [0.1, 0.5], [0.1, 0.5], [0.1, 0.1], [0.1, 0.5]):
            pace.compare(own, 0.6)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2  # anew once it had recovered
    assert lines[0].startswith(
        "process 1 on slow.example holds the others up: its host works 0.5 s"
    )


def test_waiting_is_not_work(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(job.time, "perf_counter", lambda: now[0])
    pace = job.Pace()
    for _ in range(4):
        now[0] += 0.25  # input
        with pace.waiting():
            now[0] += 1.0  # the step
        with pace.waiting(False):
            now[0] += 0.25  # a hook
        pace.step()
    assert pace.own() == pytest.approx((0.5, 1.5))
    now[0] += 3.0
    assert pace.own() == pytest.approx((3.0, 3.0))


def test_the_table_names_hosts_devices_mesh_batch_and_rows(monkeypatch, capsys):
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    job.tell(mesh, 64)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    monkeypatch.setattr(job, "hosts", lambda: ["n1", "n1", "n2", "n2"])
    job.tell(mesh, 64)
    told = capsys.readouterr().err
    assert told.splitlines()[0].strip() == "4 processes on 2 hosts (joined), 1 cpu devices"
    assert told.splitlines()[1].startswith("mesh data=1 ")
    assert told.splitlines()[1].strip().endswith("global batch 64")
    assert [line.split() for line in told.splitlines() if " n2 " in line] == [
        ["2", "n2", "32-47"],
        ["3", "n2", "48-63"],
    ]


def test_one_process_is_its_own_host():
    (name,) = job.hosts()
    assert name
    assert np.all([ord(letter) for letter in name])
