"""How far two models scale: memory, bytes sent and predicted efficiency on 1 to 4,096 chips.

python -m benchmarks.scaling           writes results/scaling.json and scaling.md

Models: two towers (CLIP's, configs/clip_vit_b16.py) and towers that are fused (ALBEF's,
configs/albef_like.py), at three sizes. Of each, the real training step is traced once, for devices
that are not there: its FLOPs are counted from the trace (loops as often as they turn), and the
bytes of its state on a device follow from the very rules that lay it out, for every mesh. Nothing
is compiled but a tiny model, for 1 to 8 devices of this machine, whose state and sent bytes are set
beside the formulas'.

Formulas, n chips of which f split the state, P parameters, c = 2 bytes of bfloat16, rows r a chip:

- activations, computed again layer by layer: of each tower, for each row, depth x tokens x width x
  c that are kept, and of one layer 8 x tokens x width x c + 3 x tokens x hidden x c + 3 x heads x
  tokens^2 x 4; the gradients, 4 P / f bytes; the batch.
- data axis (n / f groups): an all-reduce of gradients, 2 (g - 1) / g x P c / f bytes.
- fsdp axis: gathered twice, scattered once, 3 (f - 1) / f x P c bytes.
- the vectors of all rows for a loss over all pairs: 2 sides x rows of all chips x joint x 4 bytes;
  its similarities, 6 x r x all rows x joint FLOPs a chip, which grow with the chips: what ends
  weak scaling.
- a step: FLOPs at 60 % of the chip's peak (`ATTAINED`, an assumption), and then what is sent over
  a ring of both links of one torus dimension, of which the layers' gathers hide behind their
  products as far as these last. Beyond a slice the gradients also cross the slower network: each
  chip sends its part of them once there and back.

Efficiency is that of one chip's products alone: FLOPs time by step time.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
CHIPS = (1, 4, 16, 64, 256, 1024, 4096)
SLICE = {"v5e": 256, "v5p": 4096}
"""Chips of a slice, here; v5e has no larger one."""
ATTAINED, SHARE = 0.6, 0.92
ROWS, BATCH = 64, 32768
"""Rows a chip where scaling is weak, of all chips where it is strong."""
C = 2


@dataclasses.dataclass(frozen=True)
class Tower:
    tokens: int
    width: int
    depth: int
    heads: int
    hidden: int


IMAGE = {
    "base": Tower(197, 768, 12, 12, 3072),
    "large": Tower(257, 1024, 24, 16, 4096),
    "giant": Tower(257, 1408, 40, 16, 6144),
}
TEXT = {
    "base": Tower(77, 512, 12, 8, 2048),
    "large": Tower(77, 768, 12, 12, 3072),
    "giant": Tower(77, 1024, 24, 16, 4096),
}
FUSED = {
    "base": (Tower(30, 768, 6, 12, 3072), Tower(30, 768, 6, 12, 3072)),
    "large": (Tower(30, 1024, 12, 16, 4096), Tower(30, 1024, 12, 16, 4096)),
    "giant": (Tower(30, 1408, 20, 16, 6144), Tower(30, 1408, 20, 16, 6144)),
}
"""Text encoder and fusion layers of the fused model."""
MODELS = [(kind, size) for kind in ("two towers", "fused") for size in ("base", "large", "giant")]
JOINT = {
    "two towers": {"base": 512, "large": 768, "giant": 1024},
    "fused": dict.fromkeys(IMAGE, 256),
}


def towers(kind: str, size: str) -> list[Tower]:
    return [IMAGE[size], TEXT[size]] if kind == "two towers" else [IMAGE[size], *FUSED[size]]


def config(kind: str, size: str) -> Any:
    """The config of a model, with 256 rows a step."""
    from mmjax.core import config as config_lib

    def sized(place: str, one: Tower) -> list[str]:
        return [
            f"{place}.width={one.width}", f"{place}.depth={one.depth}",
            f"{place}.heads={one.heads}", f"{place}.mlp_dim={one.hidden}",
            f"{place}.remat=full",
        ]  # fmt: skip

    name = "clip_vit_b16" if kind == "two towers" else "albef_like"
    patch = 16 if size == "base" else 14
    changes = [
        "data.batch_size=256",
        "data.eval_batch_size=256",
        "data.modalities.image.size=224",
        f"model.encoders.image.patch={patch}",
        f"model.joint_dim={JOINT[kind][size]}",
        *sized("model.encoders.image", IMAGE[size]),
    ]
    if kind == "two towers":
        changes += sized("model.encoders.text", TEXT[size])
    else:
        text, fusion = FUSED[size]
        changes += [*sized("model.encoders.text", text), *sized("model.fusion", fusion)]
    loaded = config_lib.load(HERE.parent / "configs" / f"{name}.py")
    return config_lib.override(loaded, changes)


@dataclasses.dataclass
class Model:
    kind: str
    size: str
    parameters: int
    flops: float
    """Of a row, forward and backward, with what is computed again."""
    boxed: Any

    def state(self, fsdp: int, chips: int) -> int:
        """Bytes of a device, by the layout's own rules."""
        from mmjax.parallel.layout import places
        from mmjax.parallel.mesh import MeshConfig
        from mmjax.parallel.sharding import variable_shardings

        mesh = abstract(MeshConfig(-1, fsdp, 1), chips)
        found = places("state", self.boxed, variable_shardings(self.boxed, mesh))
        return sum(one.bytes for one in found)


