"""Memory of the contrastive losses by batch: all similarities at once, and in chunks.

python -m benchmarks.pretraining_scale     writes results/pretraining_scale.json and .md

The gradient of each loss by both sides' vectors (of hard negatives, the drawing), rows split over
`data`, is compiled for CPU devices and not run. Of the program of one device: its temporary memory,
and its largest array. Of the similarities `[B B]` a device holds `[B / devices, B]` at once, and
`[B / devices, chunk]` in chunks; what else there is are vectors `[B e]`.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from typing import Any

from benchmarks import ahead

DEVICES = (1, 8)
ROWS = (4096, 16384, 32768)
WIDTH, CHUNK, QUEUE = 256, 1024, 16384
MEBI = 2**20


def losses() -> dict[str, Callable[..., Any]]:
    """By name, functions of two sides' vectors and a chunk."""
    import jax
    import jax.numpy as jnp

    from mmjax import objectives

    def momentum(a: Any, b: Any, chunk: int) -> Any:
        queue = jnp.ones((QUEUE, a.shape[1]))
        return objectives.momentum_contrastive_loss(a, b, b, a, queue, queue, 14.0, chunk=chunk)

    def negatives(a: Any, b: Any, chunk: int) -> Any:
        key = jax.random.key(0, impl="threefry2x32")
        valid = jnp.ones(len(a), bool)
        chosen = objectives.hard_negatives(a, b, 14.0, valid, key, chunk=chunk)
        return jnp.sum(a * chosen[:, None])

    return {
        "contrastive": lambda a, b, chunk: objectives.clip_loss(a, b, 14.0, chunk=chunk),
        "siglip": lambda a, b, chunk: objectives.siglip_loss(a, b, 10.0, -10.0, chunk=chunk),
        f"momentum_contrastive, queue {QUEUE}": momentum,
        "hard negatives": negatives,
    }


def largest_array(program: str) -> int:
    """The elements of the largest array that a compiled program names."""
    shapes = re.findall(r"\b(?:pred|[a-z]+\d+)\[([\d,]+)\]", program)
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


def measure(name: str, devices: int, rows: int, chunk: int) -> dict[str, Any]:
    """What the compiled gradient of one loss needs on each device."""
    import jax
    import jax.numpy as jnp

    from mmjax.parallel.mesh import MeshConfig, make_mesh, traced_on
    from mmjax.parallel.sharding import batch_sharding

    mesh = make_mesh(MeshConfig(devices, 1, 1), jax.devices()[:devices])
    spread = batch_sharding(mesh)
    vectors = jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32, sharding=spread)
    gradient = jax.grad(functools.partial(losses()[name], chunk=chunk), argnums=(0, 1))
    compiled = jax.jit(
        traced_on(mesh, gradient), in_shardings=(spread, spread), out_shardings=spread
    )
    program = compiled.lower(vectors, vectors).compile()
    return {
        "loss": name,
        "devices": devices,
        "rows": rows,
        "chunk": chunk,
        "temp_bytes": program.memory_analysis().temp_size_in_bytes,
        "largest_array": largest_array(program.as_text()),
    }


def to_markdown(found: dict[str, Any], taken: str) -> str:
    measured = found["measured"]
    lines = [
        "| loss | devices | B | temporary MiB, at once | in chunks | largest array / B, at once "
        "| in chunks |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    by_case = {(m["loss"], m["devices"], m["rows"], m["chunk"]): m for m in measured}
    for (name, devices, rows, chunk), whole in by_case.items():
        if chunk != rows:
            continue
        both = whole, by_case[name, devices, rows, CHUNK]
        cells = [
            *(f"{one['temp_bytes'] / MEBI:,.0f}" for one in both),
            *(f"{one['largest_array'] / rows:,.0f}" for one in both),
        ]
        lines.append(f"| {name} | {devices} | {rows} | {' | '.join(cells)} |")
    how = (
        f"Of each device, vectors of {WIDTH} numbers in float32, chunks of {CHUNK}, which a "
        f"batch of more than 4096 rows gets unless told. Compiled for CPU {taken}, not "
        "run: `python -m benchmarks.pretraining_scale`."
    )
    return "\n".join([*lines, "", how])


def main() -> None:
    arguments = ahead.parser(__doc__).parse_args()
    ahead.on_cpu(max(DEVICES))

    measured = [
        measure(name, devices, rows, chunk)
        for name in losses()
        for devices in DEVICES
        for rows in ROWS
        for chunk in (rows, CHUNK)
    ]
    ahead.write(arguments.out, "pretraining_scale", {"measured": measured}, to_markdown)


if __name__ == "__main__":
    main()
