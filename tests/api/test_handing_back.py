"""A tuned encoder goes back into the form that it came in."""

from __future__ import annotations

import dataclasses

import goldens
import made_runs
import numpy as np
import pytest
from safetensors.numpy import load_file

import mmjax
from mmjax.api import handing_back
from mmjax.cli import main
from mmjax.core.errors import ConfigError, WeightsError
from mmjax.core.registry import Spec
from mmjax.export.variants import flatten
from mmjax.train.warm_start import with_encoders


def test_a_tuned_encoder_is_what_transformers_loads(tmp_path, monkeypatch, capsys):
    bert = goldens.write_bert(tmp_path / "bert", ("small", "old"))
    whole = made_runs.config(tmp_path, text=True)
    text = Spec("text", column="words", tokenizer=str(bert), max_length=8)
    encoders = {"table": whole.model.encoders["table"]}
    whole = with_encoders(
        dataclasses.replace(
            whole,
            data=dataclasses.replace(
                whole.data, modalities={"text": text, "table": whole.data.modalities["table"]}
            ),
            model=dataclasses.replace(
                whole.model, encoders=encoders, pretrained={"text": str(bert)}
            ),
        )
    )
    run = made_runs.made(whole, tmp_path / "run")
    monkeypatch.setattr(handing_back, "load_run", lambda _: run)
    assert main(["export", "RUN", str(tmp_path / "tuned"), "--encoder", "text"]) == 0
    assert "tuned" in capsys.readouterr().out
    again = mmjax.load_pretrained(tmp_path / "tuned")
    mine = flatten(run._loaded[0]["params"]["encoders_text"])
    found = flatten(again.params)
    assert found.keys() == mine.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(mine[name]))
    # The names are torch's, as in the folder that it came from.
    theirs = load_file(tmp_path / "tuned" / "model.safetensors")
    assert "encoder.layer.0.attention.self.query.weight" in {
        name.removeprefix("bert.") for name in theirs
    }
    with pytest.raises(WeightsError, match="holds weights already"):
        mmjax.save_encoder(run, "text", tmp_path / "tuned")
    with pytest.raises(ConfigError, match="'table' did not begin"):
        mmjax.save_encoder(run, "table", tmp_path / "other")
