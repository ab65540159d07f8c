"""Named places where a test can kill the process, as a machine fault would.

`MMJAX_FAILPOINT=name:count` sends SIGKILL to this process the `count`-th time it passes `name`.
Unset, a failpoint costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal

NAMES = (
    "start-up",
    "compile",
    "step",
    "save-started",
    "before-commit",
    "after-commit",
    "evaluation",
    "part",
    "after-part",
    "after-merge",
)

_passed: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Dies here if the environment asks for it."""
    asked = os.environ.get("MMJAX_FAILPOINT")
    if asked is None:
        return
    assert name in NAMES, name
    wanted, _, count = asked.partition(":")
    if wanted != name:
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
