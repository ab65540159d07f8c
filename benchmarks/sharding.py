"""What a step sends on TPUs with its state or its layers split, beside what it must.

python -m benchmarks.sharding          writes results/sharding.json and sharding.md

The training step of two towers of 4 layers is compiled for TPU v5e:2x4 ahead of time
(`pip install 'mmjax[tpu-aot]'`); its collectives are read from the program, each as often as it
runs. What each device must send, n devices on the axis, P the numbers of the parameters that the
axis splits and c the bytes of what layers compute in (2 for bfloat16):

- FSDP (ZeRO stage 3, Rajbhandari et al. 2020): each parameter is gathered for the forward pass and
  again for the backward, and each gradient goes to where its parameter lives: 3 P c (n - 1) / n.
- Tensor (Megatron-LM, Shoeybi et al. 2019): in each layer 4 all-reduces of its activations, two
  forward and two backward: 4 x depth x rows x tokens x width x c bytes for each tower, of which a
  ring sends 2 (n - 1) / n. Queries, keys and values have one input, so their gradients by it are
  added before. The words' table is split as well: one all-reduce more of what it looks up. And the
  gradients over `data`, an all-reduce of the H c bytes that a device holds.

Both besides: the vectors of the joint space are gathered over all rows, as a loss over all pairs
needs: rows x joint x 4 bytes for each side.

The TPU's compiler makes of a gathered product a loop that sends a part of the weights while it
multiplies by another (collective matmul, Wang et al. 2023). Its ring runs both ways and sends 9
parts where 7 would do, which costs bytes and hides their time. Where that is switched off, weights
are gathered before the product ("fsdp, gathered").
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
TOPOLOGY, ROWS = "v5e:2x4", 256
DEPTH, WIDTH, HEADS, MLP, JOINT, WORDS = 4, 512, 8, 2048, 512, 4096
TOKENS = {"text": 32, "image": 65}
FSDP, TENSOR = {"data": 1, "fsdp": 8, "tensor": 1}, {"data": 2, "fsdp": 1, "tensor": 4}
CASES: dict[str, tuple[dict[str, int], dict[str, Any]]] = {
    "fsdp": (FSDP, {}),
    "fsdp, gathered": (FSDP, {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"}),
    "tensor": (TENSOR, {}),
}
"""The mesh, and options of the compiler."""


def config(mesh: dict[str, int]) -> Any:
    """Two towers for pictures and texts that are nowhere."""
    from mmjax.core.registry import Spec
    from mmjax.data.config import DataConfig
    from mmjax.models.config import ModelConfig
    from mmjax.parallel.mesh import MeshConfig
    from mmjax.train.config import Config

    blocks = {
        "width": WIDTH, "depth": DEPTH, "heads": HEADS, "mlp_dim": MLP, "scan": True,
        "dropout": 0.0, "attention_dropout": 0.0,
    }  # fmt: skip
    return Config(
        data=DataConfig(
            source=Spec("webdataset", paths=("nowhere/*.tar",)),
            modalities={
                "text": Spec(
                    "text",
                    column="text",
                    tokenizer="bpe",
                    vocab_size=WORDS,
                    max_length=TOKENS["text"],
                ),
                "image": Spec("image", columns=("image",), size=64),
            },
            batch_size=ROWS,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("text_transformer", **blocks),
                "image": Spec("vit", patch=8, **blocks),
            },
            joint_dim=JOINT,
            dtype="bfloat16",
        ),
        objectives={"contrastive": Spec("contrastive")},
        mesh=MeshConfig(**mesh),
    )


def needed(mesh: dict[str, int], split: float, held: float) -> dict[str, float]:
    """Bytes that a device must send: `split` numbers are split over the axis, `held` on each."""
    c = 2
    vectors = 2 * ROWS * JOINT * 4
    if mesh["fsdp"] > 1:
        n = mesh["fsdp"]
        return {"parameters": 3 * split * c * (n - 1) / n, "vectors": vectors * (n - 1) / n}
    n, data = mesh["tensor"], mesh["data"]
    rows = ROWS // data
    layers = sum(4 * DEPTH * rows * tokens * WIDTH * c for tokens in TOKENS.values())
    words = rows * TOKENS["text"] * WIDTH * c
    return {
        "activations": (layers + words) * 2 * (n - 1) / n,
        "gradients": held * c * 2 * (data - 1) / data,
        "vectors": vectors * (data - 1) / data,
    }


def measure(name: str) -> dict[str, Any]:
    """What the compiled program of one case sends, and what it must."""
    from mmjax.api.compiling import prepared_ahead
    from mmjax.parallel.chips import seconds_on_wire
    from mmjax.parallel.layout import places
    from mmjax.parallel.topology import Topology
    from mmjax.train.ahead import compile_step

    mesh, options = CASES[name]
    axis = "fsdp" if mesh["fsdp"] > 1 else "tensor"
    whole, dataset, _ = prepared_ahead(config(mesh), None, None)
    ahead = compile_step(whole, dataset, Topology.parse(TOPOLOGY), options=options)
    plan = ahead.trainer.plan
    found = list(places("parameters", plan.boxed.params, plan.shardings.params))
    sent = ahead.program.collectives() if ahead.program is not None else []
    kinds = sorted({one.kind for one in sent})
    wire = [one.times * seconds_on_wire(one.kind, one.group, one.bytes, 1.0) for one in sent]
    pairs = list(zip(sent, wire, strict=True))
    return {
        "case": name,
        "topology": TOPOLOGY,
        "mesh": mesh,
        "parameters": sum(one.whole // 4 for one in found),
        "needed": needed(
            mesh,
            sum(one.whole / 4 for one in found if axis in one.layout),
            sum(one.bytes / 4 for one in found),
        ),
        "found": {k: sum(b for one, b in pairs if one.kind == k) for k in kinds},
        "count": {k: sum(one.times for one in sent if one.kind == k) for k in kinds},
        "largest": sorted(
            ([one.kind, one.group, one.bytes, one.times] for one in sent),
            key=lambda one: -one[2] * one[3],
        )[:24],
    }


def to_markdown(measured: list[dict[str, Any]], date: str, versions: dict[str, str]) -> str:
    lines = [
        "| case | data x fsdp x tensor | needed, MB a device sends | found | found by needed |",
        "|---|---|---|---|---:|",
    ]
    for one in measured:
        must, sends = sum(one["needed"].values()), sum(one["found"].values())
        parts = ", ".join(f"{k} {b / 1e6:.1f}" for k, b in one["needed"].items())
        kinds = ", ".join(
            f"{b / 1e6:.1f} in {one['count'][k]} {k}" for k, b in one["found"].items()
        )
        lines.append(
            f"| {one['case']} | {' x '.join(map(str, one['mesh'].values()))} | {must / 1e6:.1f}: "
            f"{parts} | {sends / 1e6:.1f}: {kinds} | {sends / must:.2f} |"
        )
    told = ", ".join(f"{name} {versions[name]}" for name in ("jax", "jaxlib") if name in versions)
    lines += ["", NOTES, "", f"Compiled {date} with {told}: `python -m benchmarks.sharding`."]
    return "\n".join(lines)


NOTES = """\
Of a ring: an all-reduce counts twice what a gather of its result does.

