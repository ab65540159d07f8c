"""Memory that one step frees is the next one's."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's mallopt(3)."""
_KEPT = 1 << 30
_LARGEST = 32 << 20
"""glibc keeps no larger blocks."""
_TOLD = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed() -> bool:
    """Lets the C library keep what is freed; whether it does.

    On a CPU a program allocates its temporaries anew at each step. Where glibc gives them back to
    the system in between, which depends on what else lies in its heap, the next step gets every
    page again by a fault: 3,816 of them, 8 to 10 ms, in a step of the quickstart that takes 41 ms
    otherwise (one core). What the environment says of the C library's memory holds instead.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _TOLD):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
