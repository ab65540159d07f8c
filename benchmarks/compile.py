"""Training steps of three configs, compiled ahead of time for three kinds of TPU slices.

python -m benchmarks.compile          writes results/compile.json and compile.md

`mmjax.compile` on each; no TPU is needed (`pip install 'mmjax[tpu-aot]'`). The first case does not
fit; the second is the same with the first advice that has micro-batches and computes activations
again. Programs are compiled with least effort, one after another; cases that the results have
already are kept unless `--again`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import ahead

HERE = Path(__file__).parent
ADVISED = ("as advised",)
"""Stands for the settings that the case before advises."""


def again(*stacks: str) -> tuple[str, ...]:
    """Settings that compute activations of encoders again."""
    return tuple(f"model.encoders.{one}.remat=full" for one in stacks)


def micro(count: int) -> tuple[str, ...]:
    return (f"train.gradient_accumulation_steps={count}",)


BOTH = again("text", "image")
CASES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("clip_vit_b16", "v5e:4x4", ()),
    ("clip_vit_b16", "v5e:4x4", ADVISED),
    ("clip_vit_b16", "v6e:4x4", (*BOTH, *micro(4))),
    ("clip_vit_b16", "v5p:2x2x4", (*BOTH, *micro(2))),
    ("albef_like", "v5e:4x4", ()),
    ("albef_like", "v6e:4x4", ()),
    ("albef_like", "v5p:2x2x4", ()),
    ("siglip_base", "v5e:4x4", (*BOTH, *micro(8))),
    ("siglip_base", "v6e:4x4", (*BOTH, *micro(4))),
    ("siglip_base", "v5p:2x2x4", (*BOTH, *micro(2))),
)


def key(one: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    return one["config"], one["topology"], tuple(one["settings"])


def measure(name: str, topology: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """The JSON values of one compiled step."""
    import mmjax
    from mmjax.core import config as config_lib

    path = HERE.parent / "configs" / f"{name}.py"
    config = config_lib.override(config_lib.load(path), settings)
    found = mmjax.compile(config, topology=topology).to_json()
    return {"config": name, **found, "settings": list(settings)}


def advised(measured: list[dict[str, Any]], name: str, topology: str) -> tuple[str, ...]:
    """The settings of the first advice for the config as it is that has both remedies."""
    first = next(one for one in measured if key(one) == (name, topology, ()))
    whole = [tuple(one["settings"]) for one in first["advice"]]
    both = [one for one in whole if "remat=full" in " ".join(one) and "accumulation" in one[-1]]
    return both[0]


def to_markdown(found: dict[str, Any], taken: str) -> str:
    measured = found["measured"]
    from mmjax.report.compiled import FORMULAS, seconds, size

    lines = [
        "| config | topology | settings | fits | needed of a device, at most | state | activations "
        "and other temporary | FLOPs a step | a step at the roofs | MFU | bound by |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    state = ("parameters", "optimiser", "averaged parameters", "other variables")
    for one in measured:
        roof, memory = one["roofline"], one["memory"]
        temporary = memory.get("activations, gradients and other temporary arrays")
        parts = {} if roof is None else {k: roof[k] for k in ("compute", "memory", "collectives")}
        cells = [
            one["config"],
            one["topology"],
            "<br>".join(one["settings"]) or "as it is",
            "yes" if one["fits"] else "**no**",
            f"{size(one['needed'])} of {size(one['limit'])}",
            size(sum(memory.get(kind, 0) for kind in state)),
            "-" if temporary is None else size(temporary),
            f"{one['flops']:.3g}",
            "-" if roof is None else seconds(roof["step"]),
            "-" if roof is None else f"{roof['mfu']:.0%}",
            max(parts, key=parts.__getitem__) if parts else "-",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    bad = next((one for one in measured if not one["fits"]), None)
    if bad is not None:
        lines += ["", f"Advice for {bad['config']} on {bad['topology']}, which does not fit:", ""]
        lines += [
            f"- {one['what']}: `{' '.join(one['settings'])}`"
            for one in bad["advice"]
            if one["settings"]
        ]
    lines += [
        "",
        "| config | topology | collective | over | times a step | bytes of results | on the wire |",
        "|---|---|---|---|---:|---:|---:|",
    ]
    for one in measured:
        for sent in one["collectives"]:
            lines.append(
                f"| {one['config']} | {one['topology']} | {sent['kind']} | {sent['axis']} | "
                f"{sent['count']} | {size(sent['bytes'])} | {seconds(sent['seconds'])} |"
            )
    how = f"Compiled {taken}, not run: `python -m benchmarks.compile`."
    return "\n".join([*lines, "", FORMULAS, "", how])


def main() -> None:
    parser = ahead.parser(__doc__)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of cases")
    arguments = parser.parse_args()
    ahead.on_cpu()

    known = [] if arguments.again else ahead.known(arguments.out, "compile")
    measured: list[dict[str, Any]] = []
    for number, (name, topology, settings) in enumerate(CASES):
        told = advised(measured, name, topology) if settings == ADVISED else settings
        found = next((one for one in known if key(one) == (name, topology, told)), None)
        if found is None and (arguments.only is None or number in arguments.only):
            found = measure(name, topology, told)
            print(name, topology, told, found["fits"], found["needed"], flush=True)
        if found is not None:
            measured.append(found)
        ahead.write(arguments.out, "compile", {"measured": measured}, to_markdown)


if __name__ == "__main__":
    main()
