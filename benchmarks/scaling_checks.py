"""What a tiny model holds and sends on devices that are there, beside the scaling study's rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def checked() -> Iterator[dict[str, Any]]:
    """A tiny two-tower model on 1 to 8 devices of this machine: what it holds and sends, really."""
    import dataclasses as dc

    import jax
    import numpy as np

    from benchmarks import sharding
    from mmjax.api.compiling import prepared_ahead
    from mmjax.parallel.chips import seconds_on_wire
    from mmjax.parallel.collectives import collectives
    from mmjax.parallel.layout import places
    from mmjax.parallel.mesh import MeshConfig
    from mmjax.parallel.program import Program
    from mmjax.parallel.sharding import put_batch
    from mmjax.parallel.topology import Topology
    from mmjax.train.ahead import local_bytes
    from mmjax.train.example import example_batch
    from mmjax.train.trainer import Trainer

    base = sharding.config({"data": 1, "fsdp": 1, "tensor": 1})
    blocks = {"width": 32, "depth": 2, "heads": 4, "mlp_dim": 128, "scan": True, "dropout": 0.0}
    encoders = {
        "text": base.model.encoders["text"].replace(**blocks),
        "image": base.model.encoders["image"].replace(**blocks, patch=16),
    }
    model = dc.replace(base.model, encoders=encoders, joint_dim=32, dtype="float32")
    data = dc.replace(base.data, batch_size=16)
    for axis in ("data", "fsdp"):
        for count in (1, 2, 4, 8):
            mesh = MeshConfig(**{"data": 1, "fsdp": 1, "tensor": 1, axis: count})
            whole = dc.replace(base, model=model, data=data, mesh=mesh)
            whole, dataset, _ = prepared_ahead(whole, None, None)
            trainer = Trainer.build(whole, dataset, mesh=Topology.parse(f"cpu:{count}").mesh(mesh))
            zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), trainer.state)
            trainer.state = jax.device_put(zeros, trainer.plan.shardings)
            first = trainer.mesh.devices.flat[0]
            held = sum(
                shard.data.nbytes
                for leaf in jax.tree.leaves(trainer.state)
                for shard in leaf.addressable_shards
                if shard.device == first
            )
            plan = trainer.plan
            rules = sum(one.bytes for one in places("state", plan.boxed, plan.shardings))
            batch = put_batch(example_batch(dataset, 16), trainer.mesh)
            step: Any = trainer.step
            compiled = step.lower(trainer.state, batch).compile()
            sent = sum(
                one.times * seconds_on_wire(one.kind, one.group, one.bytes, 1.0)
                for one in collectives(Program(compiled.as_text()))
            )
            _, values = compiled(trainer.state, batch)
            jax.block_until_ready(values)
            split = list(places("p", plan.boxed.params, plan.shardings.params))
            p = sum(one.whole for one in split)
            vectors = 2 * 16 * 32 * 4 * (count - 1) / count
            must = {"data": 2, "fsdp": 3}[axis] * (count - 1) / count * p + vectors
            yield (
                {
                    "axis": axis,
                    "devices": count,
                    "state_held": held,
                    "state_by_rules": rules,
                    "state_alone": local_bytes(plan.abstract),
                    "sent": sent,
                    "sent_by_formula": must,
                }
            )
