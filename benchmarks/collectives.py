"""Collectives of a sharded fusion step, beside the fewest needed.

python -m benchmarks.collectives                 writes results/collectives.json and collectives.md

The library's own training step, with cross-attention fusion as its model, is compiled for 8 CPU
devices, and for TPU v5e:2x4 ahead of time where libtpu is installed (`mmjax[tpu-aot]`); its
collectives are counted in the compiled program.

The fewest, heads and hidden units split over `tensor` (Megatron-LM, Shoeybi et al. 2019, figure 3)
and rows over `data`:

- over `tensor`, in each layer, 4 all-reduces: forward, after the attention's output projection and
  after the MLP's second; backward, of the gradient by the MLP's input, and by the attention's
  inputs, queries and contexts together. The streams of the modalities do not wait for each other,
  so that one all-reduce serves all of them: 4 x depth, where each stream for itself would need
  4 x depth x modalities.
- over `tensor`, 1 for the gradient's norm, which the squares of split parameters enter.
- over `data`, 1 for the number of rows that count, by which the loss is divided and so every
  gradient scaled, and 1 of all gradients, the loss and the task's sums together.

Nothing else: no all-gather, no reduce-scatter, no all-to-all. The TPU's compiler may send the norm
with the last all-reduce over `tensor`, and the gradients that it needs for that ahead of the
others: one less over `tensor`, one more over `data`.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from benchmarks import ahead

DEVICES, TOPOLOGY = 8, "v5e:2x4"
LENGTHS = {"text": (64, 512), "image": (196, 768), "audio": (128, 640)}
"""Tokens and width of each modality."""
ROWS, WIDTH, HEADS, MLP = 16, 256, 4, 512
CASES = (
    # data, tensor, modalities, depth
    (8, 1, 2, 1),
    (2, 4, 2, 1),
    (2, 4, 2, 2),
    (2, 4, 3, 2),
)


def fewest(data: int, tensor: int, depth: int, streams: int = 1) -> dict[str, int]:
    """All-reduces by mesh axis; `streams` that do not share theirs."""
    found = {
        "tensor": 4 * depth * streams + 1 if tensor > 1 else 0,
        "data": 2 if data > 1 else 0,
    }
    return {axis: number for axis, number in found.items() if number}


def lower(mesh: Any, modalities: int, depth: int, platform: str) -> Any:
    """The training step of cross-attention fusion, lowered from shapes alone."""
    import jax
    import jax.numpy as jnp
    from flax import linen as nn

    from mmjax import fusion
    from mmjax.core.types import Batch, TaskOutput, Tokens
    from mmjax.parallel.sharding import batch_sharding
    from mmjax.train.config import OptimizerConfig
    from mmjax.train.optim import make_optimizer, make_schedule
    from mmjax.train.state import plan_state
    from mmjax.train.step import make_step

    class Regression(nn.Module):
        """Towards a target of the fusion's width."""

        @nn.compact
        def __call__(self, batch: Batch, *, train: bool) -> TaskOutput:
            tokens = {
                name: Tokens(one["values"], one["mask"], one["pooled"])
                for name, one in batch.inputs.items()
            }
            method = fusion.build(
                "cross_attention", width=WIDTH, heads=HEADS, mlp_dim=MLP, depth=depth
            )
            error = (method(tokens, train=train).pooled - batch.targets["target"]) ** 2
            weight = batch.row_mask.sum().astype(jnp.float32)
            loss = jnp.where(batch.row_mask[:, None], error, 0).sum() / weight / WIDTH
            return TaskOutput(loss, weight, {"squared_error": error.sum()}, {})

    def array(shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct((ROWS, *shape), dtype, sharding=batch_sharding(mesh))

    names = list(LENGTHS)[:modalities]
    inputs = {
        name: {
            "values": array(LENGTHS[name]),
            "mask": array(LENGTHS[name][:1], bool),
            "pooled": array(LENGTHS[name][1:]),
        }
        for name in names
    }
    batch = Batch(
        inputs,
        {name: array((), bool) for name in names},
        {"target": array((WIDTH,))},
        array((), bool),
        array((), jnp.int32),
    )
    config = OptimizerConfig()
    schedule = make_schedule(config, 100, 0)
    optimizer, module = make_optimizer(config, schedule), Regression()
    example = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), batch)
    plan = plan_state(module, optimizer, example, mesh, seed=0, ema=False)
    step = make_step(module, optimizer, schedule, mesh, plan.shardings)
    return step.trace(plan.abstract, batch).lower(lowering_platforms=(platform,))


def measure(platform: str, data: int, tensor: int, modalities: int, depth: int) -> dict[str, Any]:
    """What the compiled program of one case has, and what it needs."""
    from mmjax.parallel.collectives import collectives, count, count_by_axis
    from mmjax.parallel.mesh import MeshConfig, make_mesh
    from mmjax.parallel.program import Program
    from mmjax.parallel.topology import FAST, topology_mesh

    config = MeshConfig(data, 1, tensor)
    mesh = topology_mesh(TOPOLOGY, config) if platform == "tpu" else make_mesh(config)
    options = FAST if platform == "tpu" else {}
    compiled = lower(mesh, modalities, depth, platform).compile(compiler_options=options)
    sent = collectives(Program(compiled.as_text()))
    return {
        "compiled_for": f"TPU {TOPOLOGY}" if platform == "tpu" else f"{DEVICES} CPU devices",
        "mesh": {"data": data, "tensor": tensor},
        "modalities": modalities,
        "depth": depth,
        "fewest": fewest(data, tensor, depth),
        "fewest_with_a_stream_each": fewest(data, tensor, depth, modalities),
        "found": count(sent),
        "found_by_axis": count_by_axis(sent, mesh.shape),
        "bytes_reduced": sum(one.times * one.bytes for one in sent),
    }


def to_markdown(found: dict[str, Any], taken: str) -> str:
    measured = found["measured"]
    lines = [
        "| compiled for | data x tensor | modalities | depth | fewest | a stream each | found |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in measured:
        found = ", ".join(
            f"{number} {kind} over {axis}"
            for axis, kinds in sorted(one["found_by_axis"].items())
            for kind, number in kinds.items()
        )
        cells = [
            one["compiled_for"],
            f"{one['mesh']['data']} x {one['mesh']['tensor']}",
            one["modalities"],
            one["depth"],
            sum(one["fewest"].values()),
            sum(one["fewest_with_a_stream_each"].values()),
            f"{sum(one['found'].values())}: {found}",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    how = f"Compiled {taken}: `python -m benchmarks.collectives`."
    return "\n".join([*lines, "", how])


def main() -> None:
    parser = ahead.parser(__doc__)
    parser.add_argument("--platforms", nargs="+", choices=("cpu", "tpu"))
    arguments = parser.parse_args()
    ahead.on_cpu(DEVICES)

    there = ("cpu", "tpu") if importlib.util.find_spec("libtpu") else ("cpu",)
    measured = []
    for platform in arguments.platforms or there:
        for case in CASES:
            measured.append(measure(platform, *case))
            print(measured[-1], flush=True)
    ahead.write(arguments.out, "collectives", {"measured": measured}, to_markdown)


if __name__ == "__main__":
    main()