def abstract(config: Any, chips: int) -> Any:
    """A mesh without devices."""
    from jax.sharding import AbstractMesh, AxisType

    from mmjax.parallel.mesh import AXES, mesh_shape

    return AbstractMesh(mesh_shape(config, chips), AXES, axis_types=(AxisType.Auto,) * 3)


def traced(kind: str, size: str) -> Model:
    """The real step, traced for one device that is not there."""
    import jax

    from mmjax.api.compiling import prepared_ahead
    from mmjax.parallel import flops
    from mmjax.parallel.mesh import MeshConfig
    from mmjax.train.example import example_shapes
    from mmjax.train.trainer import Trainer

    whole, dataset, _ = prepared_ahead(config(kind, size), None, None)
    trainer = Trainer.build(whole, dataset, mesh=abstract(MeshConfig(), 1))
    rows = whole.data.batch_size
    step: Any = trainer.step
    jaxpr = step.trace(trainer.state, example_shapes(dataset, rows)).jaxpr.jaxpr
    params = sum(math.prod(one.shape) for one in jax.tree.leaves(trainer.state.params))
    # What the losses compute of all pairs grows with the batch, and is counted apart.
    pairs = 6.0 * rows * JOINT[kind][size]
    return Model(kind, size, params, flops.count(jaxpr) / rows - pairs, trainer.plan.boxed)


def activations(kind: str, size: str, rows: float) -> float:
    """Bytes of a device, computed again layer by layer."""
    kept = sum(one.depth * one.tokens * one.width * C for one in towers(kind, size))
    layer = max(
        8 * one.tokens * one.width * C
        + 3 * one.tokens * one.hidden * C
        + 3 * one.heads * one.tokens**2 * 4
        for one in towers(kind, size)
    )
    return rows * (kept + layer + 224 * 224 * 3 * 4)


