"""English names of unseen concepts in 15 languages: does the picture help?

python -m benchmarks.emoji_translation --seeds 0 1 2 --runs runs/emoji_translation

Each seed trains `configs/emoji_translation.py` with the picture and without it (a run that is there
already is taken as it is) and reads the test rows once. Beside them: the English name as it is, and
the translation of the training name that is most like it, by TF-IDF of character n-grams.
"""

from __future__ import annotations

import argparse
import dataclasses
import runpy
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

import mmjax
from benchmarks.machine import about
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, write_json
from mmjax.data.config import sources
from mmjax.metrics import exact_match, mean_and_spread, translation
from mmjax.train.config import Config
from mmjax.writers.console import say

RESULTS = Path(__file__).parent / "results"
CONFIG = Path(__file__).parents[1] / "configs" / "emoji_translation.py"
WAYS = {"with the picture": True, "without it": False}


def config_of(*, picture: bool, seed: int, changes: Sequence[str]) -> Config:
    whole = runpy.run_path(str(CONFIG))["get_config"](picture=picture)
    return dataclasses.replace(config_lib.override(whole, list(changes)), seed=seed)


def judged(said: Sequence[str], true: Sequence[str], languages: Sequence[str]) -> dict[str, float]:
    """The metrics of `mmjax.metrics.translation`, and exact match."""
    found = translation(said, true, languages=languages)
    return {**found, "exact_match": exact_match(said, true)}


def baselines(config: Config) -> dict[str, dict[str, float]]:
    """What is right of the English names, and of the translations of the likest training names."""
    table = sources.build(config.data.source).read()
    columns = {name: table.column(name) for name in ("name", "translation", "language", "split")}
    rows = {
        part: [i for i, one in enumerate(columns["split"]) if one == part]
        for part in ("train", "test")
    }
    known: dict[str, dict[str, str]] = {}
    for i in rows["train"]:
        known.setdefault(columns["language"][i], {}).setdefault(
            columns["name"][i], columns["translation"][i]
        )
    seen = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    test = {name: {k: columns[name][i] for k, i in enumerate(rows["test"])} for name in columns}
    likest: dict[int, str] = {}
    for language, pairs in known.items():
        names = list(pairs)
        vectors = seen.fit_transform(names)
        own = [k for k, one in test["language"].items() if one == language]
        found = (seen.transform([test["name"][k] for k in own]) @ vectors.T).argmax(axis=1)
        places = np.asarray(found).ravel().tolist()
        likest |= {k: pairs[names[i]] for k, i in zip(own, places, strict=True)}
    true, languages = list(test["translation"].values()), list(test["language"].values())
    return {
        "the English name": judged(list(test["name"].values()), true, languages),
        "of the likest name": judged([likest[k] for k in sorted(likest)], true, languages),
    }


def measure(folder: Path, *, picture: bool, seed: int, changes: Sequence[str]) -> dict[str, Any]:
    """The record of one run, which is trained if it is not there."""
    seconds = None
    if not (folder / "metrics.json").is_file():
        start = time.process_time()
        mmjax.train(config_of(picture=picture, seed=seed, changes=changes), folder)
        seconds = round(time.process_time() - start, 1)
    metrics = mmjax.load_run(folder).metrics["test"]
    return {"seed": seed, "picture": picture, "processor seconds": seconds, "test": metrics}


def summarise(result: Mapping[str, Any]) -> dict[str, Any]:
    """`{way: {metric: {"mean", "std"}}}` over seeds, of the test rows."""
    found: dict[str, Any] = {
        way: {metric: {"mean": value, "std": None} for metric, value in values.items()}
        for way, values in result["baselines"].items()
    }
    metrics = list(next(iter(result["baselines"].values())))
    for way, picture in WAYS.items():
        own = [run["test"] for run in result["runs"] if run["picture"] == picture]
        found[way] = {}
        for metric in metrics if own else ():
            mean, deviation = mean_and_spread([one[metric] for one in own])
            found[way][metric] = {"mean": mean, "std": deviation if len(own) > 1 else None}
    return found


def to_markdown(result: Mapping[str, Any]) -> str:
    """A row for each language, chrF of each way, and all of them together."""

    def cell(found: Mapping[str, float | None] | None) -> str:
        if found is None:
            return ""
        return f"{found['mean']:.2f}" + ("" if found["std"] is None else f" ± {found['std']:.2f}")

    summary = result["summary"]
    metrics = [name for name in summary["the English name"] if name != "chrf"]
    metrics = ["chrf", *(name for name in metrics if not name.startswith("bleu_"))]
    seeds = sorted({run["seed"] for run in result["runs"]})
    lines = [
        f"| metric | {' | '.join(summary)} |",
        f"|---|{'---:|' * len(summary)}",
        *(
            f"| {metric} | {' | '.join(cell(way.get(metric)) for way in summary.values())} |"
            for metric in metrics
        ),
        "",
        "chrF and BLEU from 0 to 100, exact match from 0 to 1; concepts that no training row is "
        f"about. Seeds {', '.join(map(str, seeds))}"
        f"{'; changed: ' + ', '.join(result['changes']) if result['changes'] else ''}; "
        f"{result['device']}, {result['cores']} cores of {result['cpu']}, Python "
        f"{result['python']}, {result['date']}: `python -m benchmarks.emoji_translation`.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.emoji_translation", description=__doc__)
    parser.add_argument("changes", nargs="*", help="settings of the config, as dotted.key=value")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/emoji_translation"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    config = config_of(picture=True, seed=0, changes=args.changes)
    found = {**about(), "changes": args.changes, "baselines": baselines(config)}
    result: dict[str, Any] = {**found, "runs": []}
    for seed in args.seeds:
        for way, picture in WAYS.items():
            folder = args.runs / f"{way.split()[0]}_{seed}"
            run = measure(folder, picture=picture, seed=seed, changes=args.changes)
            result["runs"].append(run)
            result["summary"] = summarise(result)
            say(run)
            write_json(args.out / "emoji_translation.json", result)
            with atomic(args.out / "emoji_translation.md") as file:
                file.write(to_markdown(result))
    say(to_markdown(result))


if __name__ == "__main__":
    main()
