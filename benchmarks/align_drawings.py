"""Two drawings of unseen concepts, matched by hand-made features and closed-form maps between them.

python -m benchmarks.align_drawings --seeds 0 1 2

On the embedded EMOJI set, Twemoji's drawing of a concept asks for Noto's and the other way round,
by the sum of three similarities: of the features themselves (`benchmarks.picture_features`, each
kind centred and of length 1), and after `mmjax.fusion.alignment.kernel_ridge` has mapped either
side into the other's features, fitted on the 1,283 training concepts. Whether the features alone,
the maps alone or both are used is chosen on the validation concepts; recall@1 is the mean of both
ways over the 389 test concepts, read once a seed, the seed that of the patches' k-means.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.align_emoji import DRAWINGS, RESULTS, RIDGES, unit
from benchmarks.machine import about
from benchmarks.picture_features import picture_features
from mmjax.core.files import atomic, write_json
from mmjax.data.sources.emoji import Emoji
from mmjax.fusion.alignment import kernel_ridge
from mmjax.metrics import mean_and_spread, retrieval
from mmjax.writers.console import say


def joined(features: Mapping[str, np.ndarray], train: np.ndarray) -> np.ndarray:
    """All features of one drawing side by side, each kind with the same weight."""
    rows = [one.astype(np.float64) for one in features.values()]
    return np.hstack([unit(one - one[train].mean(axis=0)) for one in rows]) / np.sqrt(len(rows))


def similarities(first: np.ndarray, second: np.ndarray, train: np.ndarray) -> dict[str, np.ndarray]:
    """Between all concepts' drawings [n n], by what they are computed from."""
    kernels = [one[train] @ one[train].T for one in (first, second)]
    forth, back = (
        kernel_ridge(
            source[train],
            target[train],
            kernel="linear",
            ridge=[share * float(np.trace(kernel)) / len(train) for share in RIDGES],
        )
        for source, target, kernel in zip((first, second), (second, first), kernels, strict=True)
    )
    direct = first @ second.T
    maps = unit(forth.transform(first)) @ second.T + first @ unit(back.transform(second)).T
    return {"features": direct, "maps": maps, "both": direct + maps}


def measure(features: Mapping[str, np.ndarray], split: np.ndarray, seed: int) -> dict[str, Any]:
    """What validation chose, and what it gives in the test; rows are drawing by drawing."""
    train = np.flatnonzero(split == "train")
    sides = [
        {name: rows.reshape(len(DRAWINGS), len(split), -1)[i] for name, rows in features.items()}
        for i in range(len(DRAWINGS))
    ]
    found = similarities(*(joined(side, train) for side in sides), train)

    def recall(one: np.ndarray, part: str) -> float:
        rows = np.flatnonzero(split == part)
        return retrieval(one[np.ix_(rows, rows)], ks=(1,))["recall@1"]

    validation = {name: recall(one, "validation") for name, one in found.items()}
    best = max(validation, key=lambda name: validation[name])
    return {
        "seed": seed,
        "validation": validation,
        "chosen": best,
        "test": recall(found[best], "test"),
    }


def to_markdown(result: Mapping[str, Any]) -> str:
    """The table, and below it where and when it was measured."""
    runs = result["runs"]

    def cell(values: Sequence[float]) -> str:
        mean, deviation = mean_and_spread(values)
        return f"{mean:.3f}" + (f" ± {deviation:.3f}" if len(values) > 1 else "")

    lines = [
        "| similarity | validation | test |",
        "|---|---:|---:|",
        *(
            f"| {name} | {cell([run['validation'][name] for run in runs])} | |"
            for name in runs[0]["validation"]
        ),
        f"| the best on validation | {cell([max(run['validation'].values()) for run in runs])} "
        f"| {cell([run['test'] for run in runs])} |",
        "",
        "Recall@1 between the Twemoji and the Noto drawings of a concept, mean of both ways; 234 "
        "validation and 389 test concepts, none of them seen in training. Mean ± sample standard "
        f"deviation over seeds {', '.join(str(run['seed']) for run in runs)}; {result['cores']} "
        f"cores of {result['cpu']}, Python {result['python']}, {result['date']}. The test concepts "
        "were read once a seed: `python -m benchmarks.align_drawings`.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.align_drawings", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    table = Emoji().read()
    split = np.array(table.column("split"))
    drawn = [np.stack(table.column(name)) for name in DRAWINGS]
    pictures = np.concatenate(drawn).astype(np.float32) / 255
    known = pictures[np.tile(split == "train", len(DRAWINGS))]
    result: dict[str, Any] = {**about(), "runs": []}
    for seed in args.seeds:
        features = picture_features(pictures, known, seed=seed)
        result["runs"].append(measure(features, split, seed))
        mean, deviation = mean_and_spread([run["test"] for run in result["runs"]])
        several = len(result["runs"]) > 1
        result["recall@1"] = {"mean": mean, "std": deviation if several else None}
        write_json(args.out / "align_drawings.json", result)
        with atomic(args.out / "align_drawings.md") as file:
            file.write(to_markdown(result))
        say(result["runs"][-1])
    say(to_markdown(result))


if __name__ == "__main__":
    main()
