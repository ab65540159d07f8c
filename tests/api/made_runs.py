"""The cheapest runs there are: a table's columns, or those and a text, trained or made up."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import reference
import tiny_run

from mmjax.api.run import Run
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core import config as config_lib
from mmjax.core.files import write_json
from mmjax.core.registry import Spec
from mmjax.data.pipeline import prepare
from mmjax.parallel.sharding import unbox, variable_shardings
from mmjax.train.config import Config

_SETTINGS = (
    "train.duration=4 steps",
    "train.evaluate_every=2 steps",
    "train.ema_decay=0",
    "optimizer.schedule=constant",
    "optimizer.warmup=0 steps",
    "model.modality_dropout=0",
)
_COLUMNS = tuple(name for name in tiny_run.COLUMNS if name != "picture")


def config(
    folder: Path, *changes: str, text: bool = False, fusion: Spec = Spec("concat", width=8)
) -> Config:
    """4 steps, an evaluation every 2, nothing random.

    With equal shapes, as tables of all folds have, all such runs are one program.
    """
    path = tiny_run.write_rows(Path(folder) / "data.csv", tiny_run.rows_of(), _COLUMNS)
    whole = tiny_run.config(path, *_SETTINGS, "model.encoders.text.dropout=0")
    table = Spec("table", numbers=("weight",), categories=("place",))
    own = {"text": whole.data.modalities["text"]} if text else {}
    encoder = {"text": whole.model.encoders["text"]} if text else {}
    whole = dataclasses.replace(
        whole,
        data=dataclasses.replace(whole.data, modalities={**own, "table": table}),
        model=dataclasses.replace(
            whole.model,
            encoders={**encoder, "table": Spec("table", width=8, depth=0, dropout=0.0)},
            fusion=fusion,
        ),
    )
    return config_lib.override(whole, changes)


def made(whole: Config, folder: Path, *, seed: int = 0) -> Run:
    """A run that was never trained: NumPy's numbers are its parameters, and it has no checkpoint.

    It is what `Run(folder)` would be; a command finds it where `load_run` is told of it.
    """
    dataset = prepare(whole.data)
    place = RunFolder(folder).create()
    dataset.save(place.processors)
    place.write_facts(dataset.facts)
    place.write_config(config_lib.to_json(whole))
    write_json(place.path / "data_summary.json", dataset.summary())
    run = Run(place.path)
    boxed = run._abstract(dataset)
    shardings = variable_shardings(boxed, run.mesh)
    variables = reference.random_like(unbox(boxed), seed=seed, scale=0.5)
    run._loaded = jax.device_put(variables, shardings), shardings
    return run
