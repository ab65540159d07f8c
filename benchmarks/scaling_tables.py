"""The scaling study as tables and as a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import scaling

Record = dict[str, Any]
GIB = 2**30


def to_markdown(result: Record, taken: str) -> str:
    lines = [
        "![efficiency](scaling.svg)",
        "",
        "Efficiency is the time of the model's products alone, by that of a step; in brackets the "
        "chips that split a state, and micro-batches. `half at` is the first doubling of chips at "
        "which half of a step goes to something else, and to what most: where it stops scaling. "
        "Weakly, that are the vectors and similarities of all rows, which a loss over all pairs "
        "needs on every chip; strongly, the gradients, which stay while the products shrink. "
        "Where few chips have room for their rows in micro-batches alone, a loss over all pairs "
        "computes the forward pass twice: 75 %.",
        "",
    ]
    for chip in result["chips"]:
        for scaled in ("weak", "strong"):
            rows = (
                f"{scaling.ROWS} rows a chip"
                if scaled == "weak"
                else f"{scaling.BATCH:,} rows in all"
            )
            lines += [f"### {chip}, {scaled}: {rows}", ""]
            lines += _table(result, chip, scaled, "efficiency", _efficiency, ends=True)
            lines += _table(result, chip, scaled, "GiB needed of a chip", _needed)
            lines += _table(result, chip, scaled, "GB that a chip sends a step", _sent)
    lines += _of_all(result)
    if result["compiled"]:
        lines += _compiled(result["compiled"])
    if result["checked"]:
        lines += _checked(result["checked"])
    lines += [f"Predicted and compiled {taken}: `python -m benchmarks.scaling`."]
    return "\n".join(lines)


def _efficiency(one: Record) -> str:
    return f"{one['efficiency']:.0%} ({one['fsdp']}/{one['micro_batches']})"


def _needed(one: Record) -> str:
    return f"{one['needed'] / GIB:.1f}"


def _sent(one: Record) -> str:
    return f"{one['sent'] / 1e9:.2f}"


def _of(result: Record, chip: str, scaled: str, model: Record, part: str) -> list[Record]:
    keys = chip, scaled, model["kind"], model["size"]
    return [
        one
        for one in result[part]
        if (one["chip"], one["scaling"], one["kind"], one["size"]) == keys
    ]


def _table(
    result: Record,
    chip: str,
    scaled: str,
    what: str,
    told: Callable[[Record], str],
    *,
    ends: bool = False,
) -> list[str]:
    """One line for each model, one column for each number of chips."""
    head = [what, "parameters", "FLOPs a row"] if ends else [what]
    last = ["half at"] if ends else []
    lines = [
        "| " + " | ".join([*head, *(f"{one:,}" for one in scaling.CHIPS), *last]) + " |",
        "|---|" + "---:|" * (len(head) - 1 + len(scaling.CHIPS)) + "---|" * len(last),
    ]
    for model in result["models"]:
        found = _of(result, chip, scaled, model, "predicted")
        cells = [f"{model['kind']}, {model['size']}"]
        if ends:
            cells += [f"{model['parameters'] / 1e6:,.0f} M", f"{model['flops']:.3g}"]
        cells += [told(one) if one["fits"] else "no room" for one in found]
        if ends:
            (end,) = _of(result, chip, scaled, model, "stops")
            why = end["why"]
            cells.append(f"{end['chips']:,}: {why}" if why else f"beyond {end['chips']:,}")
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _of_all(result: Record) -> list[str]:
    """What hard negatives of the whole batch would need."""
    lines = [
        "### Hard negatives of the whole batch",
        "",
        f"GiB that the tokens of all rows take on every chip, {scaling.ROWS} rows a chip, once; "
        "the compiled program holds them more than once. `objectives.matching.among` draws them "
        "among fewer, and nothing of this is sent.",
        "",
        "| model | " + " | ".join(f"{one:,}" for one in scaling.CHIPS) + " |",
        "|---|" + "---:|" * len(scaling.CHIPS),
    ]
    for model in result["models"]:
        if model["kind"] == "fused":
            sizes = [
                scaling.tokens_of_all(model["kind"], model["size"], scaling.ROWS * chips)
                for chips in scaling.CHIPS
            ]
            cells = [f"{size / GIB:,.2f}" for size in sizes]
            lines.append(f"| fused, {model['size']} | {' | '.join(cells)} |")
    return [*lines, ""]


def _compiled(several: list[Record]) -> list[str]:
    lines = [
        "### Compiled for TPU v5e, weak, beside the formulas",
        "",
        "| model | chips | split over | GiB needed | by the formula | ratio | GB sent | by the "
        "formula | ratio | FLOPs by the formula's |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in sorted(several, key=lambda one: (one["chips"], one["kind"], one["needed"])):
        sent = f"{one['sent'] / 1e9:.2f} | {one['sent_by_formula'] / 1e9:.2f}"
        ratio = f"{one['sent'] / one['sent_by_formula']:.2f}" if one["fits"] else "-"
        lines.append(
            f"| {one['kind']}, {one['size']} | {one['chips']} | {one['fsdp']} | "
            f"{one['needed'] / GIB:.1f}{'' if one['fits'] else ' (no room)'} | "
            f"{one['needed_by_formula'] / GIB:.1f} | "
            f"{one['needed'] / one['needed_by_formula']:.2f} | {sent if one['fits'] else '- | -'} "
            f"| {ratio} | {one['flops'] / one['flops_by_formula']:.3f} |"
        )
    lines += [
        "",
        "The formulas leave out what the compiler holds beside activations. On 256 chips that is "
        "9 GiB of the fused model, which ends the larger ones; of what, was not looked into.",
    ]
    return [*lines, ""]


def _checked(several: list[Record]) -> list[str]:
    lines = [
        "### A tiny model on devices of this machine",
        "",
        "| model | axis | devices | state held on one | by the rules | ratio | sent by one | "
        "by the formula | ratio |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in several:
        sent = one["sent"] / one["sent_by_formula"] if one["sent_by_formula"] else 1.0
        lines.append(
            f"| {one['kind']} | {one['axis']} | {one['devices']} | {one['state_held']:,} | "
            f"{one['state_by_rules']:,} | {one['state_held'] / one['state_by_rules']:.3f} | "
            f"{one['sent']:,.0f} | {one['sent_by_formula']:,.0f} | {sent:.2f} |"
        )
    return [*lines, ""]


def plot(result: Record, path: Path) -> None:
    """Efficiency by chips, a panel for each kind of chip and of scaling."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "mmjax"
    panels = [(chip, scaled) for scaled in ("weak", "strong") for chip in result["chips"]]
    figure, axes = pyplot.subplots(
        2, len(result["chips"]), figsize=(9, 6), sharex=True, sharey=True, squeeze=False
    )
    colours = {"base": "tab:blue", "large": "tab:orange", "giant": "tab:green"}
    for (chip, scaled), panel in zip(panels, axes.flat, strict=True):
        for model in result["models"]:
            found = _of(result, chip, scaled, model, "predicted")
            fits = [one for one in found if one["fits"]]
            panel.plot(
                [one["chips"] for one in fits],
                [100 * one["efficiency"] for one in fits],
                color=colours[model["size"]],
                linestyle="-" if model["kind"] == "two towers" else "--",
                marker=".",
                markersize=4,
                label=f"{model['kind']}, {model['size']}",
            )
        panel.set_xscale("log", base=2)
        panel.set_xticks(scaling.CHIPS, [f"{one:,}" for one in scaling.CHIPS])
        panel.set_ylim(0, 105)
        panel.grid(alpha=0.3)
        panel.set_title(f"{chip}, {scaled}", fontsize=10)
    for panel in axes[-1]:
        panel.set_xlabel("chips")
    for row in axes:
        row[0].set_ylabel("efficiency, %")
    axes[0, 0].legend(fontsize=7, loc="lower left", handlelength=4)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
