"""What a step sends on TPUs with its state or its layers split, beside what it must.

python -m benchmarks.sharding          writes results/sharding.json and sharding.md

The training step of two towers of 4 layers is compiled for TPU v5e:2x4 ahead of time
(`pip install 'mmjax[tpu-aot]'`); its collectives are read from the program, each as often as it
runs. What each device must send, n devices on the axis and c the bytes of what layers compute in
(2 for bfloat16):

- FSDP (ZeRO stage 3, Rajbhandari et al. 2020): each parameter that is split is gathered for the
  forward pass and again for the backward, and its gradient goes to where it lives: of P numbers
  3 P c (n - 1) / n. Gradients by what is left whole (norms and biases) are summed:
  2 P c (n - 1) / n. The table of words is not gathered: each device looks up all words in its part
  of the channels, which are exchanged for rows, and the gradients back:
  2 x rows / n x tokens x width x c (n - 1) / n.
- Tensor (Megatron-LM, Shoeybi et al. 2019): in each layer 4 all-reduces of its activations, two
  forward and two backward: 4 x depth x rows x tokens x width x c bytes for each tower, of which a
  ring sends 2 (n - 1) / n. Queries, keys and values have one input, so their gradients by it are
  added before. The words' table is split as well: one all-reduce more of what it looks up. And the
  gradients over `data`, an all-reduce of the H c bytes that a device holds.

Both besides: the vectors of the joint space are gathered over all rows, as a loss over all pairs
needs: rows x joint x 4 bytes for each side.

By default the TPU's compiler makes of a gathered product a loop that sends a part of the weights
while it multiplies by another (collective matmul, Wang et al. 2023). Options of the compiler change
that ("one way", "gathered").
"""

from __future__ import annotations

from typing import Any

from benchmarks import ahead

