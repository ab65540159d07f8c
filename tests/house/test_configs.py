"""Every file in configs/ is checked, means what it meant, and trains two shrunken steps.

A few kinds by default, the rest with `-m slow`. Rows are few and models narrow, see
`config_data.py`; the tokenizers are fitted on all rows.

When a config or a default was changed on purpose, write the expected values anew and read the diff:

    MMJAX_UPDATE_GOLDEN=1 pytest tests/house/test_configs.py
"""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest
import tiny_run
from config_data import MAKERS
from config_pairs import PAIRS
from package_files import ROOT

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.files import read_json, write_json
from mmjax.data.pipeline import prepare
from mmjax.train.config import Config
from mmjax.train.trainer import finished, fit
from mmjax.writers import read_records

CONFIGS = sorted((ROOT / "configs").glob("*.py"))
GOLDEN = ROOT / "tests" / "golden"
SHRUNKEN = [
    "data.batch_size=8",
    "data.eval_batch_size=64",
    "train.duration=2 steps",
    "train.log_every=1 steps",
    "train.evaluate_every=2 steps",
    "train.save_every=2 steps",
]

QUICK = {"easy_vqa", "mae_image", "movielens", "quickstart"}
"""Of labels, answers, items and masked pictures. Of pictures with texts `test_pair_configs.py`
takes a step."""
ROWS = 64
"""Of a split, at most."""

each_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


def test_there_are_configs():
    assert CONFIGS
    stale = {path.stem for path in GOLDEN.glob("*.json")} - {path.stem for path in CONFIGS}
    assert not stale, f"tests/golden holds values of configs that are gone: {sorted(stale)}"


@each_config
def test_config_means_what_it_meant(path):
    config = config_lib.check(config_lib.load(path))
    assert isinstance(config, Config)
    # Through text, since JSON has lists for tuples.
    values = json.loads(json.dumps(config_lib.to_json(config)))
    assert config_lib.to_json(config_lib.from_json(Config, values)) == config_lib.to_json(config)
    golden = GOLDEN / f"{path.stem}.json"
    if os.environ.get("MMJAX_UPDATE_GOLDEN"):
        write_json(golden, values)
    assert golden.exists(), f"no {golden.relative_to(ROOT)}; {__doc__}"
    changed = config_lib.differences(read_json(golden), values)
    assert not changed, "\n".join([f"\n{path.name} (expected -> found):", *changed, __doc__])


@pytest.mark.parametrize(
    "path",
    [
        path if path.stem in QUICK else pytest.param(path, marks=pytest.mark.slow)
        for path in CONFIGS
    ],
    ids=lambda path: path.stem,
)
def test_config_trains_two_steps(path, tmp_path, monkeypatch):
    tiny_run.numpy_start(monkeypatch)
    make = {**MAKERS, **PAIRS}.get(path.stem, lambda _: [])
    config = config_lib.override(config_lib.load(path), [*make(tmp_path), *SHRUNKEN])
    try:
        whole = prepare(config.data)
        few = {name: rows[:ROWS] for name, rows in whole.splits.items()}
        with tiny_run.one_device():
            folder = fit(
                config, tmp_path / path.stem, dataset=dataclasses.replace(whole, splits=few)
            )
    except ConfigError as error:
        if "package:" not in error.what:
            raise
        pytest.skip(f"weights of a package: {error.fix}")
    assert finished(folder)
    records = read_records(folder.metrics)
    losses = [record["train/loss"] for record in records if "train/loss" in record]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    measured = records[-1][f"validation/{config.train.best_metric}"]
    most = {"cer": np.inf, "chrf": 100.0, "loss": np.inf, "mae": np.inf}.get(
        config.train.best_metric, 1.0
    )
    assert 0.0 <= measured <= most
