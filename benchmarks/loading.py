"""What loading pretrained weights onto a mesh costs in memory: `python benchmarks/loading.py`.

Writes results/loading.json. A BERT of 1 GB is loaded from each form of a Hugging Face folder and
from a converted one onto 8 virtual devices with fsdp=8, each in a process of its own that samples
its anonymous memory every 2 ms. Growth is the peak less what was there before the call, over the
bytes of the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

RESULT = Path(__file__).parent / "results" / "loading.json"
DEVICES = 8
SHARD_BYTES = 200_000_000
CONFIG = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 1024,
    "num_hidden_layers": 18,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 512,
}


def weights(layers: int = CONFIG["num_hidden_layers"]) -> Iterator[tuple[str, np.ndarray]]:
    """Random weights under the torch class' names, one at a time."""
    rng = np.random.default_rng(0)
    width, hidden = CONFIG["hidden_size"], CONFIG["intermediate_size"]

    def linear(name: str, outputs: int, inputs: int) -> Iterator[tuple[str, np.ndarray]]:
        yield f"{name}.weight", rng.standard_normal((outputs, inputs), np.float32)
        yield f"{name}.bias", rng.standard_normal(outputs, np.float32)

    def norm(name: str) -> Iterator[tuple[str, np.ndarray]]:
        yield f"{name}.weight", rng.standard_normal(width, np.float32)
        yield f"{name}.bias", rng.standard_normal(width, np.float32)

    sizes = {"word": CONFIG["vocab_size"], "position": 512, "token_type": 2}
    for kind, count in sizes.items():
        table = rng.standard_normal((count, width), np.float32)
        yield f"embeddings.{kind}_embeddings.weight", table
    yield from norm("embeddings.LayerNorm")
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            yield from linear(f"{layer}.attention.{part}", width, width)
        yield from norm(f"{layer}.attention.output.LayerNorm")
        yield from linear(f"{layer}.intermediate.dense", hidden, width)
        yield from linear(f"{layer}.output.dense", width, hidden)
        yield from norm(f"{layer}.output.LayerNorm")
    yield from linear("pooler.dense", width, width)


def shards(most: int) -> Iterator[dict[str, np.ndarray]]:
    shard: dict[str, np.ndarray] = {}
    for name, array in weights():
        if shard and sum(one.nbytes for one in shard.values()) + array.nbytes > most:
            yield shard
            shard = {}
        shard[name] = array
    yield shard


def write_safetensors(folder: Path, most: int) -> None:
    from safetensors.numpy import save_file

    _write(folder, "model.safetensors", most, lambda shard, path: save_file(shard, str(path)))


def write_msgpack(folder: Path, most: int) -> None:
    """As Flax's `save_pretrained` does, in the names of FlaxBertModel."""
    from flax import serialization, traverse_util

    def write(shard: dict[str, np.ndarray], path: Path) -> None:
        named = {
            flax_name(name): array.T if _is_kernel(name) else array for name, array in shard.items()
        }
        tree = traverse_util.unflatten_dict(named, sep="/")
        path.write_bytes(serialization.to_bytes(tree))

    _write(folder, "flax_model.msgpack", most, write)


def _is_kernel(name: str) -> bool:
    return name.endswith("weight") and "LayerNorm" not in name and "embeddings" not in name


def flax_name(name: str) -> str:
    above, _, last = name.rpartition(".")
    if last == "weight":
        last = "kernel" if _is_kernel(name) else "scale" if "LayerNorm" in name else "embedding"
    return f"{above}.{last}".replace(".", "/")


def _write(folder: Path, name: str, most: int, write) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    several = list(shards(most))
    if len(several) == 1:
        write(several[0], folder / name)
        return
    stem, _, suffix = name.partition(".")
    flax = suffix == "msgpack"
    weight_map = {}
    for number, shard in enumerate(several, 1):
        file = f"{stem}-{number:05d}-of-{len(several):05d}.{suffix}"
        write(shard, folder / file)
        weight_map |= {flax_name(key) if flax else key: file for key in shard}
    (folder / f"{name}.index.json").write_text(json.dumps({"weight_map": weight_map}))


class Peak(threading.Thread):
    """The largest anonymous memory of this process while the block runs, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = self.before = anonymous()
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.002):
            self.bytes = max(self.bytes, anonymous())

    def __enter__(self) -> Peak:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self.join()


def anonymous() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell of anonymous memory")


def measure(folder: str, scan: bool) -> dict:
    """Loads a folder onto the mesh, in this process."""
    import jax

    import mmjax
    from mmjax.parallel.mesh import MeshConfig, make_mesh

    mesh = make_mesh(MeshConfig(fsdp=DEVICES))
    jax.block_until_ready(jax.device_put(np.zeros(8), jax.devices()[0]))
    import transformers  # noqa: F401  (what it takes is no part of loading)

    start = time.perf_counter()
    with Peak() as peak:
        options = {"scan": True} if scan else {}
        encoder = mmjax.load_pretrained(folder, mesh=mesh, **options)
        jax.block_until_ready(encoder.variables)
    leaves = jax.tree.leaves(encoder.variables)
    total = sum(leaf.nbytes for leaf in leaves)
    split = sum(leaf.nbytes for leaf in leaves if not leaf.sharding.is_fully_replicated)
    return {
        "weights_bytes": total,
        "sharded_bytes": split,
        "before_bytes": peak.before,
        "peak_bytes": peak.bytes,
        "growth": round((peak.bytes - peak.before) / total, 3),
        "seconds": round(time.perf_counter() - start, 2),
    }


def _apart(*arguments: str) -> dict:
    """Runs this file in a process of its own."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.loading", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    from benchmarks.machine import about
    from mmjax.core.files import write_json

    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        forms = {
            "safetensors": ("safetensors", 2**60, False),
            "safetensors, in shards": ("safetensors", SHARD_BYTES, False),
            "safetensors, layers scanned": ("safetensors", 2**60, True),
            "msgpack": ("msgpack", 2**60, False),
            "msgpack, in shards": ("msgpack", SHARD_BYTES, False),
            "msgpack, in shards, layers scanned": ("msgpack", SHARD_BYTES, True),
        }
        made: dict[tuple[str, int], Path] = {}
        for name, (kind, most, scan) in forms.items():
            if (kind, most) not in made:
                made[kind, most] = here / str(len(made))
                _apart("--make", kind, "--most", str(most), "--folder", str(made[kind, most]))
            folder = str(made[kind, most])
            results[name] = _apart("--measure", folder, *(["--scan"] if scan else []))
            print(name, results[name])
        converted = here / "converted"
        source = next(iter(made.values()))
        subprocess.run(
            [sys.executable, "-m", "mmjax", "convert", str(source), str(converted)], check=True
        )
        results["converted"] = _apart("--measure", str(converted))
        print("converted", results["converted"])
    write_json(RESULT, {**about(), "mesh": {"fsdp": DEVICES}, "config": CONFIG, "results": results})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure")
    parser.add_argument("--scan", action="store_true")
    parser.add_argument("--make", choices=("safetensors", "msgpack"))
    parser.add_argument("--most", type=int, default=2**60)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.scan)))
    elif args.make:
        (write_safetensors if args.make == "safetensors" else write_msgpack)(args.folder, args.most)
        print("{}")
    else:
        main()
