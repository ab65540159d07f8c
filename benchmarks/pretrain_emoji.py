"""How well names find pictures of unseen concepts, pretrained in every way that the library has.

python -m benchmarks.pretrain_emoji --seeds 0 1 2
python -m benchmarks.pretrain_emoji --rows "from scratch" --seeds 0 --set train.duration="2 epochs"

Rows: `configs/pretrain_emoji.py` from scratch; its names and pictures alone, trained longer, with
the closed-form alignment of TF-IDF, which needs no weights either, as the teacher;
`configs/pretrain_emoji_minilm.py`, whose text tower is MiniLM; the closed-form alignment of
`benchmarks.align_emoji`, which trains nothing; the same MiniLM config with that alignment as the
teacher (objective `distillation`, on vectors that are held out in training); and the sum of the
similarities of the alignment and of the model it taught.

Recall@10 is the mean of both ways, of English names and one drawing of each of the 389 test
concepts (chance 0.026): of Twemoji, of Noto, the mean of the two, and of both drawings of a concept
together (the sum of their vectors). The mean of the two is what other figures are compared with.
Settings were chosen, and of each run the checkpoint, on the validation concepts; the test concepts
are read once a run. A result is written after each run; what stands in the file for the same
settings is not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.align_drawings import joined, similarities
from benchmarks.align_emoji import DRAWINGS, unit
from benchmarks.emoji_vectors import (
    CACHE,
    SPLITS,
    TEACHER,
    Data,
    of_vectors,
    recalls,
    save,
    summed,
    together,
)
from benchmarks.machine import about
from benchmarks.pretrain_table import to_markdown
from mmjax.api.run import Run, load_run
from mmjax.checkpoint.run_folder import json_hash
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, read_json, write_json
from mmjax.core.registry import Spec
from mmjax.data.config import Join
from mmjax.data.dataset import Dataset
from mmjax.data.modalities.image import Image
from mmjax.metrics import retrieval
from mmjax.models.build import build_model
from mmjax.train.config import Config
from mmjax.train.trainer import fit
from mmjax.writers.console import say

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SCRATCH, SCRATCH_TAUGHT, MINILM, ALIGNED, TAUGHT, BOTH = ROWS = (
    "from scratch",
    "from scratch, taught by the alignment of TF-IDF",
    "MiniLM",
    "alignment",
    "MiniLM, taught by the alignment",
    "alignment and the model it taught",
)
CONFIGS = {
    SCRATCH: "pretrain_emoji",
    SCRATCH_TAUGHT: "pretrain_emoji",
    MINILM: "pretrain_emoji_minilm",
    TAUGHT: "pretrain_emoji_minilm",
    BOTH: "pretrain_emoji_minilm",
}
TEACHERS = {SCRATCH_TAUGHT: "TF-IDF", TAUGHT: "MiniLM"}
TEACHING: dict[str, Any] = {"teacher_temperature": 0.1, "softening": 1.0}
LESSONS = {SCRATCH_TAUGHT: 4.0, TAUGHT: 1.0}
"""The weight of the teacher's similarities beside the contrastive loss."""
LONGER = ("train.duration=150 epochs", "train.best_metric=recall@10")


def names_and_pictures(config: Config) -> Config:
    """The contrastive part of `configs/pretrain_emoji.py`, trained longer."""
    names = ("text", "image")
    data = dataclasses.replace(
        config.data, modalities={name: config.data.modalities[name] for name in names}
    )
    model = dataclasses.replace(
        config.model,
        encoders={name: config.model.encoders[name] for name in names},
        fusion=type(config.model)().fusion,
    )
    alone = {"contrastive": Spec("contrastive", temperature=0.1)}
    config = dataclasses.replace(config, data=data, model=model, objectives=alone)
    return config_lib.override(config, list(LONGER))


def taught(config: Config, teacher: Path, weight: float) -> Config:
    """The same training, with the teacher's similarities as a further objective."""
    temperature = config.objectives["contrastive"].options.get("temperature", 0.07)
    lesson = Spec(
        "distillation", vectors=TEACHER, temperature=temperature, weight=weight, **TEACHING
    )
    data = dataclasses.replace(
        config.data,
        joins=(*config.data.joins, Join(source=Spec("parquet", path=str(teacher)), on="index")),
        targets={
            **config.data.targets,
            **{name: Spec("vector", column=name) for name in TEACHER.values()},
        },
    )
    return dataclasses.replace(
        config, data=data, objectives={**config.objectives, "distillation": lesson}
    )


