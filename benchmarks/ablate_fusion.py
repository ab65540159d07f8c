"""Every way of fusing: same encoders, budget and seeds, beside each modality alone.

python -m benchmarks.ablate_fusion configs/quickstart.py
python -m benchmarks.ablate_fusion configs/av_mnist.py --seeds 0 1 2 --methods gated perceiver
python -m benchmarks.ablate_fusion              writes results/ablate_fusion.md anew

A config trains under its `PROTOCOLS`, the same for all methods, which have the options of
`options_of`: all were set before the first run. Of each run the checkpoint with the best validation
accuracy counts, and the test rows are read once. A result is written after each run; what stands in
it for the same settings is not run again. Two processes may work on two configs.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.ablation_table import RESULTS, ROOT, results, to_markdown
from benchmarks.machine import about
from mmjax.api.run import Run, load_run
from mmjax.api.training import single_modality
from mmjax.checkpoint.run_folder import json_hash
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, NumericError
from mmjax.core.files import atomic, read_json, write_json
from mmjax.core.registry import Spec
from mmjax.data.dataset import Dataset
from mmjax.data.pipeline import prepare
from mmjax.models import assemblies, combinations, fusions
from mmjax.train.config import Config
from mmjax.train.example import example_batch
from mmjax.train.trainer import fit
from mmjax.writers.console import say

PROTOCOLS = {
    "quickstart": (
        "model.encoders.image.channels=(16, 32, 64)",
        "model.auxiliary_loss=0.0",
        "data.modalities.text.max_length=48",
        "train.duration=8 epochs",
        "train.evaluate_every=2 epochs",
        "train.save_every=8 epochs",
    ),
}
"""What is changed of a config so that all methods and seeds are trained within an hour."""

WIDTH, HEADS, DROPOUT = 64, 4, 0.1
LAYERS = {"bottleneck": {"depth": 2, "fusion_layer": 0}}
"""Of those with attention, which have one layer: through a bottleneck nothing comes in fewer."""
CACHE = ROOT / ".cache" / "jax_benchmarks"


@dataclasses.dataclass(frozen=True)
class Model:
    """One row of the table."""

    level: str
    name: str
    config: Config


def options_of(name: str) -> dict[str, Any]:
    """The settings of a fusion, those that it has of the ones that all share."""
    settings = fusions.settings(name)
    shared: dict[str, Any] = {"width": WIDTH, "dropout": DROPOUT}
    if "heads" in settings:
        shared |= {"heads": HEADS, "depth": 1, "mlp_dim": 2 * WIDTH, **LAYERS.get(name, {})}
    return {key: value for key, value in shared.items() if key in settings}


def methods() -> Iterator[tuple[str, str, Spec]]:
    """Level, name and spec of all that is registered."""
    for name in fusions:
        if name == "decision":
            for rule in combinations:
                yield "decision", f"{name} ({rule})", Spec(name, method=Spec(rule))
        elif name in assemblies:
            yield "model", name, Spec(name, **options_of(name))
        else:
            level = "attention" if "heads" in fusions.settings(name) else "feature"
            yield level, name, Spec(name, **options_of(name))


def models(config: Config) -> list[Model]:
    """Each modality alone, then each method."""
    alone = [
        Model("single", f"{name} alone", single_modality(config, name))
        for name in config.model.encoders
    ]

    def fused(spec: Spec) -> Config:
        return dataclasses.replace(config, model=dataclasses.replace(config.model, fusion=spec))

    return alone + [Model(level, name, fused(spec)) for level, name, spec in methods()]


def parameters(run: Run, dataset: Dataset) -> int:
    """How many the model has beside its encoders: those of fusion and heads."""
    batch, key = example_batch(dataset, 1), jax.random.key(0)
    variables = jax.eval_shape(lambda: run.module.init(key, batch, train=False))
    parts = variables["params"].items()
    own = {name: part for name, part in parts if not name.startswith("encoders_")}
    return sum(leaf.size for leaf in jax.tree.leaves(own))


def measure(config: Config, dataset: Dataset, folder: Path, title: str) -> dict[str, Any]:
    """Trains one model; its accuracy on the rows that were held out, and what it cost.

    A model that the config cannot have is `skipped`, with the reason.
    """
    start = time.process_time()
    try:
        fit(config, folder, dataset=dataset, title=title)
    except (ConfigError, NumericError) as error:
        return {"skipped": error.what}
    run = load_run(folder)
    found = {
        split: run.evaluate_dataset(dataset, split).metrics["accuracy"]
        for split in ("validation", "test")
    }
    seconds = round(time.process_time() - start, 1)
    return {**found, "cpu_seconds": seconds, "parameters": parameters(run, dataset)}


def ablate(
    config: Config, file: Path, *, seeds: Sequence[int], only: Sequence[str] | None, facts: Any
) -> None:
    """Runs what `file` does not hold yet, seed by seed, and writes it after each run."""
    before = read_json(file)["runs"] if file.is_file() else []
    known = {run["hash"]: run for run in before if "skipped" not in run}
    dataset = prepare(config.data)
    done: dict[tuple[str, int], dict[str, Any]] = {
        (run["model"], run["seed"]): run for run in before
    }
    for seed in seeds:
        for model in models(dataclasses.replace(config, seed=seed)):
            if only and not {model.name, model.config.model.fusion.name} & set(only):
                continue
            found = run_one(model, seed, dataset, known)
            done[model.name, seed] = found
            runs = sorted(done.values(), key=lambda run: run["seed"])
            write_json(file, {**about(), **facts, "runs": runs})


def run_one(model: Model, seed: int, dataset: Dataset, known: dict[str, Any]) -> dict[str, Any]:
    """The record of one run: a known one of the same settings, or a new one."""
    key = json_hash(config_lib.to_json(model.config))
    if key in known:
        return known[key]
    own = dataset
    if model.level == "single":
        own = dataset.only(*model.config.model.encoders)
    title = f"{model.name}, seed {seed}"
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(model.config, own, Path(folder) / "run", title)
    # Programs of models that are done with; hundreds of them would fill the memory.
    jax.clear_caches()
    gc.collect()
    found = {"level": model.level, "model": model.name, "seed": seed, "hash": key, **measured}
    say(found)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.ablate_fusion", description=__doc__)
    parser.add_argument("configs", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", help="only these, such as gated and 'text alone'")
    parser.add_argument("--epochs", type=int, help="the schedule is scaled to so many")
    parser.add_argument("--set", nargs="+", metavar="dotted.key=value", help="for PROTOCOLS")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # All seeds of a method run the same programs.
        jax.config.update("jax_compilation_cache_dir", str(CACHE))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    for path in args.configs:
        changes = list(PROTOCOLS.get(path.stem, ()) if args.set is None else args.set)
        if args.epochs is not None:
            changes.append(f"train.duration={args.epochs} epochs")
        config = config_lib.check(config_lib.override(config_lib.load(path), changes))
        facts = {"config": f"configs/{path.name}", "changes": changes}
        file = args.out / f"ablate_fusion_{path.stem}.json"
        ablate(config, file, seeds=args.seeds, only=args.methods, facts=facts)
    table = to_markdown(results(args.out))
    with atomic(args.out / "ablate_fusion.md") as target:
        target.write(table)
    say(table)


if __name__ == "__main__":
    main()
