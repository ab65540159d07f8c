"""Vectors of the EMOJI concepts' names and pictures, and how well each finds the other.

What `benchmarks.pretrain_emoji` reads: the closed-form alignment of `benchmarks.align_emoji`, kept
in files, as vectors and as a teacher's table to join; and recall among the concepts of a split.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import align_emoji
from benchmarks.align_emoji import DRAWINGS, Pictures, unit
from benchmarks.picture_features import picture_features
from mmjax.core.files import atomic, atomic_path
from mmjax.data.sources.emoji import Emoji
from mmjax.metrics import retrieval

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "pretrain_emoji"
SPLITS = ("validation", "test")
DIRECTIONS = 256
TEACHER = {"text": "teacher_text", "image": "teacher_image"}
"""The column of the teacher's vectors of each modality."""


class Data:
    """The embedded set as arrays, read once."""

    @functools.cached_property
    def table(self) -> Any:
        return Emoji().read()

    @functools.cached_property
    def split(self) -> np.ndarray:
        return np.array(self.table.column("split"))

    @functools.cached_property
    def pictures(self) -> np.ndarray:
        drawn = [np.stack(self.table.column(name)) for name in DRAWINGS]
        return np.concatenate(drawn).astype(np.float32) / 255

    @functools.cache  # noqa: B019 (one object a process)
    def names(self, kind: str) -> np.ndarray:
        """Vectors of the names: of MiniLM, the mean over templates, or of TF-IDF."""
        names = [str(name) for name in self.table.column("name")]
        train = self.rows("train")
        if kind == "MiniLM":
            return align_emoji.minilm(names, train)["templates"]
        return align_emoji.ngrams(names, train)["n-grams"]

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.split == split)

    def features(self, seed: int) -> list[dict[str, np.ndarray]]:
        """Hand-made features of each drawing, [concept d] by name."""
        known = self.pictures[np.tile(self.split == "train", len(DRAWINGS))]
        made = picture_features(self.pictures, known, seed=seed)
        return [
            {name: one.reshape(len(DRAWINGS), len(self.split), -1)[i] for name, one in made.items()}
            for i in range(len(DRAWINGS))
        ]

    def aligned(self, seed: int, kind: str = "MiniLM") -> dict[str, np.ndarray]:
        """`text` [concept e] and each drawing [concept e]; of training rows, as if left out.

        Kept in a file a seed, with the processor's `seconds`, since it takes minutes.
        """
        file = CACHE / f"alignment_{kind}_{seed}.npz"
        if not file.is_file():
            start = time.process_time()
            pictures = Pictures.of(self.pictures, self.split, seed)
            names = self.names(kind)
            fitted, _ = align_emoji.fit(pictures, names)
            mapped = fitted.transform(pictures.kernel)
            mapped[pictures.train] = fitted.held_out
            sides = dict(zip(DRAWINGS, pictures.drawings(mapped), strict=True))
            seconds = np.array(time.process_time() - start)
            save(file, {"text": names, "seconds": seconds, **sides})
        with np.load(file) as arrays:
            return dict(arrays)

    def teacher(self, seed: int, kind: str) -> Path:
        """The alignment as a table to join: what it makes of name and pictures of each concept.

        Of longer vectors, the 256 directions in which the training names differ most.
        """
        import pyarrow
        import pyarrow.parquet

        vectors = self.aligned(seed, kind)
        columns = {"text": vectors["text"], "image": together(vectors)}
        if vectors["text"].shape[1] > DIRECTIONS:
            known = vectors["text"][self.rows("train")]
            main = np.linalg.svd(known, full_matrices=False)[2][:DIRECTIONS].T
            columns = {name: rows @ main for name, rows in columns.items()}
        file = CACHE / f"teacher_{kind}_{seed}.parquet"
        numbers = pyarrow.list_(pyarrow.float32())
        table = pyarrow.table(
            {
                "index": list(self.table.column("index")),
                **{
                    TEACHER[name]: pyarrow.array(list(rows.astype(np.float32)), numbers)
                    for name, rows in columns.items()
                },
            }
        )
        with atomic_path(file) as temporary:
            pyarrow.parquet.write_table(table, temporary)
        return file


def together(vectors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Both drawings of each concept as one vector."""
    return unit(np.sum([unit(vectors[name]) for name in DRAWINGS], axis=0))


def save(file: Path, arrays: Mapping[str, Any]) -> None:
    """Arrays by name, whole or not at all."""
    with atomic(file, "wb") as target:
        np.savez(target, **arrays)


def recalls(similarity: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Recall@10 of each drawing, their mean, and both together; names ask for pictures and back."""
    found = {name: retrieval(one, ks=(1, 10)) for name, one in similarity.items()}
    return {
        **{name: found[name]["recall@10"] for name in DRAWINGS},
        "mean": float(np.mean([found[name]["recall@10"] for name in DRAWINGS])),
        "both drawings": found["both drawings"]["recall@10"],
        "recall@1": float(np.mean([found[name]["recall@1"] for name in DRAWINGS])),
    }


def of_vectors(vectors: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """The similarities of names and pictures of some concepts, by drawing and of both."""
    text, *sides = (unit(vectors[name][rows]) for name in ("text", *DRAWINGS))
    found = {name: text @ side.T for name, side in zip(DRAWINGS, sides, strict=True)}
    return {**found, "both drawings": text @ unit(np.sum(sides, axis=0)).T}


def summed(*several: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each of mean 0 and deviation 1, added up."""
    return {
        name: np.sum([(one[name] - one[name].mean()) / one[name].std() for one in several], axis=0)
        for name in several[0]
    }