def vectors_of(run: Run, dataset: Dataset) -> dict[str, np.ndarray]:
    """`text` and each drawing alone [concept e], of all concepts, in the joint space."""
    found: dict[str, np.ndarray] = {}
    spec = run.config.data.modalities["image"].options
    for name in DRAWINGS:
        settings = {**spec, "columns": (name,), "augment": {}}
        one = Image(**settings).fit(dataset.table, dataset.rows("train"))
        alone = dataclasses.replace(
            dataset,
            modalities={**dataset.modalities, "image": one},
            columns={**dataset.columns, "image": (name,)},
        )
        embedded = run.embed_dataset(alone)
        order = np.argsort(embedded["ids"])
        found |= {"text": embedded["text"][order], name: embedded["image"][order]}
    return found


def drawings(data: Data, vectors: Mapping[str, np.ndarray], seed: int) -> dict[str, Any]:
    """Twemoji's drawing asks for Noto's and back, recall@1: learnt, closed-form, and both."""
    train = data.rows("train")
    sides = [joined(one, train) for one in data.features(seed)]
    closed = similarities(sides[0], sides[1], train)
    learnt = vectors[DRAWINGS[0]] @ vectors[DRAWINGS[1]].T
    found: dict[str, Any] = {}
    for split in SPLITS:
        part = np.ix_(data.rows(split), data.rows(split))
        parts = {
            "hand-made features": {"both drawings": closed["features"][part]},
            "closed-form maps": {"both drawings": closed["maps"][part]},
            "learnt": {"both drawings": learnt[part]},
        }
        parts["learnt and closed-form"] = summed(parts["closed-form maps"], parts["learnt"])
        found[split] = {
            name: retrieval(one["both drawings"], ks=(1,))["recall@1"]
            for name, one in parts.items()
        }
    return found


