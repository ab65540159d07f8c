import io
import os
import pty
import threading
import time

import pytest

from mmjax.writers import Progress
from mmjax.writers.progress import Meter


def test_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    with Progress(100, 10, "train", stream=stream, every=3600) as progress:
        for step in range(11, 101):
            progress.update(
                step,
                examples=64,
                wait_fraction=0.25,
                values={"loss": 1 / step, "validation/accuracy": 0.7} if step < 50 else None,
            )
            if step == 60:
                progress.note("saved step 60")
    first, note, last = stream.getvalue().splitlines()
    assert first.startswith("train 11/100 11%")
    assert note == "saved step 60"
    assert last.startswith("train 100/100 100% | 0:00:00 left")
    assert "examples/s | input wait 25% | loss 0.02041 | validation/accuracy 0.7" in last
    assert "\x1b" not in stream.getvalue()


def test_disabled_prints_nothing():
    stream = io.StringIO()
    with Progress(10, stream=stream, enabled=False) as progress:
        progress.update(10, examples=1)
        progress.note("x")
    assert stream.getvalue() == ""


def test_data_cannot_drive_the_terminal():
    stream = io.StringIO()
    with Progress(10, title="a\x1b[2J", stream=stream) as progress:
        progress.note("label \x1b]0;owned\x07\nsecond \udcff")
    assert stream.getvalue() == "label \\x1b]0;owned\\x07 second \\udcff\n"


def test_meter_against_hand_computed_figures():
    now = [0.0]
    meter = Meter(1000, 0, clock=lambda: now[0])
    now[0] = 60.0  # compilation: no pace is taken from it
    meter.update(1, 32, 0.0)
    assert meter.remaining is None
    assert meter.rate is None
    for step in range(2, 102):
        now[0] += 0.5
        meter.update(step, 32, 0.1)
    assert meter.rate == pytest.approx(64.0)
    assert meter.wait == pytest.approx(0.1)
    assert meter.remaining == pytest.approx(0.5 * (1000 - 101))
    for step in range(102, 302):
        now[0] += 0.25
        meter.update(step, 32, 0.0)
    # An average with time constant 15 s over 50 s at 64 and then 50 s at 128.
    weights = [0.5 * 2.718281828 ** (-(50 + 50 - 0.5 * i) / 15) for i in range(1, 101)]
    recent = [0.25 * 2.718281828 ** (-(50 - 0.25 * i) / 15) for i in range(1, 201)]
    expected = (64 * sum(weights) + 128 * sum(recent)) / (sum(weights) + sum(recent))
    assert meter.rate == pytest.approx(expected, rel=1e-6)


def test_a_pipe_that_nobody_reads_blocks_nothing():
    read, write = os.pipe()
    os.set_blocking(write, False)
    filled = 0
    try:
        while True:
            filled += os.write(write, b"." * 4096)
    except BlockingIOError:
        os.set_blocking(write, True)
    with os.fdopen(write, "w") as stream:
        with Progress(1000, stream=stream, every=0.0) as progress:
            start = time.monotonic()
            for step in range(1, 500):
                progress.update(step, examples=1)
            progress.note("x" * 10_000)
            assert time.monotonic() - start < 2
            while filled > 0:
                filled -= len(os.read(read, 65536))
            progress.update(501, examples=1)
            assert os.read(read, 4096).startswith(b"train 501/1,000")
            progress.note("x" * 10_000)
            assert len(os.read(read, 65536)) == 4096
        os.close(read)


def test_a_closed_reader_stops_nothing():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream, Progress(10, stream=stream, every=0.0) as progress:
        progress.update(1, examples=1)


def read_all(master, found):
    try:
        while data := os.read(master, 65536):
            found.append(data)
    except OSError:
        pass


def test_a_live_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    master, slave = pty.openpty()
    found = []
    reader = threading.Thread(target=read_all, args=(master, found), daemon=True)
    reader.start()
    with os.fdopen(slave, "w") as stream, Progress(20, title="fused", stream=stream) as progress:
        for step in range(1, 21):
            progress.update(step, examples=8, wait_fraction=0.5, values={"loss": 0.25})
            time.sleep(0.02)
        progress.note("best: [bold]0.7[/bold]")
    reader.join(2)
    os.close(master)
    text = b"".join(found).decode()
    assert "fused" in text
    assert "20/20 100%" in text
    assert "input wait 50%" in text
    assert "loss 0.25" in text
    assert "best: [bold]0.7[/bold]" in text


def test_a_terminal_that_nobody_reads_blocks_nothing(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        start = time.monotonic()
        with Progress(100_000, stream=stream) as progress:
            for _ in range(60):
                progress.note("y" * 4000)
            for step in range(1, 3000):
                progress.update(step, examples=8, values={"loss": 0.1})
        assert time.monotonic() - start < 5
        found = []
        drain = threading.Thread(target=read_all, args=(master, found), daemon=True)
        drain.start()
        progress._bar._thread.join(5)
        assert not progress._bar._thread.is_alive()
    drain.join(2)
    os.close(master)
