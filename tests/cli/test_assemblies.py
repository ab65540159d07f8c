"""Fusions that are whole models, from the command line to the prediction."""

import dataclasses
import json

import numpy as np
import pytest
import tiny_run

import mmjax
from mmjax import fusion, models
from mmjax.api.training import single_modality
from mmjax.checkpoint.load import load_arrays
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.models.build import build_model
from mmjax.train.trainer import fit
from mmjax.writers import read_records

BLOCKS = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 8}
SHORT = ("train.duration=2 steps", "train.evaluate_every=2 steps", "train.save_every=2 steps")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_run.write_data(tmp_path_factory.mktemp("data"))


def trained(folder, whole, *settings):
    path = tiny_run.write_config(folder / "config.py", whole)
    code = main(["train", str(path), *SHORT, *settings, "--workdir", str(folder / "run")])
    assert code == 0
    return mmjax.load_run(folder / "run")


def with_blocks(data):
    whole = tiny_run.config(data)
    encoders = {
        "text": Spec("text_transformer", **BLOCKS),
        "image": Spec("vit", patch=4, **BLOCKS),
    }
    return dataclasses.replace(whole, model=dataclasses.replace(whole.model, encoders=encoders))


@pytest.mark.slow
def test_decisions_are_combined(data, tmp_path):
    run = trained(
        tmp_path,
        tiny_run.config(data),
        "model.fusion=decision",
        "model.fusion.method=dempster_shafer",
        "model.fusion.head_loss=0.5",
    )
    assert run.config.model.fusion == Spec(
        "decision", width=8, method=Spec("dempster_shafer"), head_loss=0.5
    )
    measured = run.metrics["test"]
    assert {"accuracy", "text_accuracy", "image_accuracy", "text_macro_f1"} <= set(measured)
    answer = run.predict_one(text="wing nest")
    assert 0 < answer["uncertainty"] < 1


@pytest.mark.slow
def test_encoders_exchange_tokens(data, tmp_path):
    whole = config_lib.override(
        with_blocks(data),
        [
            *SHORT,
            "train.ema_decay=0",
            "model.modality_dropout=0",
            "model.fusion=hybrid",
            "model.fusion.exchange=1",
            "model.fusion.method=weighted_sum",
            "model.fusion.method.width=8",
            'model.fusion.fusion={"name": "concat", "width": 8}',
        ],
    )
    assert whole.model.fusion.options["exchange"] == (1,)
    folder = fit(whole, tmp_path / "run")
    params = load_arrays(folder.path, "latest", prefixes=("params",))["params"]
    gates = [params["exchanges_0"][f"{name}_gate"] for name in ("text", "image")]
    assert np.asarray(gates).all()
    losses = [r["train/loss"] for r in read_records(folder.metrics) if "train/loss" in r]
    assert np.isfinite(losses).all()


def test_what_names_the_other_modalities_is_left_out_of_one_alone(data):
    facts = {
        "modalities": {"text": {"vocab_size": 9}, "image": {"image_size": 8}},
        "targets": {"label": {"num_labels": 3}},
    }
    values = {"text": 0.7, "image": 0.3}
    whole = config_lib.override(
        tiny_run.config(data),
        {"model.fusion": Spec("decision", method=Spec("weighted", values=values))},
    )
    alone = single_modality(whole, "text")
    assert alone.model.fusion.options["method"].options["values"] == {"text": 0.7}
    assert list(build_model(alone.model, alone.task, facts).encoders) == ["text"]
    whole = config_lib.override(
        with_blocks(data), {"model.fusion": Spec("hybrid", exchange={"text": (1,), "image": (1,)})}
    )
    alone = single_modality(whole, "image")
    assert alone.model.fusion.options["exchange"] == {"image": (1,)}


def test_list_shows_every_fusion_with_its_level(capsys):
    assert main(["list", "fusions"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    levels = {row[0]: row[1] for row in rows if row[0] in models.fusions}
    assert set(levels) == set(models.fusions) >= {"decision", "hybrid", *fusion.registry}
    expected = {"decision": "decision", "hybrid": "model", "concat": "feature"}
    assert expected.items() <= levels.items()
    assert levels["cross_attention"] == levels["bottleneck"] == "attention"


@pytest.mark.parametrize("name", sorted(models.assemblies))
def test_a_fusion_of_tokens_is_none_of_these(name):
    with pytest.raises(ConfigError, match=rf"'{name}' is a whole model.*model\.fusion={name}"):
        fusion.build(name)
    assert set(fusion.ASSEMBLIES) == set(models.assemblies)


def test_a_setting_is_checked_to_the_bottom(data):
    whole = tiny_run.config(data, "model.fusion=decision")
    with pytest.raises(ConfigError, match=r"model\.fusion\.method\.wieghts.*'weights'"):
        config_lib.override(
            whole, ["model.fusion.method=weighted", "model.fusion.method.wieghts=fixed"]
        )
    with pytest.raises(ConfigError, match=r"unknown combination 'averge'.*'average'"):
        config_lib.override(whole, ["model.fusion.method=averge"])
    with pytest.raises(ConfigError, match=r"unknown fusion 'decisions'.*'decision'"):
        config_lib.override(whole, ["model.fusion=decisions"])
    stored = json.loads(json.dumps(config_lib.to_json(whole)))
    assert config_lib.to_json(config_lib.from_json(type(whole), stored)) == config_lib.to_json(
        whole
    )