def languages(run: Run, dataset: Dataset, vectors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Recall@10 (both drawings together) of the test concepts by their names in each language."""
    rows = dataset.rows("test")
    column = run.config.data.modalities["text"].options["column"]
    names = dataset.table.column("names")
    pictures = together(vectors)[rows]
    found = {}
    for language in sorted(names[0]):
        cells = [
            one.get(language) or english
            for one, english in zip(names, dataset.table.column(column), strict=True)
        ]
        table = dataclasses.replace(dataset.table, columns={**dataset.table.columns, column: cells})
        embedded = run.embed_dataset(dataclasses.replace(dataset, table=table), "test")
        order = np.argsort(embedded["ids"])
        similarity = unit(embedded["text"][order]) @ pictures.T
        found[language] = retrieval(similarity, ks=(10,))["recall@10"]
    return found


def objectives(run: Run, dataset: Dataset) -> dict[str, float]:
    """What the other objectives reach on the test concepts, and what knows nothing reaches."""
    metrics = run.evaluate_dataset(dataset, "test").metrics
    found: dict[str, float] = {}
    if "matching/accuracy" in metrics:
        # A true pair and two wrong ones of each row.
        found |= {
            "matching, any wrong partner": with_any_partner(run, dataset),
            "matching, the most similar": metrics["matching/accuracy"],
            "always no": 2 / 3,
        }
    if "masked_lm/perplexity" in metrics:
        language = run.module.objectives["masked_lm"]
        found |= {
            "masked LM perplexity": metrics["masked_lm/perplexity"],
            "unigram perplexity": language.baseline(dataset)["perplexity"],
        }
    return found


def with_any_partner(run: Run, dataset: Dataset) -> float:
    """The accuracy of matching where wrong partners are drawn evenly, not by similarity."""
    config = run.config
    hard = config.objectives["matching"]
    even = Spec(hard.name, **{**hard.options, "hard_negatives": False})
    other = load_run(run.folder.path)
    other.module = build_model(
        config.model, config.task, run.facts, {**config.objectives, "matching": even}
    )
    return other.evaluate_dataset(dataset, "test").metrics["matching/accuracy"]


def train(config: Config, data: Data, folder: Path, seed: int, row: str) -> dict[str, Any]:
    """Trains one model; its record, and its vectors in `CACHE`."""
    start = time.process_time()
    fit(config, folder, title=f"{row}, seed {seed}")
    seconds = time.process_time() - start
    run = load_run(folder)
    dataset = run.dataset()
    vectors = vectors_of(run, dataset)
    save(vectors_file(row, seed), vectors)
    record: dict[str, Any] = {"seconds": round(seconds, 1)}
    for split in SPLITS:
        record[split] = recalls(of_vectors(vectors, data.rows(split)))
    record["drawings"] = drawings(data, vectors, seed)
    if row == SCRATCH:
        record["languages"] = languages(run, dataset, vectors)
    record["objectives"] = objectives(run, dataset)
    return record


def vectors_file(row: str, seed: int) -> Path:
    return CACHE / f"{''.join(c if c.isalnum() else '_' for c in row)}_{seed}.npz"


def config_of(row: str, seed: int, changes: Sequence[str]) -> Config:
    """The config of a trained row, its teacher left out."""
    config = config_lib.load(ROOT / "configs" / f"{CONFIGS[row]}.py")
    if row == SCRATCH_TAUGHT:
        config = names_and_pictures(config)
    return dataclasses.replace(config_lib.override(config, changes), seed=seed)


def measure(
    row: str, seed: int, data: Data, changes: Sequence[str], runs: Path | None
) -> dict[str, Any]:
    """The record of one row; the run from scratch stays in `runs`."""
    if row in (ALIGNED, BOTH):
        vectors = data.aligned(seed)
        found = {split: of_vectors(vectors, data.rows(split)) for split in SPLITS}
        if row == BOTH:
            file = vectors_file(TAUGHT, seed)
            if not file.is_file():
                raise SystemExit(f"'{BOTH}' comes after '{TAUGHT}' of the same seed")
            with np.load(file) as learnt:
                found = {
                    split: summed(one, of_vectors(learnt, data.rows(split)))
                    for split, one in found.items()
                }
        return {
            "seconds": round(float(vectors["seconds"]), 1),
            **{split: recalls(one) for split, one in found.items()},
        }
    config = config_of(row, seed, changes)
    if row in TEACHERS:
        config = taught(config, data.teacher(seed, TEACHERS[row]), LESSONS[row])
    if row == SCRATCH and runs is not None:
        return train(config, data, runs / f"seed_{seed}" / "pretraining", seed, row)
    with tempfile.TemporaryDirectory() as folder:
        return train(config, data, Path(folder) / "run", seed, row)


def key_of(row: str, seed: int, changes: Sequence[str]) -> str:
    """Changes when the result might."""
    if row == ALIGNED:
        return json_hash({"row": row, "seed": seed})
    settings = config_lib.to_json(config_of(row, seed, changes))
    teaching = {**TEACHING, "weight": LESSONS[row]} if row in TEACHERS else {}
    return json_hash({"row": row, "config": settings, "teaching": teaching})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.pretrain_emoji", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", metavar="dotted.key=value", default=[])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--runs", type=Path, help="keep the runs from scratch here, to fine-tune")
    args = parser.parse_args(arguments)
    file = args.out / "pretrain_emoji.json"
    cached = "JAX_COMPILATION_CACHE_DIR" in os.environ
    data = Data()
    runs = read_json(file)["runs"] if file.is_file() else []
    known = {run["hash"]: run for run in runs}
    done = {(run["row"], run["seed"]): run for run in runs}
    for seed in args.seeds:
        for row in (one for one in ROWS if one in args.rows):
            key = key_of(row, seed, args.set)
            if key not in known:
                found = measure(row, seed, data, args.set, args.runs)
                known[key] = {"row": row, "seed": seed, "hash": key, **found}
                jax.clear_caches()
                gc.collect()
                say(known[key])
            done[row, seed] = known[key]
            ordered = sorted(done.values(), key=lambda run: (run["seed"], ROWS.index(run["row"])))
            result = {**about(), "changes": args.set, "compilation_cache": cached, "runs": ordered}
            write_json(file, result)
            with atomic(args.out / "pretrain_emoji.md") as target:
                target.write(to_markdown(result, ROWS))
    say(to_markdown(read_json(file), ROWS))


if __name__ == "__main__":
    main()
