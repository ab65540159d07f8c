"""Rows a second of the data loader on the embedded data set, host side alone.

python -m benchmarks.loader
python -m benchmarks.loader --sizes b128 --threads 0 1 4

Sizes: b rows a batch. The data is the quickstart's, with its text and its augmented pictures, in
training, and as they are, in evaluation. Processor seconds count all threads: more of them shorten
the wait, not the work, and what they do ahead makes rounds uneven, so the default is none. Batches
do not depend on the threads, which is checked before anything is timed.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import harness, timing
from mmjax.core import config as config_lib
from mmjax.data.dataset import Dataset
from mmjax.data.pipeline import prepare

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "quickstart.py"
SIZES = ("b32", "b128")


def arrays(batch: Any) -> list[np.ndarray]:
    """What is compared: all that a step gets."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(batch)]


def variant(dataset: Dataset, batch_size: int, threads: int, *, train: bool) -> timing.Variant:
    """The next batch, of an endless loader."""
    config = dataclasses.replace(
        dataset.config, batch_size=batch_size, eval_batch_size=batch_size, threads=threads
    )
    source = dataclasses.replace(dataset, config=config)

    def batches() -> Iterator[Any]:
        while True:
            with source.loader("train", train=train) as loader:
                yield from loader

    endless = batches()
    return timing.Variant(
        f"{threads} threads" if threads != 1 else "1 thread",
        lambda: arrays(next(endless)),
        tolerance=0.0,
    )


def cases(args: argparse.Namespace) -> Iterator[timing.Case]:
    """One variant each: what a loader's threads do ahead would be counted as another's time."""
    dataset = prepare(config_lib.load(CONFIG).data)
    for size in args.sizes:
        (batch_size,) = harness.dimensions(size, "b")
        for train in (True, False):
            reference = variant(dataset, batch_size, 0, train=train).call()
            for threads in args.threads:
                yield timing.Case(
                    size=size,
                    what="rows for training" if train else "rows for evaluation",
                    variants=[variant(dataset, batch_size, threads, train=train)],
                    reference=reference,
                    bytes=timing.nbytes(reference),
                    examples=batch_size,
                )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = harness.parser("loader", __doc__, sizes=SIZES)
    parser.add_argument("--threads", nargs="+", type=int, default=[0])
    args = parser.parse_args(arguments)
    harness.run("loader", cases(args), args)


if __name__ == "__main__":
    harness.restart_on_one_core()
    main()
