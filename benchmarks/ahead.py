"""What benchmarks that compile and do not run have in common: their start, and their results."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def parser(told: str | None) -> argparse.ArgumentParser:
    """Of a benchmark with this docstring, whose results go to `--out`."""
    found = argparse.ArgumentParser(
        description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--out", type=Path, default=RESULTS)
    return found


def on_cpu(devices: int = 1) -> None:
    """JAX's devices are so many of this machine; to be called before it is first used."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if devices > 1:
        flag = f"--xla_force_host_platform_device_count={devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()


def write(
    out: Path, name: str, values: dict[str, Any], page: Callable[[dict[str, Any], str], str]
) -> None:
    """`<name>.json` of the values and where they are from, and `<name>.md` of what `page` says of
    them, given "<date> with <versions>"."""
    from benchmarks.machine import about
    from mmjax.core.files import atomic, write_json

    where = about()
    versions = where["versions"]
    told = ", ".join(f"{one} {versions[one]}" for one in ("jax", "jaxlib") if one in versions)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", {**where, **values})
    with atomic(out / f"{name}.md") as file:
        file.write(page(values, f"{where['date']} with {told}") + "\n")


def known(out: Path, name: str) -> list[dict[str, Any]]:
    """What a result has measured already."""
    from mmjax.core.files import read_json

    path = out / f"{name}.json"
    return read_json(path)["measured"] if path.is_file() else []
