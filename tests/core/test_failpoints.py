import os
import subprocess
import sys

import pytest

from mmjax.core import failpoints

CODE = """
from mmjax.core.failpoints import failpoint
for step in range(4):
    failpoint("step")
    failpoint("evaluation")
    print(step, flush=True)
"""


def run(asked):
    env = {**os.environ, "MMJAX_FAILPOINT": asked}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize(
    ("asked", "code", "printed"),
    [
        ("step:3", -9, ["0", "1"]),
        ("step", -9, []),
        ("compile:1", 0, ["0", "1", "2", "3"]),
        ("step:9", 0, ["0", "1", "2", "3"]),
    ],
)
def test_dies_at_the_count_asked_for(asked, code, printed):
    assert run(asked) == (code, printed)


def test_without_being_asked_it_does_nothing(monkeypatch):
    monkeypatch.delenv("MMJAX_FAILPOINT", raising=False)
    for name in failpoints.NAMES:
        failpoints.failpoint(name)


def test_a_name_that_is_not_listed_is_our_own_mistake(monkeypatch):
    monkeypatch.setenv("MMJAX_FAILPOINT", "step:99")
    with pytest.raises(AssertionError):
        failpoints.failpoint("stpe")
