"""The figures of the README, out of `results/`: what models reach, and how fast parts are.

python -m benchmarks.figures --readme

Nothing is measured here. `QUALITY` and `SPEED` say which figures of which result are told; a result
that is not there yet is left out. A test holds the README to what this writes.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pretrain_table import cell
from mmjax.core.files import atomic, read_json
from mmjax.writers.console import say

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Result = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Quality:
    """A line of the table of what models reach."""

    task: str
    data: str
    result: str
    metric: str
    reached: Callable[[Result], str]
    beside: Callable[[Result], str]
    """What it is to be compared with."""


def of_models(model: str, told: str = "", metric: str = "test accuracy") -> Callable[[Result], str]:
    """A figure of the summary that `benchmarks.quickstart` writes."""

    def tell(result: Result) -> str:
        found = result["summary"][model][metric]
        return f"{told}{found['mean']:.3f} ± {found['std']:.3f}"

    return tell


def of_runs(
    where: Mapping[str, Any], path: Sequence[str], told: str = "", digits: int = 3
) -> Callable[[Result], str]:
    """Mean and spread, over the runs that have `where`, of what lies at `path`."""

    def tell(result: Result) -> str:
        values = []
        for run in result["runs"]:
            if all(run.get(name) == value for name, value in where.items()):
                value: Any = run
                for name in path:
                    value = value[name]
                values.append(value)
        return told + cell(values, digits) if values else ""

    return tell


def of_recordings(result: Result) -> str:
    """The mean over persons that were left out, over seeds."""
    return cell([one["recordings"] for one in result["summary"]["seeds"].values()])


QUALITY = [
    Quality(
        "classification",
        "EMOJI groups, name and drawing",
        "quickstart",
        "accuracy",
        of_models("fused"),
        of_models("text alone", "text alone "),
    ),
    Quality(
        "classification, MiniLM tuned",
        "EMOJI groups, name and drawing",
        "quickstart_minilm",
        "accuracy",
        of_models("fused"),
        of_models("text alone", "text alone "),
    ),
    Quality(
        "classification, `product_of_experts`",
        "AV-MNIST, picture and sound",
        "ablate_fusion_av_mnist",
        "accuracy",
        of_runs({"model": "decision (product_of_experts)"}, ["test"]),
        of_runs({"model": "audio alone"}, ["test"], "sound alone "),
    ),
    Quality(
        "retrieval, from scratch",
        "EMOJI, unseen concepts",
        "pretrain_emoji",
        "recall@10",
        of_runs({"row": "from scratch, taught by the alignment of TF-IDF"}, ["test", "mean"]),
        lambda _: "chance 0.026",
    ),
    Quality(
        "retrieval, MiniLM",
        "EMOJI, unseen concepts",
        "pretrain_emoji",
        "recall@10",
        of_runs({"row": "MiniLM"}, ["test", "mean"]),
        lambda _: "chance 0.026",
    ),
    Quality(
        "retrieval, closed-form alignment",
        "EMOJI, unseen concepts",
        "pretrain_emoji",
        "recall@10",
        of_runs({"row": "alignment"}, ["test", "mean"]),
        lambda _: "chance 0.026",
    ),
    Quality(
        "classification from a pretrained run",
        "EMOJI groups, a tenth of the labels",
        "finetune_emoji",
        "accuracy",
        of_models("pretrained", metric="accuracy"),
        of_models("from scratch", "from scratch ", metric="accuracy"),
    ),
    Quality(
        "visual question answering",
        "easy-VQA",
        "easy_vqa",
        "accuracy",
        of_runs({}, ["test", "accuracy"]),
        lambda _: "question alone 0.67",
    ),
    *(
        Quality(
            "sentiment of three classes, MiniLM frozen",
            data,
            "sentiment",
            "accuracy",
            of_runs({"arm": "MiniLM, frozen"}, ["test", domain]),
            of_runs({"arm": "TF-IDF + logistic regression"}, ["test", domain], "TF-IDF "),
        )
        for domain, data in {
            "movie": "film reviews",
            "amazon": "product reviews",
            "nyt": "editorials",
            "tweets": "tweets",
        }.items()
    ),
    Quality(
        "recommendation, two towers",
        "MovieLens-100K, all films ranked",
        "movielens",
        "nDCG@10",
        of_runs({"model": "two towers"}, ["test", "ndcg@10"]),
        of_runs({"model": "BPR"}, ["test", "ndcg@10"], "BPR "),
    ),
    Quality(
        "sensor activity, each person left out",
        "smartwatch, ten persons",
        "smartwatch",
        "accuracy of recordings",
        of_recordings,
        lambda result: f"linear {result['linear']['mean and deviation']:.3f}",
    ),
]


@dataclasses.dataclass(frozen=True)
class Speed:
    """A line of the table of how fast parts are: medians of ratios, forward / with backward."""

    told: str
    result: str
    size: str
    variant: str
    torch: str
    flax: str


_ATTENTION = ("mmjax Attention", "torch sdpa", "flax MultiHeadDotProductAttention")
_BLOCK = ("mmjax Block", "torch TransformerEncoderLayer", "flax block")


def _speed(told: str, result: str, size: str, names: tuple[str, str, str], dtype: str) -> Speed:
    return Speed(told, result, size, names[0], f"{names[1]} {dtype}", names[2])


_GPU, _CPU = "H100, bfloat16: ", "one CPU core, float32: "
SPEED = [
    _speed(
        f"{_GPU}transformer block, 64 x 197 tokens, width 768",
        "layers_gpu",
        "b64-n197-d768-k12",
        _BLOCK,
        "bfloat16",
    ),
    _speed(
        f"{_GPU}cross-attention, 64 queries on 197 keys",
        "fusion_gpu",
        "b64-n64-m197-d768-k12",
        _ATTENTION,
        "bfloat16",
    ),
    _speed(
        f"{_GPU}the same, up to half of the keys padding",
        "fusion_padded_gpu",
        "b64-n64-m197-d768-k12",
        _ATTENTION,
        "bfloat16",
    ),
    _speed(
        f"{_GPU}cross-attention, 512 queries on 1,500 keys",
        "fusion_gpu",
        "b16-n512-m1500-d768-k12",
        _ATTENTION,
        "bfloat16",
    ),
    _speed(
        f"{_GPU}4,096 tokens, up to half of the keys padding",
        "fusion_padded_gpu",
        "b4-n4096-m4096-d1024-k16",
        _ATTENTION,
        "bfloat16",
    ),
    _speed(
        f"{_CPU}transformer block, 4 x 197 tokens, width 768",
        "layers",
        "b4-n197-d768-k12",
        _BLOCK,
        "float32",
    ),
    _speed(
        f"{_CPU}cross-attention, 64 queries on 197 keys",
        "fusion",
        "b4-n64-m197-d768-k12",
        _ATTENTION,
        "float32",
    ),
    _speed(
        f"{_CPU}cross-attention, 512 queries on 1,500 keys",
        "fusion",
        "b1-n512-m1500-d768-k12",
        _ATTENTION,
        "float32",
    ),
]


def read(name: str, folder: Path) -> Result | None:
    """A result; None if it is not there."""
    path = folder / f"{name}.json"
    return read_json(path) if path.is_file() else None


def quality(folder: Path = RESULTS) -> str:
    """The table of what models reach."""
    lines = [
        "| task | data | | reached | beside | result |",
        "|---|---|---|---:|---|---|",
    ]
    for one in QUALITY:
        result = read(one.result, folder)
        if result is not None and (reached := one.reached(result)):
            cells = [one.task, one.data, one.metric, reached, one.beside(result), one.result]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def speed(folder: Path = RESULTS) -> str:
    """The table of how many times faster parts are than those of other libraries."""
    lines = ["| times faster, forward / with backward | than torch | than Flax |", "|---|---|---|"]
    for one in SPEED:
        result = read(one.result, folder)
        if result is None:
            continue
        found = [
            record["faster_than"]
            for record in result["measured"]
            if (record["size"], record["variant"]) == (one.size, one.variant)
        ]
        cells = [
            " / ".join(f"{f[name]['median']:.2f}" for f in found) for name in (one.torch, one.flax)
        ]
        lines.append(f"| {one.told} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def put_into_readme(readme: Path, table: str, name: str) -> None:
    """Replaces what is between the two marks."""
    first, last = f"<!-- benchmarks/results/{name}.md -->\n", f"<!-- end of {name}.md -->\n"
    before, start, rest = readme.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not (start and end):
        raise SystemExit(f"{readme.name} lacks the lines {first.strip()} and {last.strip()}")
    with atomic(readme) as file:
        file.write(f"{before}{first}\n{table}\n{last}{after}")


TABLES = {"figures": quality, "speed": speed}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.figures", description=__doc__)
    parser.add_argument("--readme", action="store_true", help="put the tables there as well")
    args = parser.parse_args(arguments)
    for name, make in TABLES.items():
        table = make()
        with atomic(RESULTS / f"{name}.md") as file:
            file.write(table)
        if args.readme:
            put_into_readme(ROOT / "README.md", table, name)
        say(table)


if __name__ == "__main__":
    main()
