"""How well frozen MiniLM tells the sentiment of four kinds of text, beside TF-IDF.

pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
python -m benchmarks.sentiment --seeds 0 1 2

The model is that of `configs/sentiment.py`, with its settings: one for all four domains. Since its
encoder is frozen, what it makes of each snippet is computed once, and kept in `--features`. TF-IDF
of words and pairs of words with logistic regression is fitted in each domain alone, its C chosen on
the validation rows. Both see the same rows: a seed is that of the split by documents, and of
training. The epoch with the best validation accuracy over all domains counts, and the test rows are
read once.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from benchmarks.machine import about
from mmjax import encoders, fusion, tasks
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, write_json
from mmjax.core.packages import locate
from mmjax.core.types import Batch, Tokens
from mmjax.data.config import sources
from mmjax.data.sources.vader import DOMAINS
from mmjax.data.table import Table
from mmjax.metrics import mean_and_spread
from mmjax.models.multimodal import Multimodal
from mmjax.nn.pooling import masked_mean
from mmjax.parallel.sharding import unbox
from mmjax.pretrained.load import load as load_pretrained
from mmjax.train.config import Config
from mmjax.train.optim import make_optimizer, make_schedule
from mmjax.train.units import to_steps
from mmjax.writers.console import say

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LABELS = ("negative", "neutral", "positive")
REMARKS = (
    "The fusion, the rate and the number of epochs were settled after one look at the accuracy of "
    "seed 0 with a smaller fusion.",
)
LENGTHS = (24, 48, 96)
ARMS = ("MiniLM, frozen", "TF-IDF + logistic regression")
STRENGTHS = (1.0, 5.0)


class Given(nn.Module):
    """Tokens that somebody else computed."""

    @nn.compact
    def __call__(self, values: Any, attention_mask: Any, *, train: bool) -> Tokens:
        mask = jnp.asarray(attention_mask)
        values = jnp.asarray(values, jnp.float32)
        return Tokens(values, mask, masked_mean(values, mask))


class Features:
    """What the frozen encoder makes of texts: float16, one text's tokens after the other's."""

    def __init__(self, file: Path):
        self._file = file
        self.places: dict[str, tuple[int, int]] = {}
        self.tokens = np.zeros((0, 384), np.float16)
        if file.is_file():
            with np.load(file) as stored:
                self.tokens, ends = stored["tokens"], stored["ends"].tolist()
                texts = json.loads(bytes(stored["texts"]))
            self.places = dict(zip(texts, zip([0, *ends], ends, strict=False), strict=True))

    def need(self, texts: Sequence[str], folder: str, most: int) -> None:
        """Computes what is not there yet."""
        missing = [text for text in dict.fromkeys(texts) if text not in self.places]
        if not missing:
            return
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = [tokenizer(text, truncation=True, max_length=most)["input_ids"] for text in missing]
        encoder = load_pretrained(folder, pooling="mean")

        @jax.jit
        def encode(variables: Any, input_ids: Any, mask: Any) -> Any:
            tokens = encoder.module.apply(
                variables, input_ids=input_ids, attention_mask=mask, train=False
            )
            return tokens.values.astype(jnp.float16)

        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        parts: list[np.ndarray] = []
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            width = -(-max(len(ids[i]) for i in chosen) // 8) * 8
            input_ids = np.zeros((64, width), np.int32)
            mask = np.zeros((64, width), bool)
            for row, i in enumerate(chosen):
                input_ids[row, : len(ids[i])], mask[row, : len(ids[i])] = ids[i], True
            parts.extend(np.asarray(encode(encoder.variables, input_ids, mask))[mask][None])
        at = len(self.tokens)
        for i in order:
            self.places[missing[i]] = (at, at + len(ids[i]))
            at += len(ids[i])
        self.tokens = np.concatenate([self.tokens, *parts])
        self._file.parent.mkdir(parents=True, exist_ok=True)
        texts = np.frombuffer(json.dumps(list(self.places)).encode(), np.uint8)
        ends = np.array([end for _, end in self.places.values()])
        with atomic(self._file, mode="wb") as target:
            np.savez(target, tokens=self.tokens, ends=ends, texts=texts)

    def length(self, text: str) -> int:
        start, end = self.places[text]
        return end - start


def batch_of(table: Table, rows: Sequence[int], features: Features, size: int) -> Batch:
    """Rows of a table, padded to one of `LENGTHS` and to `size` rows."""
    texts = [table.column("text")[row] for row in rows]
    longest = max(features.length(text) for text in texts)
    width = next(length for length in LENGTHS if length >= longest)
    values = np.zeros((size, width, features.tokens.shape[1]), np.float16)
    mask, rows_mask = np.zeros((size, width), bool), np.arange(size) < len(rows)
    for i, text in enumerate(texts):
        start, end = features.places[text]
        values[i, : end - start], mask[i, : end - start] = features.tokens[start:end], True
    domains, labels = np.zeros((size, 1), np.int32), np.zeros(size, np.int32)
    domains[: len(rows), 0] = [DOMAINS.index(table.column("domain")[row]) for row in rows]
    labels[: len(rows)] = [LABELS.index(table.column("label")[row]) for row in rows]
    inputs = {
        "text": {"values": values, "attention_mask": mask},
        "domain": {"categories": domains},
    }
    places = np.full(size, -1, np.int32)
    places[: len(rows)] = rows
    return Batch(inputs, dict.fromkeys(inputs, rows_mask), {"label": labels}, rows_mask, places)


def epoch(
    rows: np.ndarray, lengths: np.ndarray, size: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """All rows in random order, those of a batch from neighbours in length."""
    order = rng.permutation(rows)
    groups = [order[i : i + 16 * size] for i in range(0, len(order), 16 * size)]
    batches = []
    for group in groups:
        by_length = group[np.argsort(lengths[group], kind="stable")]
        batches += [by_length[i : i + size] for i in range(0, len(by_length), size)]
    for index in rng.permutation(len(batches)):
        yield batches[index]


class Head:
    """The config's model without its text encoder, and its programs, which all seeds share."""

    def __init__(self, config: Config, rows: int):
        table = {"cardinalities": (len(DOMAINS),), "numbers": 0}
        facts = {"num_labels": len(LABELS), "label_names": LABELS}
        self.model = Multimodal(
            encoders={
                "text": Given(),
                "domain": encoders.registry.build(config.model.encoders["domain"], facts=table),
            },
            fusion=fusion.registry.build(config.model.fusion),
            task=tasks.registry.build(config.task, facts=facts),
        )
        self.size, self.ema_decay = config.data.batch_size, config.train.ema_decay
        sized = {"batch_size": self.size, "epoch_examples": rows}
        self.steps = to_steps(config.train.duration, name="train.duration", **sized)
        self.epochs = max(1, round(self.steps * self.size / rows))
        given = {"name": "optimizer.warmup", "total_steps": self.steps, **sized}
        schedule = make_schedule(
            config.optimizer, self.steps, to_steps(config.optimizer.warmup, **given)
        )
        self.optimizer = make_optimizer(config.optimizer, schedule)
        self.step = jax.jit(self._step)
        self.predict = jax.jit(self._predict)

    def start(self, key: Any, batch: Batch) -> tuple[Any, Any, Any]:
        """New parameters, their average, and the state of the optimiser."""
        params = unbox(self.model.init({"params": key, "dropout": key}, batch, train=False))
        return params["params"], params["params"], self.optimizer.init(params["params"])

    def _step(
        self, params: Any, average: Any, state: Any, batch: Batch, key: Any, done: Any
    ) -> tuple[Any, Any, Any]:
        def loss(params: Any) -> Any:
            rngs = {"dropout": key}
            return self.model.apply({"params": params}, batch, train=True, rngs=rngs).loss

        grads = jax.grad(loss)(params)
        updates, state = self.optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        # As `mmjax.train.step` averages.
        kept = jnp.minimum(self.ema_decay, (1.0 + done) / (10.0 + done))
        average = jax.tree.map(lambda a, p: a + (p - a) * (1.0 - kept), average, params)
        return params, average, state

    def _predict(self, params: Any, batch: Batch) -> Any:
        found = self.model.apply({"params": params}, batch, train=False)
        return found.predictions["probabilities"].argmax(axis=-1)


