"""How far two models scale: memory, bytes sent and predicted efficiency on 1 to 4,096 chips.

python -m benchmarks.scaling           writes results/scaling.json, scaling.md and scaling.svg

Models: two towers (CLIP's, configs/clip_vit_b16.py) and towers that are fused (ALBEF's,
configs/albef_like.py), at three sizes. Of each, the real training step is traced once, for devices
that are not there: its FLOPs are counted from the trace (loops as often as they turn), and the
bytes of its state on a device follow from the very rules that lay it out, for every mesh
(`--parts predicted`). Beside the formulas are set: steps compiled for TPU v5e ahead of time, up to
256 chips (`--parts compiled`; `pip install 'mmjax[tpu-aot]'`; those that the results have are
kept), and a tiny model of each kind on 1 to 8 devices of this machine (`--parts checked`).

Formulas, n chips of which f split the state, P parameters, c = 2 bytes of bfloat16, rows r a chip:

- activations, computed again layer by layer: of each tower, for each row, depth x tokens x width x
  c that are kept, and of one layer 8 x tokens x width x c + 3 x tokens x hidden x c + 3 x heads x
  tokens^2 x 4; the gradients, 4 P / f bytes; the batch; the vectors of all rows.
- data axis (n / f groups): an all-reduce of gradients, 2 (g - 1) / g x P c / f bytes. The fused
  model uses text encoder and fusion twice, for pairs and for hidden words, and the table of words a
  third time, for what is said of them: XLA sums the gradients of each use over the devices by
  themselves, before it adds them, which is counted as often.
- fsdp axis: gathered twice, scattered once, 3 (f - 1) / f x P c bytes, and what is used again once
  more scattered; the table of words is looked
  up where it lies, 2 (f - 1) / f x r x tokens x width x c. The fused model gathers its averaged
  encoders besides, and text encoder and fusion twice, for pairs and for hidden words.
- the vectors of all rows for a loss over all pairs: 2 sides x rows of all chips x joint x 4 bytes;
  its similarities, 6 x r x all rows x joint FLOPs a chip, which grow with the chips: what ends
  weak scaling.
- the fused model tells pairs from hard negatives, here drawn among the rows of a chip
  (`objectives.matching.among`). Drawn among all, the tokens of all rows come to every chip:
  rows x tokens x width x c bytes, in the table by itself.
- a step: FLOPs at 60 % of the chip's peak (`ATTAINED`, an assumption), and then what is sent over
  a ring of both links of one torus dimension, of which the layers' gathers hide behind their
  products as far as these last. Beyond a slice the gradients also cross the slower network: each
  chip sends its part of them once there and back.

Efficiency is that of one chip's products alone: FLOPs time by step time.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from benchmarks import ahead

HERE = Path(__file__).parent
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


def config(kind: str, size: str, rows: int = 256, fsdp: int = 1) -> Any:
    """The config of a model, with so many rows a step."""
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
        f"data.batch_size={rows}",
        f"data.eval_batch_size={rows}",
        f"mesh.fsdp={fsdp}",
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
        changes.append(f"objectives.matching.among={ROWS}")
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
    words: int = 0
    """Of the parameters, those of the table of words."""
    states: dict[int, int] = dataclasses.field(default_factory=dict)

    def state(self, fsdp: int) -> int:
        """Bytes of a device, by the layout's own rules."""
        if fsdp not in self.states:
            self.states[fsdp] = self._state(fsdp)
        return self.states[fsdp]

    def _state(self, fsdp: int) -> int:
        from mmjax.parallel.layout import places
        from mmjax.parallel.mesh import MeshConfig
        from mmjax.parallel.sharding import variable_shardings

        mesh = abstract(MeshConfig(1, fsdp, 1), fsdp)
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
    leaves = jax.tree_util.tree_leaves_with_path(trainer.state.params)
    sizes = [("words" in jax.tree_util.keystr(path), math.prod(one.shape)) for path, one in leaves]
    params = sum(count for _, count in sizes)
    # What the losses compute of all pairs grows with the batch, and is counted apart.
    pairs = 6.0 * rows * JOINT[kind][size]
    words = sum(count for is_words, count in sizes if is_words)
    counted = flops.count(jaxpr) / rows - pairs
    return Model(kind, size, params, counted, trainer.plan.boxed, words)


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