def predicted(model: Model, chip: Any, name: str, chips: int, rows: float) -> dict[str, Any]:
    """A step on so many chips, with as little split of the state as fits."""
    p, e = model.parameters, JOINT[model.kind][model.size]
    inside = min(chips, SLICE[name])
    # One row at a time is the least that micro-batches can come to.
    found = None
    for fsdp in (2**i for i in range(inside.bit_length()) if inside % 2**i == 0):
        state = model.state(fsdp, chips) + 4 * p / fsdp
        for micro in (2**i for i in range(12)):
            if rows / micro < 1:
                break
            needed = state + activations(model.kind, model.size, rows / micro)
            if needed <= SHARE * chip.memory and (found is None or micro < found[1]):
                found = (fsdp, micro, needed)
                break
        if found is not None and found[1] == 1:
            break
    if found is None:
        return {"chips": chips, "rows": rows, "fits": False}
    fsdp, micro, needed = found
    groups = chips // fsdp
    pairs = 6.0 * rows * (rows * chips) * e
    again = 4 / 3 if micro > 1 else 1.0
    compute = (rows * model.flops * again + pairs) / chip.flops / ATTAINED
    gathers = 3 * (fsdp - 1) / fsdp * p * C * micro / chip.ring
    slices = -(-chips // inside)
    local = groups // slices
    reduce = 2 * (local - 1) / max(local, 1) * p * C / fsdp / chip.ring
    outside = 2 * (slices - 1) / slices * p * C / fsdp / max(local, 1) / chip.network
    vectors = 2 * rows * (chips - 1) * e * 4 / chip.ring
    exposed = max(gathers - compute, 0.0) + reduce + outside + vectors
    step = compute + exposed
    useful = rows * model.flops / chip.flops / ATTAINED
    parts = {
        "similarities": pairs / chip.flops / ATTAINED,
        "computed again": (again - 1) * rows * model.flops / chip.flops / ATTAINED,
        "gathers": max(gathers - compute, 0.0),
        "gradients": reduce,
        "gradients between slices": outside,
        "vectors": vectors,
    }
    return {
        "chips": chips,
        "rows": rows,
        "fits": True,
        "fsdp": fsdp,
        "micro_batches": micro,
        "needed": needed,
        "sent": 3 * (fsdp - 1) / fsdp * p * C * micro
        + 2 * (local - 1) / max(local, 1) * p * C / fsdp
        + 2 * rows * (chips - 1) * e * 4,
        "step": step,
        "rows_a_second": rows * chips / step,
        "efficiency": useful / step,
        "mfu": useful * ATTAINED / step,
        "lost_to": max(parts, key=parts.__getitem__) if step > 1.001 * useful else "-",
    }


def to_markdown(result: dict[str, Any]) -> str:
    lines = []
    for name in result["chips"]:
        for scaling in ("weak", "strong"):
            rows = f"{ROWS} rows a chip" if scaling == "weak" else f"{BATCH:,} rows in all"
            lines += [
                f"### {name}, {scaling}: {rows}",
                "",
                "| model | parameters | FLOPs a row | "
                + " | ".join(f"{one:,}" for one in CHIPS)
                + " | lost at the end to |",
                "|---|---:|---:|" + "---:|" * len(CHIPS) + "---|",
            ]
            for model in result["models"]:
                found = [
                    one
                    for one in result["predicted"]
                    if (one["chip"], one["scaling"]) == (name, scaling)
                    and (one["kind"], one["size"]) == (model["kind"], model["size"])
                ]
                cells = [
                    f"{one['efficiency']:.0%} ({one['fsdp']}/{one['micro_batches']})"
                    if one["fits"]
                    else "no room"
                    for one in found
                ]
                last = next((one["lost_to"] for one in reversed(found) if one["fits"]), "-")
                lines.append(
                    f"| {model['kind']}, {model['size']} | {model['parameters'] / 1e6:,.0f} M | "
                    f"{model['flops']:.3g} | {' | '.join(cells)} | {last} |"
                )
            lines.append("")
    lines += [
        "Efficiency beside one chip that only multiplies; in brackets the chips that split a "
        "state, and micro-batches.",
        "",
        "### Checked on devices of this machine",
        "",
        "| axis | devices | state held on one | by the rules | ratio | sent by one | by the "
        "formula | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in result["checked"]:
        sent = one["sent"] / one["sent_by_formula"] if one["sent_by_formula"] else 1.0
        lines.append(
            f"| {one['axis']} | {one['devices']} | {one['state_held']:,} | "
            f"{one['state_by_rules']:,} | {one['state_held'] / one['state_by_rules']:.3f} | "
            f"{one['sent']:,.0f} | {one['sent_by_formula']:,.0f} | {sent:.2f} |"
        )
    lines += [
        "",
        "The formula of fsdp gathers all parameters. The table of words, 62 % of the tiny model's, "
        "is looked up where it lies instead, so that less is sent; of the models above it is a "
        "sixth or less.",
    ]
    told = ", ".join(f"{k} {v}" for k, v in result["versions"].items() if k in ("jax", "jaxlib"))
    lines += ["", f"Predicted {result['date']} with {told}: `python -m benchmarks.scaling`."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    flag = "--xla_force_host_platform_device_count=8"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()

    from benchmarks import scaling_checks
    from benchmarks.machine import about
    from mmjax.parallel.chips import CHIPS as KNOWN

    models = []
    for kind, size in MODELS:
        models.append(traced(kind, size))
        print(kind, size, models[-1].parameters, models[-1].flops, flush=True)
    results = []
    for name in SLICE:
        for scaling in ("weak", "strong"):
            for model in models:
                for chips in CHIPS:
                    rows = ROWS if scaling == "weak" else BATCH / chips
                    found = predicted(model, KNOWN[name], name, chips, rows)
                    own = {"chip": name, "scaling": scaling, "kind": model.kind, "size": model.size}
                    results.append({**own, **found})
    result: dict[str, Any] = {
        **about(),
        "chips": list(SLICE),
        "models": [
            {"kind": m.kind, "size": m.size, "parameters": m.parameters, "flops": m.flops}
            for m in models
        ],
        "predicted": results,
        "checked": [],
    }
    write(arguments.out, result)
    for one in scaling_checks.checked():
        print(one, flush=True)
        result["checked"].append(one)
        write(arguments.out, result)


def write(folder: Path, result: dict[str, Any]) -> None:
    """The study as it is so far."""
    from mmjax.core.files import atomic, write_json

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "scaling.json", result)
    with atomic(folder / "scaling.md") as file:
        file.write(to_markdown(result) + "\n")


if __name__ == "__main__":
    main()
