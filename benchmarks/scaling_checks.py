"""What is compiled, and what a tiny model holds and sends, beside the scaling study's formulas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import scaling

TINY = scaling.Tower(tokens=0, width=32, depth=2, heads=4, hidden=128)
TINY_ROWS, TINY_JOINT, TINY_WORDS = 16, 32, 512
TOPOLOGIES = {4: "v5e:2x2", 16: "v5e:4x4", 256: "v5e:16x16"}
CASES = (
    ("two towers", "base", 16),
    ("fused", "base", 16),
    ("two towers", "base", 256),
    ("two towers", "giant", 256),
    ("fused", "base", 256),
    ("two towers", "large", 256),
    ("fused", "large", 256),
    ("fused", "giant", 256),
    ("two towers", "base", 4),
)
"""Model, size and chips, compiled in this order."""


def told_of(result: dict[str, Any], kind: str, size: str, chips: int) -> dict[str, Any]:
    """What is predicted of a weakly scaled step on TPU v5e."""
    case = ("v5e", "weak", kind, size, chips)
    names = ("chip", "scaling", "kind", "size", "chips")
    return next(one for one in result["predicted"] if tuple(one[n] for n in names) == case)


def compiled(result: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
    """Weakly scaled steps, compiled for TPUs that are not there; those that are known are left."""
    import mmjax
    from mmjax.parallel.chips import CHIPS

    done = {(one["kind"], one["size"], one["chips"]) for one in result["compiled"]}
    for kind, size, chips in [case for case in CASES if case not in done][:most]:
        model = next(m for m in result["models"] if (m["kind"], m["size"]) == (kind, size))
        told = told_of(result, kind, size, chips)
        rows = scaling.ROWS * chips
        config = scaling.config(kind, size, rows, told["fsdp"])
        step = mmjax.compile(config, topology=TOPOLOGIES[chips])
        yield {
            "kind": kind,
            "size": size,
            "chips": chips,
            "topology": TOPOLOGIES[chips],
            "fsdp": told["fsdp"],
            "fits": step.fits,
            "needed": step.needed,
            "needed_by_formula": told["needed"],
            "sent": sum(one.seconds or 0.0 for one in step.collectives) * CHIPS["v5e"].ring,
            "sent_by_formula": told["sent"],
            "collectives": [[one.kind, one.axis, one.count, one.bytes] for one in step.collectives],
            "flops": step.flops,
            "flops_by_formula": rows * (model["flops"] + 6.0 * rows * scaling.JOINT[kind][size]),
            "seconds": step.seconds,
        }


def tiny(kind: str, axis: str, count: int) -> Any:
    """The config of a tiny model on so many devices."""
    from mmjax.core import config as config_lib

    def sized(place: str) -> list[str]:
        return [
            f"{place}.width={TINY.width}", f"{place}.depth={TINY.depth}",
            f"{place}.heads={TINY.heads}", f"{place}.mlp_dim={TINY.hidden}",
        ]  # fmt: skip

    changes = [
        "data.modalities.image.size=32",
        f"model.joint_dim={TINY_JOINT}",
        "model.dtype=float32",
        "mesh.data=1",
        f"mesh.{axis}={count}",
        *sized("model.encoders.image"),
        *sized("model.encoders.text"),
    ]
    if kind == "fused":
        changes += [
            *sized("model.fusion"),
            "objectives.contrastive.queue_size=64",
            f"objectives.matching.among={TINY_ROWS // count}",
        ]
    return config_lib.override(scaling.config(kind, "base", TINY_ROWS), changes)


def checked() -> Iterator[dict[str, Any]]:
    """Tiny models on 1 to 8 devices of this machine: what they hold and send, really."""
    for kind in ("two towers", "fused"):
        for axis in ("data", "fsdp"):
            for count in (1, 2, 4, 8) if axis == "data" else (2, 4, 8):
                yield {"kind": kind, "axis": axis, "devices": count, **_checked(kind, axis, count)}


def _checked(kind: str, axis: str, count: int) -> dict[str, Any]:
    import jax
    import numpy as np

    from mmjax.api.compiling import prepared_ahead
    from mmjax.parallel.chips import seconds_on_wire
    from mmjax.parallel.collectives import collectives
    from mmjax.parallel.layout import places
    from mmjax.parallel.program import Program
    from mmjax.parallel.sharding import put_batch
    from mmjax.parallel.topology import Topology
    from mmjax.train.example import example_batch
    from mmjax.train.trainer import Trainer

    whole, dataset, _ = prepared_ahead(tiny(kind, axis, count), None, TINY_WORDS)
    trainer = Trainer.build(whole, dataset, mesh=Topology.parse(f"cpu:{count}").mesh(whole.mesh))
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
    batch = put_batch(example_batch(dataset, TINY_ROWS), trainer.mesh)
    step: Any = trainer.step
    # What is sent is settled before machine code is made, on which no effort is spent.
    options = {"xla_backend_optimization_level": 0}
    compiled = step.lower(trainer.state, batch).compile(compiler_options=options)
    sent = sum(
        one.times * seconds_on_wire(one.kind, one.group, one.bytes, 1.0)
        for one in collectives(Program(compiled.as_text()))
    )
    _, values = compiled(trainer.state, batch)
    jax.block_until_ready(values)
    params = [
        (one.path, one.whole // 4) for one in places("p", plan.boxed.params, plan.shardings.params)
    ]
    words = sum(size for path, size in params if "/words/" in path)
    length = whole.data.modalities["text"].options["max_length"]
    rows, fsdp = TINY_ROWS / count, count if axis == "fsdp" else 1
    more = scaling.gathered_again(kind, [TINY, TINY, TINY])
    summed = scaling.summed_again(kind, [TINY, TINY, TINY], words)
    # A CPU's compiler sums gradients whole on every device: 4 where 3 are needed.
    formula = scaling.sends(
        sum(size for _, size in params),
        words,
        more,
        summed,
        rows * length * TINY.width,
        fsdp,
        count // fsdp,
        c=4,
        times=4,
    )
    return {
        "state_held": held,
        "state_by_rules": rules,
        "sent": sent,
        "sent_by_formula": sum(formula.values()) + 2 * rows * (count - 1) * TINY_JOINT * 4,
    }
