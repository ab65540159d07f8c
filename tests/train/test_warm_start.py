"""Encoders that start from pretrained weights, from the config to the run folder."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import goldens
import jax
import numpy as np
import pytest
import tiny_run

from mmjax.api.run import Run
from mmjax.checkpoint.load import load_arrays
from mmjax.core.errors import ConfigError, WeightsError
from mmjax.core.registry import Spec
from mmjax.pretrained.load import load
from mmjax.train.config import Config
from mmjax.train.trainer import fit
from mmjax.train.warm_start import with_encoders


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny BERT with a tokenizer of some of the words."""
    words = ("wing", "fin", "grey", "rock")
    return goldens.write_bert(tmp_path_factory.mktemp("bert"), words)


def config_of(data: Path, folder: Path, *changes: str, **encoders: Spec) -> Config:
    whole = tiny_run.plain(data, "text", "train.duration=2 steps", *changes)
    text = Spec("text", column="words", tokenizer=str(folder), max_length=12)
    return dataclasses.replace(
        whole,
        data=dataclasses.replace(whole.data, modalities={"text": text}),
        model=dataclasses.replace(whole.model, encoders=encoders, pretrained={"text": str(folder)}),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny_run.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(folder, data, tmp_path_factory) -> Path:
    """Two steps with the encoder frozen; its folder is gone afterwards."""
    copy = tmp_path_factory.mktemp("copy") / "bert"
    shutil.copytree(folder, copy)
    config = config_of(
        data,
        copy,
        'optimizer.multipliers={"encoders_text": 0}',
        text=Spec("text_transformer", dropout=0.0, attention_dropout=0.0),
    )
    with tiny_run.one_device():
        run = fit(config, tmp_path_factory.mktemp("run") / "run")
    shutil.rmtree(copy)
    return run.path


def test_training_starts_from_the_weights(trained, folder):
    arrays = load_arrays(trained, "latest")
    frozen, average = arrays["params"]["encoders_text"], arrays["ema"]["encoders_text"]
    theirs = load(folder).params
    jax.tree.map(np.testing.assert_array_equal, frozen, theirs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), average, theirs)
    assert arrays["params"]["fusion"]


def test_the_run_needs_no_folder_afterwards(trained):
    run = Run(trained)
    spec = run.config.model.encoders["text"]
    assert spec.name == "text_transformer"
    assert (spec.options["width"], spec.options["vocab_size"]) == (24, 50)
    assert spec.options["dropout"] == 0.0
    (row, *_) = run.predict({"id": ["a", "b"], "words": ["wing rock", "fin"]})
    assert row["label"] in tiny_run.LABELS


def test_a_run_goes_on_without_the_folder(trained, tmp_path, folder, data):
    shutil.copytree(trained, tmp_path / "run")
    stored = Run(tmp_path / "run").config
    same = with_encoders(
        dataclasses.replace(stored, model=dataclasses.replace(stored.model, encoders={})),
        Run(tmp_path / "run").folder.read_config(),
    )
    assert same.model == stored.model
    assert fit(stored, tmp_path / "run", resume=True).path == tmp_path / "run"


@pytest.mark.parametrize(
    ("encoders", "pretrained", "told"),
    [
        ({"text": Spec("bag_of_subwords")}, "text", "is a text_transformer, not a bag_of_subwords"),
        ({}, "txt", "no modality of the data"),
    ],
)
def test_what_does_not_fit(encoders, pretrained, told, folder, data):
    config = config_of(data, folder, **encoders)
    model = dataclasses.replace(config.model, pretrained={pretrained: str(folder)})
    with pytest.raises(ConfigError, match=told):
        with_encoders(dataclasses.replace(config, model=model))


@pytest.mark.parametrize(
    ("option", "told"), [("vocab_size", "token ids"), ("max_length", "positions")]
)
def test_ids_beyond_the_tables(option, told, folder, data, tmp_path):
    config = config_of(data, folder, text=Spec("text_transformer", **{option: 8}))
    with pytest.raises(ConfigError, match=told):
        fit(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_such_weights(folder, data, tmp_path):
    config = config_of(data, folder)
    model = dataclasses.replace(config.model, pretrained={"text": str(tmp_path / "none")})
    with pytest.raises(WeightsError, match="650"):
        fit(dataclasses.replace(config, model=model), tmp_path / "run")
    assert not (tmp_path / "run").exists()
