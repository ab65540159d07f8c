"""On what, when and with which versions a measurement was taken."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any

import jax

from mmjax.checkpoint.manifest import library_versions


def about() -> dict[str, Any]:
    """JSON values that go with every result."""
    device = jax.devices()[0]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": f"{jax.device_count()} x {device.platform} ({device.device_kind})",
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": library_versions(),
    }


def cpu_model() -> str:
    """The processor's name, as Linux knows it."""
    known = Path("/proc/cpuinfo")
    if known.is_file():
        for line in known.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
