"""Tags of EMOJI concepts: the config, and its name alone, beside TF-IDF with logistic regression.

    python -m benchmarks.emoji_tags --seeds 0 1 2
    python -m benchmarks.emoji_tags --seeds            # the linear model alone

All predict the same tags of the same rows. The linear model reads character n-grams of the name
(within words); its n-grams, the scale of counts and the strength of its penalty are chosen by mean
average precision on the validation rows, as the config's own settings were.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from benchmarks.machine import about
from benchmarks.quickstart import models
from benchmarks.spread import spread, told
from mmjax.api.training import train
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, write_json
from mmjax.data.dataset import Dataset
from mmjax.data.modalities.base import Place
from mmjax.data.pipeline import prepare
from mmjax.metrics import multi_label
from mmjax.metrics.thresholds import best_thresholds
from mmjax.writers.console import say

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "emoji_tags.py"
RESULTS = Path(__file__).parent / "results"
NAMES, SPLITS = ("map", "micro_f1"), ("validation", "test")
LINEAR = "name, TF-IDF and logistic regression"
NGRAMS, SUBLINEAR, STRENGTHS = ((1, 4), (2, 5)), (False, True), (1.0, 10.0, 100.0)


def labels_of(data: Dataset) -> np.ndarray:
    """[row label] of every row of the table."""
    target = data.targets["label"]
    column = data.columns["label"][0]
    cells = data.table.column(column)
    encoded = [target.encode(cells[row], Place(data.table, row)) for row in range(len(cells))]
    return np.asarray(target.collate(encoded)).astype(bool)


def linear(names: Sequence[str], labels: np.ndarray, rows: Mapping[str, np.ndarray]) -> list[dict]:
    """The metrics of each choice, the best on the validation rows first."""
    tried = []
    for ngrams, sublinear in itertools.product(NGRAMS, SUBLINEAR):
        vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=ngrams, sublinear_tf=sublinear)
        vectors.fit([names[row] for row in rows["train"]])
        features = vectors.transform(names)
        for strength in STRENGTHS:
            model = OneVsRestClassifier(LogisticRegression(C=strength, solver="liblinear"))
            model.fit(features[rows["train"]], labels[rows["train"]])
            shares = {split: model.predict_proba(features[rows[split]]) for split in SPLITS}
            cuts = best_thresholds(shares["validation"], labels[rows["validation"]], shared=True)
            found = {
                split: multi_label(shares[split], labels[rows[split]], thresholds=cuts)
                for split in SPLITS
            }
            settings = {"ngrams": ngrams, "sublinear": sublinear, "C": strength}
            metrics = {split: {name: found[split][name] for name in NAMES} for split in SPLITS}
            tried.append({"settings": settings, **metrics})
    return sorted(tried, key=lambda one: -one["validation"]["map"])


def trained(config: Any, folder: Path) -> dict[str, Any]:
    """The metrics of a run; trained if the folder holds no finished one."""
    begun, started = folder.exists(), time.process_time()
    run = train(config, folder, resume=True)
    seconds = None if begun else round(time.process_time() - started, 1)
    found = {split: {name: run.metrics[split][name] for name in NAMES} for split in SPLITS}
    return {**found, "processor seconds": seconds}


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """`{model: {"test map": {"mean", "std", "seeds"}}}`."""
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for model in dict.fromkeys(run["model"] for run in runs):
        own = [run for run in runs if run["model"] == model]
        summary[model] = {}
        for split, name in itertools.product(SPLITS, NAMES):
            summary[model][f"{split} {name}"] = spread([run[split][name] for run in own])
    return summary


def to_markdown(result: Mapping[str, Any]) -> str:
    """The table, and below it where and when it was measured."""

    columns = [f"{split} {name}" for split, name in itertools.product(SPLITS, NAMES)]
    lines = [
        f"| model | {' | '.join(columns)} | seeds |",
        f"|---|{'---:|' * (len(columns) + 1)}",
        *(
            f"| {model} | {' | '.join(told(row[name]) for name in columns)} | "
            f"{row['test map']['seeds']} |"
            for model, row in result["summary"].items()
        ),
        "",
        f"{result['labels']} tags; mean average precision over them, and micro F1 at one threshold "
        "for all that validation chose. Mean ± sample standard deviation over seeds; "
        f"{result['cores']} cores of {result['cpu']}, Python {result['python']}, jax "
        f"{result['versions']['jax']}, {result['date']}: `python -m benchmarks.emoji_tags`.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.emoji_tags",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, help="keep the run folders here")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(arguments)
    config = config_lib.load(CONFIG)
    data = prepare(config.data)
    labels = labels_of(data)
    names = [str(name) for name in data.table.column("name")]
    rows = {split: data.rows(split) for split in ("train", *SPLITS)}
    tried = linear(names, labels, rows)
    result: dict[str, Any] = {**about(), "labels": labels.shape[1], "linear": tried}
    best = {split: tried[0][split] for split in SPLITS}
    result["runs"] = [{"model": LINEAR, **best}]
    chosen = {name: one for name, one in models(config).items() if name in ("text alone", "fused")}
    with tempfile.TemporaryDirectory() as made:
        for seed in [None, *args.seeds]:
            for model, one in chosen.items() if seed is not None else ():
                folder = (args.runs or Path(made)) / model.replace(" ", "_") / f"seed_{seed}"
                found = trained(dataclasses.replace(one, seed=seed), folder)
                result["runs"].append({"seed": seed, "model": model, **found})
            result["summary"] = summarise(result["runs"])
            write_json(args.out / "emoji_tags.json", result)
            with atomic(args.out / "emoji_tags.md") as file:
                file.write(to_markdown(result))
    say(to_markdown(result))


if __name__ == "__main__":
    main()