def fit(head: Head, table: Table, features: Features, seed: int) -> dict[str, dict[str, float]]:
    """The accuracy in each domain, on the validation and the test rows."""
    splits, domains = (np.array(table.column(name)) for name in ("split", "domain"))
    rows = {name: np.flatnonzero(splits == name) for name in ("train", "validation", "test")}
    lengths = np.array([features.length(text) for text in table.column("text")])
    labels = np.array([LABELS.index(label) for label in table.column("label")])
    size, rng, key = head.size, np.random.default_rng(seed), jax.random.key(seed)

    def hits(params: Any, rows: np.ndarray) -> np.ndarray:
        order = rows[np.argsort(lengths[rows], kind="stable")]
        found = np.zeros(len(table), bool)
        for start in range(0, len(order), size):
            some = order[start : start + size]
            said = head.predict(params, batch_of(table, some.tolist(), features, size))
            found[some] = np.asarray(said)[: len(some)] == labels[some]
        return found[rows]

    first = batch_of(table, rows["train"][:2].tolist(), features, size)
    params, average, state = head.start(key, first)
    done, best, kept = 0, -1.0, average
    for _ in range(head.epochs):
        for some in epoch(rows["train"], lengths, size, rng):
            batch = batch_of(table, some.tolist(), features, size)
            own = jax.random.fold_in(key, done)
            params, average, state = head.step(params, average, state, batch, own, float(done))
            done += 1
        accuracy = float(hits(average, rows["validation"]).mean())
        say(f"seed {seed}, step {done}: validation accuracy {accuracy:.4f}")
        if accuracy > best:
            best, kept = accuracy, average
    found = {}
    for split in ("validation", "test"):
        right = hits(kept, rows[split])
        found[split] = {
            domain: float(right[domains[rows[split]] == domain].mean()) for domain in DOMAINS
        }
    return found