def gathered_again(kind: str, several: list[Tower]) -> int:
    """Numbers that a fused model gathers besides: its averaged encoders once, and text encoder and
    fusion forward and backward a second time, for hidden words beside pairs."""
    if kind == "two towers":
        return 0
    image, text, fusion = (
        one.depth * (4 * one.width**2 + 2 * one.width * one.hidden) for one in several
    )
    return image + 3 * text + 2 * (fusion + several[2].depth * 4 * several[2].width ** 2)


def summed_again(kind: str, several: list[Tower], words: int) -> int:
    """Numbers of the gradients that a fused model sums over devices besides: of text encoder and
    fusion once, of the table of words twice."""
    if kind == "two towers":
        return 0
    text, fusion = (
        one.depth * (4 * one.width**2 + 2 * one.width * one.hidden) for one in several[1:]
    )
    return text + fusion + several[2].depth * 4 * several[2].width ** 2 + 2 * words


def sends(
    numbers: int,
    words: int,
    again: int,
    summed: int,
    looked_up: float,
    fsdp: int,
    groups: int,
    micro: int = 1,
    c: int = C,
    times: int = 3,
) -> dict[str, float]:
    """Bytes that a chip sends of so many parameters, the table of words among them, of which so
    many numbers are looked up; `again` are gathered once more, and `summed` summed."""
    share = (fsdp - 1) / fsdp
    return {
        # Of each sum a device keeps its part, or with `times=4` all of it, which is sent as well.
        "gathers": share * (times * (numbers - words) + again + (times - 2) * summed) * c * micro,
        "words": 2 * share * looked_up * c,
        "gradients": 2 * (groups - 1) / max(groups, 1) * (numbers + summed) * c / fsdp,
    }