TOPOLOGY, ROWS = "v5e:2x4", 256
DEPTH, WIDTH, HEADS, MLP, JOINT, WORDS = 4, 512, 8, 2048, 512, 4096
TOKENS = {"text": 32, "image": 65}
FSDP, TENSOR = {"data": 1, "fsdp": 8, "tensor": 1}, {"data": 2, "fsdp": 1, "tensor": 4}
CASES: dict[str, tuple[dict[str, int], dict[str, Any]]] = {
    "fsdp": (FSDP, {}),
    "fsdp, one way": (FSDP, {"xla_tpu_spmd_bidirectional_windowed_einsum": "false"}),
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


def needed(mesh: dict[str, int], numbers: dict[str, float]) -> dict[str, float]:
    """Bytes that a device must send, by what they are.

    `numbers` are those of parameters: "layers" and "other parameters" that the axis splits, "whole"
    those that it does not, and "held" those of one device.
    """
    c = 2
    vectors = 2 * ROWS * JOINT * 4
    words = ROWS * TOKENS["text"] * WIDTH * c
    if mesh["fsdp"] > 1:
        n = mesh["fsdp"]
        share = (n - 1) / n
        return {
            "layers": 3 * numbers["layers"] * c * share,
            "other parameters": 3 * numbers["other parameters"] * c * share,
            "left whole": 2 * numbers["whole"] * c * share,
            "words": 2 * words / n * share,
            "vectors": vectors * share,
        }
    n, data = mesh["tensor"], mesh["data"]
    rows = ROWS // data
    layers = sum(4 * DEPTH * rows * tokens * WIDTH * c for tokens in TOKENS.values())
    return {
        "layers": layers * 2 * (n - 1) / n,
        "words": words / data * 2 * (n - 1) / n,
        "gradients": numbers["held"] * c * 2 * (data - 1) / data,
        "vectors": vectors * (data - 1) / data,
    }


def part(one: Any, mesh: dict[str, int]) -> str:
    """What of `needed` a collective is."""
    names = one.operation.rpartition(": ")[2].split("/")
    if "objectives_contrastive" in names and "joint" not in names:
        return "vectors"
    if "words" in names:
        return "words"
    if mesh["fsdp"] == 1:
        return "layers" if one.group == mesh["tensor"] else "gradients"
    if one.kind == "all-reduce" and names[-1] == "reduce_sum":
        return "left whole"
    return "layers" if "layers" in names else "other parameters"


def measure(name: str) -> dict[str, Any]:
    """What the compiled program of one case sends, and what it must."""
    from mmjax.api.compiling import prepared_ahead
    from mmjax.parallel.chips import seconds_on_wire
    from mmjax.parallel.collectives import collectives
    from mmjax.parallel.layout import places
    from mmjax.parallel.topology import Topology
    from mmjax.train.ahead import compile_step

    mesh, options = CASES[name]
    axis = "fsdp" if mesh["fsdp"] > 1 else "tensor"
    whole, dataset, _ = prepared_ahead(config(mesh), None, None)
    step = compile_step(whole, dataset, Topology.parse(TOPOLOGY), options=options)
    plan = step.trainer.plan
    numbers = {"layers": 0.0, "other parameters": 0.0, "words": 0.0, "whole": 0.0, "held": 0.0}
    for one in places("parameters", plan.boxed.params, plan.shardings.params):
        kind = "layers" if "/layers/" in one.path else "other parameters"
        kind = "words" if "/words/" in one.path else kind
        numbers[kind if axis in one.layout else "whole"] += one.whole / 4
        numbers["held"] += one.bytes / 4
    sends: dict[tuple[str, str], list[float]] = {}
    for one in collectives(step.program) if step.program is not None else []:
        wire = one.times * seconds_on_wire(one.kind, one.group, one.bytes, 1.0)
        found = sends.setdefault((part(one, mesh), one.kind), [0.0, 0])
        found[0] += wire
        found[1] += one.times
    return {
        "case": name,
        "topology": TOPOLOGY,
        "mesh": mesh,
        "options": options,
        "parameters": numbers,
        "needed": needed(mesh, numbers),
        "found": [
            {"what": what, "kind": kind, "bytes": wire, "count": count}
            for (what, kind), (wire, count) in sorted(sends.items(), key=lambda one: -one[1][0])
        ],
    }


def to_markdown(found: dict[str, Any], taken: str) -> str:
    measured = found["measured"]
    lines = [
        "| case | data x fsdp x tensor | needed, MB a device sends | found | found by needed |",
        "|---|---|---:|---:|---:|",
    ]
    for one in measured:
        must, sends = sum(one["needed"].values()), sum(each["bytes"] for each in one["found"])
        lines.append(
            f"| {one['case']} | {' x '.join(map(str, one['mesh'].values()))} | {must / 1e6:.1f} | "
            f"{sends / 1e6:.1f} | {sends / must:.2f} |"
        )
    lines += [
        "",
        "| case | what | needed, MB | found, MB | more | by kind, MB in how many |",
        "|---|---|---:|---:|---:|---|",
    ]
    for one in measured:
        for what, must in one["needed"].items():
            parts = [each for each in one["found"] if each["what"] == what]
            sends = sum(each["bytes"] for each in parts)
            kinds = ", ".join(
                f"{each['kind']} {each['bytes'] / 1e6:.1f} in {each['count']}" for each in parts
            )
            lines.append(
                f"| {one['case']} | {what} | {must / 1e6:.1f} | {sends / 1e6:.1f} | "
                f"{(sends - must) / 1e6:+.1f} | {kinds} |"
            )
    lines += ["", NOTES, "", f"Compiled {taken}: `python -m benchmarks.sharding`."]
    return "\n".join(lines)


NOTES = """\
Of a ring: an all-reduce counts twice what a gather of its result does. What is looked up among the
words goes by all-to-all.

- fsdp: all that is more is the layers'. Their weights travel in loops that multiply meanwhile, of
  which each turn sends on a part both ways, the last too, when nobody waits for it: 9 parts of each
  weight a pass, where 7 are needed, 9 / 7 = 1.29. Both directions of the ring carry 4.5 parts, and
  4 would do; one way it would be 7 on a single one, and so longer, for fewer bytes.
- fsdp, one way (`xla_tpu_spmd_bidirectional_windowed_einsum=false`): the last turn sends nothing,
  and what is sent is what must be.
- fsdp, gathered (`xla_jf_spmd_threshold_for_windowed_einsum_mib`): weights are gathered before the
  product, which then waits for them. More by the gradient of the attention's output projection,
  which is summed whole on every device and not scattered.
- Tried without effect on "fsdp": `xla_tpu_spmd_unroll_windowed_einsum=false`, the same 177.2 MB.
- tensor: before 2026-11-23 it was 378.8 MB, 1.16. The text tower's blocks normalise after their
  sums, so that the residual's gradient stood between those by queries, keys and values, and each
  was reduced for itself (75.5 MB where 25.2 were needed). What a block's part is given is now a
  value of its own (`nn.transformer.Block`), and the three are added first.
- Before rows were held in place between the layers (`parallel.sharding.spread`), the program of
  "fsdp" sent its activations: 1,090 MB of results of all-reduces and 277 MB of all-gathers on each
  device (2026-11-22), since every device computed all rows, a part of the channels each."""


def main() -> None:
    parser = ahead.parser(__doc__)
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    arguments = parser.parse_args()
    ahead.on_cpu()

    known = ahead.known(arguments.out, "sharding")
    for name in arguments.cases:
        known = [one for one in known if one["case"] != name] + [measure(name)]
        print(known[-1]["case"], known[-1]["needed"], known[-1]["found"], flush=True)
        ordered = sorted(known, key=lambda one: list(CASES).index(one["case"]))
        ahead.write(arguments.out, "sharding", {"measured": ordered}, to_markdown)


if __name__ == "__main__":
    main()