- fsdp: the layers' weights travel in loops that multiply meanwhile (collective matmul), as
  permutations: 9 parts of each weight a pass, where a plain ring sends 7.
- fsdp, gathered: gathers alone, as they must be (88 MB of the layers, two passes); its
  reduce-scatters are inside fusions, which are counted in part here, so that its sum is too low.
- tensor: the excess is the text tower's, whose residual stream is normalised after each sum: there
  the gradients by queries, keys and values are reduced each for itself (one all-reduce of three
  arrays), since the residual's gradient stands between them; in the other tower they are added
  first, and one is sent. Without that it would be 1.00.
- Before rows were held in place between the layers (`parallel.sharding.spread`), the same program
  sent its activations: 1,090 MB of results of all-reduces and 277 MB of all-gathers on each device
  (2026-11-22), since every device computed all rows, a part of the channels each."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    arguments = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

    from benchmarks.machine import about
    from mmjax.core.files import atomic, read_json, write_json

    path = arguments.out / "sharding.json"
    known = read_json(path)["measured"] if path.is_file() else []
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.cases:
        known = [one for one in known if one["case"] != name] + [measure(name)]
        print(known[-1]["case"], known[-1]["needed"], known[-1]["found"], flush=True)
        ordered = sorted(known, key=lambda one: list(CASES).index(one["case"]))
        where = about()
        write_json(path, {**where, "measured": ordered})
        with atomic(arguments.out / "sharding.md") as file:
            file.write(to_markdown(ordered, where["date"], where["versions"]) + "\n")


if __name__ == "__main__":
    main()
