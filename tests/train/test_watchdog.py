"""A run that hangs ends, and says where."""

import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from mmjax.core.errors import ConfigError
from mmjax.train import watchdog
from mmjax.train.watchdog import Watchdog, alive

PROGRAM = """
import threading, time
from mmjax.train.watchdog import Watchdog

def a_thread_that_waits():
    threading.Event().wait()

def the_place_that_hangs():
    time.sleep(30)

threading.Thread(target=a_thread_that_waits, daemon=True).start()
with Watchdog() as watchdog:
    for step in (1, 2, 3):
        time.sleep(0.1)
        watchdog.beat(step)
    the_place_that_hangs()
"""


def test_a_hang_shows_all_stacks_and_exits_with_a_code_that_is_tried_again(monkeypatch):
    monkeypatch.setenv("MMJAX_HANG_SECONDS", "0.5")
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=25, check=False
    )
    assert result.returncode == 75, result.stderr
    assert time.monotonic() - began < 15
    assert "the_place_that_hangs" in result.stderr
    assert "a_thread_that_waits" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("mmjax error MMX-713: no step for 0.5 s after step 3")


def test_signs_of_life_put_the_end_off(monkeypatch):
    now = [0.0]
    # Nothing is entered for long: an end would be that of the tests.
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: now[0]))
    one = Watchdog(100.0)
    with one:
        assert one._until == 1000.0  # compiling
        now[0] = 500.0
        alive()
        assert one._until == 1000.0
        one.beat(1)
        assert one._until == 600.0
        now[0] = 590.0
        alive()
        assert one._until == 690.0
    now[0] = 600.0
    alive()
    assert one._until == 690.0
    assert one._done.is_set()


def test_it_may_be_switched_off_and_refuses_nonsense(monkeypatch):
    assert Watchdog().seconds == 1800
    monkeypatch.setenv("MMJAX_HANG_SECONDS", "0")
    assert Watchdog().seconds == 0
    for text in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("MMJAX_HANG_SECONDS", text)
        with pytest.raises(ConfigError, match=f"MMJAX_HANG_SECONDS={text}"):
            Watchdog()
