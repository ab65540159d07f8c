"""Write the fused and the single modalities' representations of a manifest's rows as .npz.

The arrays are `ids`, `fused` [n d], and one [n d] for each modality. Rows are spread over all
devices; of several processes (as for `mmjax train`), each reads its share and the first one writes.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--data", help="a manifest; the run's own data if left out")
    parser.add_argument("--out", required=True, help="the .npz file")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--split", help="only the rows of this split")


def run(args: argparse.Namespace) -> int:
    from typing import Any

    import jax
    import numpy as np

    from mmjax.api.evaluating import list_left_out
    from mmjax.api.run import load_run
    from mmjax.core.files import atomic
    from mmjax.parallel.distributed import initialize
    from mmjax.writers.console import say

    initialize()
    found = load_run(args.run_folder)
    dataset = found.dataset(args.data, root=args.root)
    arrays: dict[str, Any] = found.embed_dataset(dataset, args.split)
    if jax.process_index():
        return 0
    with atomic(args.out, "wb") as file:
        np.savez(file, **arrays)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    say(f"{args.out}: {shapes}")
    for line in list_left_out(dataset, args.out):
        say(line)
    return 0