def predicted(model: Model, chip: Any, name: str, chips: int, rows: float) -> dict[str, Any]:
    """A step on so many chips, with as little split of the state as fits."""
    p, e = model.parameters, JOINT[model.kind][model.size]
    inside = min(chips, SLICE[name])
    vectors = 2 * rows * chips * e * 4
    # One row at a time is the least that micro-batches can come to.
    found = None
    for fsdp in (2**i for i in range(inside.bit_length()) if inside % 2**i == 0):
        state = model.state(fsdp) + 4 * p / fsdp
        for micro in (2**i for i in range(12)):
            if rows / micro < 1:
                break
            needed = state + vectors + activations(model.kind, model.size, rows / micro)
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
    seconds = chip.flops * ATTAINED
    compute = (rows * model.flops * again + pairs) / seconds
    slices = -(-chips // inside)
    local = groups // slices
    text = towers(model.kind, model.size)[1]
    more = gathered_again(model.kind, towers(model.kind, model.size))
    looked_up = rows * text.tokens * text.width
    summed = summed_again(model.kind, towers(model.kind, model.size), model.words)
    sent = sends(p, model.words, more, summed, looked_up, fsdp, local, micro)
    sent["vectors"] = 2 * rows * (chips - 1) * e * 4
    outside = 2 * (slices - 1) / slices * (p + summed) * C / fsdp / max(local, 1)
    parts = {
        "similarities": pairs / seconds,
        "computed again": (again - 1) * rows * model.flops / seconds,
        "gathers": max(sent["gathers"] / chip.ring - compute, 0.0),
        **{what: sent[what] / chip.ring for what in ("words", "gradients", "vectors")},
        "gradients between slices": outside / chip.network,
    }
    useful = rows * model.flops / seconds
    step = useful + sum(parts.values())
    return {
        "chips": chips,
        "rows": rows,
        "fits": True,
        "fsdp": fsdp,
        "micro_batches": micro,
        "needed": needed,
        "sent": sum(sent.values()),
        "sent_by_kind": sent,
        "sent_between_slices": outside,
        "step": step,
        "rows_a_second": rows * chips / step,
        "efficiency": useful / step,
        "mfu": useful * ATTAINED / step,
        "lost_to": max(parts, key=parts.__getitem__) if step > 1.001 * useful else "-",
    }


def stops(model: Model, chip: Any, name: str, scaling: str) -> dict[str, Any]:
    """The first doubling of chips at which half of a step is no longer the model's products, and
    why; strong scaling ends where a chip has one row."""
    last: dict[str, Any] = {"chips": 1, "lost_to": "no room"}
    for chips in (2**i for i in range(21)):
        rows = ROWS if scaling == "weak" else BATCH / chips
        if rows < 1:
            return {"chips": last["chips"], "why": "a row a chip is left"}
        found = predicted(model, chip, name, chips, rows)
        if found["fits"]:
            last = found
            if found["efficiency"] < 0.5:
                return {"chips": chips, "why": found["lost_to"]}
    return {"chips": last["chips"], "why": ""}


def tokens_of_all(kind: str, size: str, rows: float) -> float:
    """Bytes of the tokens of all rows, both sides, as hard negatives of the whole batch need."""
    image, text = towers(kind, size)[:2]
    return rows * C * (image.tokens * image.width + text.tokens * text.width)


def predictions() -> dict[str, Any]:
    """Every model on every number of chips."""
    from mmjax.parallel.chips import CHIPS as KNOWN

    models, found, ends = [], [], []
    for kind, size in MODELS:
        models.append(traced(kind, size))
        print(kind, size, models[-1].parameters, models[-1].flops, flush=True)
    for name in SLICE:
        for scaling in ("weak", "strong"):
            for model in models:
                own = {"chip": name, "scaling": scaling, "kind": model.kind, "size": model.size}
                ends.append({**own, **stops(model, KNOWN[name], name, scaling)})
                for chips in CHIPS:
                    rows = ROWS if scaling == "weak" else BATCH / chips
                    found.append({**own, **predicted(model, KNOWN[name], name, chips, rows)})
    told = ("kind", "size", "parameters", "flops", "words")
    return {
        "chips": list(SLICE),
        "models": [{name: getattr(one, name) for name in told} for one in models],
        "predicted": found,
        "stops": ends,
    }


def main() -> None:
    from benchmarks import scaling_checks, scaling_tables

    parser = ahead.parser(__doc__)
    parts = ("predicted", "compiled", "checked")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--most", type=int, default=99, help="programs to compile for TPUs")
    arguments = parser.parse_args()
    ahead.on_cpu(8)

    from mmjax.core.files import read_json

    path = arguments.out / "scaling.json"
    kept = ("chips", "models", "predicted", "stops", "compiled", "checked")
    result = read_json(path) if path.is_file() else {}
    result = {name: result.get(name, []) for name in kept}

    def write() -> None:
        ahead.write(arguments.out, "scaling", result, scaling_tables.to_markdown)
        if result["predicted"]:
            scaling_tables.plot(result, arguments.out / "scaling.svg")

    if "predicted" in arguments.parts:
        result.update(predictions())
        for one in result["compiled"]:
            told = scaling_checks.told_of(result, one["kind"], one["size"], one["chips"])
            one |= {f"{name}_by_formula": told[name] for name in ("needed", "sent")}
        write()
    if "checked" in arguments.parts:
        result["checked"] = []
        for one in scaling_checks.checked():
            print(one, flush=True)
            result["checked"].append(one)
            write()
    if "compiled" in arguments.parts:
        for one in scaling_checks.compiled(result, arguments.most):
            print(one, flush=True)
            result["compiled"].append(one)
            write()


if __name__ == "__main__":
    main()