def tfidf(table: Table) -> dict[str, dict[str, float]]:
    """As `fit`, of bags of words: each domain for itself."""
    columns = {name: np.array(table.column(name), object) for name in table.columns}
    found: dict[str, dict[str, float]] = {"validation": {}, "test": {}}
    for domain in DOMAINS:
        own = {
            split: (columns["domain"] == domain) & (columns["split"] == split)
            for split in ("train", "validation", "test")
        }
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        seen = words.fit_transform(columns["text"][own["train"]])
        texts = {name: words.transform(columns["text"][own[name]]) for name in found}
        truth = {name: columns["label"][rows].astype(str) for name, rows in own.items()}
        tried = [LogisticRegression(C=c, max_iter=200).fit(seen, truth["train"]) for c in STRENGTHS]
        best = max(tried, key=lambda one: one.score(texts["validation"], truth["validation"]))
        for name in found:
            found[name][domain] = float(best.score(texts[name], truth[name]))
    return found


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """`{arm: {domain: {"mean", "std"}}}` of the test rows; null deviations for one seed."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for arm in dict.fromkeys(run["arm"] for run in runs):
        own = [run["test"] for run in runs if run["arm"] == arm]
        found[arm] = {}
        for domain in DOMAINS:
            mean, spread = mean_and_spread([one[domain] for one in own])
            found[arm][domain] = {"mean": mean, "std": spread if len(own) > 1 else None}
    return found


def to_markdown(result: dict[str, Any]) -> str:
    """The table, and below it what it is of."""

    def shown(cell: dict[str, Any]) -> str:
        return f"{cell['mean']:.3f}" + ("" if cell["std"] is None else f" ± {cell['std']:.3f}")

    lines = [
        f"| test accuracy | {' | '.join(DOMAINS)} |",
        f"|---|{'---:|' * len(DOMAINS)}",
        *(
            f"| {arm} | {' | '.join(shown(row[domain]) for domain in DOMAINS)} |"
            for arm, row in result["summary"].items()
        ),
        "",
        "Three classes of the snippets of vaderSentiment 3.3.2, split 70 / 10 / 20 by document. "
        "One model for all four domains (`configs/sentiment.py`, "
        f"{result['duration']}), whose frozen encoder ran once; TF-IDF in each domain alone. Mean "
        f"± sample standard deviation over seeds {', '.join(map(str, result['seeds']))}, which are "
        "those of the splits too; "
        f"{sum(run['processor_seconds'] for run in result['runs']):.0f} processor seconds without "
        f"the encoder; {result['cpu']}, jax {result['versions']['jax']}, Python "
        f"{result['python']}, {result['date']}: `{result['command']}`.",
        "",
        *REMARKS,
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.sentiment", description=__doc__)
    parser.add_argument("settings", nargs="*", metavar="dotted.key=value", help="of the config")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--features", type=Path, default=ROOT / ".cache" / "sentiment.npz")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    config: Config = config_lib.override(
        config_lib.load(ROOT / "configs" / "sentiment.py"), args.settings
    )
    features, head = Features(args.features), None
    command = " ".join(
        ["python -m benchmarks.sentiment", *args.settings, "--seeds", *map(str, args.seeds)]
    )
    result: dict[str, Any] = {
        **about(),
        "command": command,
        "duration": config.train.duration,
        "config": config_lib.to_json(config),
        "seeds": [],
        "runs": [],
    }
    for seed in args.seeds:
        table = sources.build(config.data.source, seed=seed).read()
        if ARMS[0] in args.arms:
            head = head or Head(config, list(table.column("split")).count("train"))
            options = config.data.modalities["text"].options
            folder = locate(options["tokenizer"])
            features.need(table.column("text"), folder, options["max_length"])
        for arm in args.arms:
            start = time.process_time()
            if head is not None and arm == ARMS[0]:
                found = fit(head, table, features, seed)
            else:
                found = tfidf(table)
            seconds = round(time.process_time() - start, 1)
            result["runs"].append({"seed": seed, "arm": arm, "processor_seconds": seconds, **found})
            say(result["runs"][-1])
        result["seeds"].append(seed)
        result["summary"] = summarise(result["runs"])
        write_json(args.out / "sentiment.json", result)
        with atomic(args.out / "sentiment.md") as file:
            file.write(to_markdown(result))
    say(to_markdown(result))


if __name__ == "__main__":
    main()
