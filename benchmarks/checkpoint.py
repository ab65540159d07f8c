"""What verified checkpoints cost: `python benchmarks/checkpoint.py` writes results/checkpoint.json.

Two states: 48 arrays of 4 MB, and 480 small ones. Times are the median of the rounds.
"""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.checkpoint import orbax_io, reading
from mmjax.checkpoint.digests import digest_tree
from mmjax.checkpoint.manifest import digest_files, library_versions, list_files
from mmjax.checkpoint.store import Checkpoints
from mmjax.checkpoint.trees import flatten
from mmjax.core.files import write_json

ROUNDS = 5
RESULT = Path(__file__).parent / "results" / "checkpoint.json"


def states() -> dict[str, dict]:
    rng = np.random.default_rng(0)

    def array(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape, np.float32))

    return {
        "48 arrays of 4 MB": {f"w{i}": array(1024, 1024) for i in range(48)},
        "480 small arrays": {
            part: {f"layer{i}": {"kernel": array(128, 128), "bias": array(128)} for i in range(60)}
            for part in ("params", "mu", "nu", "ema")
        },
    }


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def one_round(state: dict, folder: Path) -> dict[str, float]:
    # Fresh arrays each time: jax keeps the host copy of an array that was read once.
    fresh = jax.block_until_ready(jax.tree.map(jnp.copy, state))
    leaves = flatten(fresh)[0]
    times = {"digests of the state": seconds(lambda: digest_tree(leaves))}
    records = digest_tree(leaves)

    fresh = flatten(jax.block_until_ready(jax.tree.map(jnp.copy, state)))[0]
    writer = orbax_io.Writer(600)
    times["Orbax alone, blocking"] = seconds(lambda: writer.start(folder / "plain", fresh))
    times["Orbax alone"] = times["Orbax alone, blocking"] + seconds(writer.wait)
    writer.close()

    with Checkpoints(folder / "checkpoints") as checkpoints:
        fresh = jax.block_until_ready(jax.tree.map(jnp.copy, state))
        times["save, blocking"] = seconds(lambda: checkpoints.save(1, fresh, data_state={}))
        times["save, to the announcement"] = times["save, blocking"] + seconds(checkpoints.wait)
        step = folder / "checkpoints" / "1"
        times["reading back"] = seconds(lambda: reading.verify_on_disk(step / "state", records))
        times["digests of the files"] = seconds(lambda: digest_files(step, list_files(step)))
        times["restore, verified"] = seconds(lambda: checkpoints.restore(state))
    return times


def main() -> None:
    results = {}
    for name, state in states().items():
        rounds = []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                rounds.append(one_round(state, Path(folder)))
        results[name] = {
            "megabytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 1e6,
            "seconds": {key: statistics.median(r[key] for r in rounds) for key in rounds[0]},
        }
        print(name, results[name])
    about = {
        "date": datetime.date.today().isoformat(),
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, {platform.machine()}",
        "load_average": os.getloadavg()[0],
        "versions": library_versions(),
        "rounds": ROUNDS,
    }
    write_json(RESULT, {**about, "results": results})


if __name__ == "__main__":
    main()
