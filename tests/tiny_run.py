"""The smallest run that has every part: 40 rows of text, picture, number and category, 3 classes.

Words, colour and number tell the class. Runs differ in few settings only, since each other program
is compiled anew when nothing is cached yet.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import PIL.Image
import pytest
import reference

from mmjax.api.training import single_modality
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core import rng
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.report import figures
from mmjax.train import trainer
from mmjax.train.config import Config, OptimizerConfig, TrainConfig
from mmjax.train.state import StatePlan, TrainState, begun, plan_state

LABELS = ("bird", "fish", "stone")
_WORDS = {
    "bird": ("wing", "feather", "beak", "nest"),
    "fish": ("fin", "water", "scale", "gill"),
    "stone": ("grey", "hard", "rock", "quarry"),
}
_COMMON = ("small", "old", "big", "new")
COLUMNS = ("id", "words", "picture", "weight", "place", "kind")


def rows_of(count: int = 40, *, seed: int = 0) -> list[dict[str, Any]]:
    """`count` rows, their pictures as arrays [8 8 3]."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        label = LABELS[index % len(LABELS)]
        words = [
            *rng.choice(_WORDS[label], 1 + index % 2),
            *rng.choice(_COMMON, 1 + index % 3 // 2),
        ]
        pixels = rng.integers(0, 120, (8, 8, 3))
        pixels[..., index % len(LABELS)] += 100
        rows.append(
            {
                "id": f"r{index}",
                "words": " ".join(words),
                "picture": pixels.astype(np.uint8),
                "weight": round(float(rng.normal(index % len(LABELS), 1.0)), 3),
                "place": ["land", "sea"][int(label == "fish")],
                "kind": label,
            }
        )
    return rows


def write_data(folder: Path, count: int = 40, *, name: str = "data", seed: int = 0) -> Path:
    """`<name>.csv` and its pictures below `folder`."""
    folder = Path(folder)
    pictures = folder / f"{name}_pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    rows = rows_of(count, seed=seed)
    for row in rows:
        path = pictures / f"{row['id']}.png"
        PIL.Image.fromarray(row["picture"]).save(path)
        row["picture"] = str(path.relative_to(folder))
    return write_rows(folder / f"{name}.csv", rows)


def write_rows(path: Path, rows: list[dict[str, Any]], columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def config(data: Path, *changes: str) -> Config:
    """8 steps, a checkpoint every 2, an evaluation every 4; dropout, augmentation and EMA on."""
    whole = Config(
        data=DataConfig(
            source=Spec("csv", path=str(data)),
            modalities={
                "text": Spec(
                    "text", column="words", tokenizer="subwords", max_length=48, buckets=64
                ),
                "image": Spec(
                    "image",
                    columns=("picture",),
                    size=8,
                    augment={"flip": 0.5, "shift": 1, "noise": 0.05},
                ),
            },
            targets={"label": Spec("category", column="kind")},
            id_column="id",
            batch_size=8,
            threads=1,
            prefetch=2,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("bag_of_subwords", width=8, token_dropout=0.1, dropout=0.1),
                "image": Spec(
                    "image_cnn", channels=(8,), blocks=(0,), groups=4, width=8, dropout=0.1
                ),
            },
            fusion=Spec("concat", width=8),
            modality_dropout=0.1,
        ),
        optimizer=OptimizerConfig(learning_rate=2e-2),
        train=TrainConfig(
            duration="8 steps",
            ema_decay=0.9,
            evaluate_every="4 steps",
            save_every="2 steps",
            log_every="2 steps",
        ),
    )
    return config_lib.override(whole, changes)


def write_config(path: Path, whole: Config) -> Path:
    """A config file whose `get_config` gives `whole`."""
    text = json.dumps(config_lib.to_json(whole))
    path.write_text(
        "import json\n"
        "from mmjax.core.config import from_json\n"
        "from mmjax.train.config import Config\n\n\n"
        f"def get_config():\n    return from_json(Config, json.loads({text!r}))\n"
    )
    return path


@contextlib.contextmanager
def one_device() -> Iterator[None]:
    """Meshes take the first device only: a program for one is made in half the time."""
    devices = jax.devices
    jax.devices = lambda *args: devices(*args)[:1]
    try:
        yield
    finally:
        jax.devices = devices


def environment(devices: int = 1) -> dict[str, str]:
    """What a subprocess needs to compile the very programs that this process does."""
    flags = os.environ["XLA_FLAGS"]
    count = re.sub(r"(--xla_force_host_platform_device_count)=\d+", rf"\1={devices}", flags)
    return {**os.environ, "XLA_FLAGS": count}


def plain_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports get empty figures."""
    monkeypatch.setattr(figures, "png", lambda *_: b"")
    monkeypatch.setattr(figures, "svg", lambda *_: "<svg></svg>")


def numpy_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs start from NumPy's numbers: to compile JAX's takes as long as to compile a step.

    Where the model keeps more than parameters, it starts as it does anywhere else.
    """

    def planned(*args: Any, **settings: Any) -> StatePlan:
        plan = plan_state(*args, **settings)
        shapes = plan.abstract

        def make(spare: Sequence[str] = ()) -> TrainState:
            zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
            params = reference.random_like(shapes.params, scale=0.2)
            key = jax.random.key(settings["seed"], impl=rng.IMPLEMENTATION)
            state = zeros.replace(
                params=params,
                ema=begun(shapes.ema, params) if shapes.ema else {},
                key=np.asarray(jax.random.key_data(key)),
            )
            return jax.device_put(state, plan.shardings)

        return plan if shapes.collections else dataclasses.replace(plan, make=make)

    monkeypatch.setattr(trainer, "plan_state", planned)


LONG = ("train.duration=20 steps", "train.log_every=3 steps")
"""What `trained` changes in `config`; lines of metrics do not fall together with checkpoints."""

_made: dict[str, Path] = {}


def trained(factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps that nothing disturbed, made once by `mmjax train`.

    Beside it lie `data.csv` and `config.py`.
    """
    if "trained" not in _made:
        folder = factory.mktemp("trained")
        whole = config(write_data(folder), *LONG)
        path = write_config(folder / "config.py", whole)
        with one_device():
            code = main(["train", str(path), "--workdir", str(folder / "run")])
        assert code == 0
        _made["trained"] = folder / "run"
    return _made["trained"]


def plain(data: Path, modality: str, *changes: str) -> Config:
    """`config` with one modality, nothing random, and a learning rate that stays as it is."""
    still = (
        "optimizer.schedule=constant",
        "optimizer.warmup=0 steps",
        "model.encoders.text.token_dropout=0",
        "model.encoders.text.dropout=0",
        "model.encoders.image.dropout=0",
        "model.modality_dropout=0",
        "data.modalities.image.augment={}",
    )
    return config_lib.override(single_modality(config(data, *still), modality), changes)
