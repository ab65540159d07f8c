"""What the benchmark of pretraining compares, and its table."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from package_files import ROOT

from mmjax.core import config as config_lib
from mmjax.core.registry import Spec
from mmjax.data.meaning import require_same_meaning
from mmjax.train.config import Config


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import finetune_emoji

    return finetune_emoji


def load(name: str) -> Config:
    return config_lib.check(config_lib.load(ROOT / "configs" / f"{name}.py"))


def test_models_read_what_the_pretrained_run_read(benchmark, tmp_path):
    quickstart, pretrained = load("quickstart"), load("pretrain_emoji")
    tuned = config_lib.check(benchmark.tuning(quickstart, tmp_path / "run", pretrained))
    assert tuned.data.modalities.keys() == quickstart.data.modalities.keys()
    for ours, theirs in tuned.init.modalities.items():
        for found, known in ((tuned.data.modalities[ours], pretrained.data.modalities[theirs]),):
            require_same_meaning(found, known, where="", run="", name=theirs)
        encoder = pretrained.model.encoders[theirs]
        assert tuned.model.encoders[ours].name == encoder.name
        options = tuned.model.encoders[ours].options.keys()
        assert all("dropout" in key for key in options)
    same = dataclasses.replace(tuned, init=None, data=quickstart.data, model=quickstart.model)
    assert same == quickstart


def test_two_drawings_may_be_two_modalities(benchmark, tmp_path):
    pretrained = load("pretrain_emoji")
    text, image = (pretrained.data.modalities[name] for name in ("text", "image"))
    drawn = {"noto": image.replace(columns=("noto",)), "text": Spec("texts", **text.options)}
    encoders = {"noto": pretrained.model.encoders["image"], "text": Spec("text_transformer")}
    other = dataclasses.replace(
        pretrained,
        data=dataclasses.replace(pretrained.data, modalities=drawn),
        model=dataclasses.replace(pretrained.model, encoders=encoders),
    )
    tuned = config_lib.check(benchmark.tuning(load("quickstart"), tmp_path, other))
    assert tuned.init.modalities == {"text": "text", "image": "noto"}
    assert tuned.data.modalities["image"].options["columns"] == ("twemoji", "noto")
    assert tuned.model.encoders["text"] == Spec("text_transformer")


def test_budget_is_the_same_for_all(benchmark):
    known = benchmark.budget(load("quickstart"), 400, seed=5)
    assert (known.train.duration, known.train.evaluate_every) == ("400 steps", "20 steps")
    assert (known.seed, known.train.single_modality_baselines) == (5, False)


def test_table_is_mean_and_sample_deviation(benchmark):
    scores = {"pretrained": (0.5, 0.75), "from scratch": (0.25, 0.5)}
    runs = [
        {
            "seed": seed,
            "model": model,
            "labels": 128,
            "processor_seconds": 10.0,
            "test": {"accuracy": values[seed], "macro_f1": values[seed] / 2},
        }
        for seed in (0, 1)
        for model, values in scores.items()
    ]
    summary = benchmark.summarise(runs)
    np.testing.assert_allclose(summary["pretrained"]["accuracy"]["mean"], 0.625)
    np.testing.assert_allclose(summary["pretrained"]["accuracy"]["std"], 0.125 * np.sqrt(2))
    about = {"cores": 2, "cpu": "a cpu", "versions": {"jax": "1"}, "python": "3", "date": "today"}
    told = {"share": 0.1, "steps": 1600, "seeds": [0, 1], "pretrain": "configs/pretrain_emoji.py"}
    text = benchmark.to_markdown(
        {
            **about,
            **told,
            "command": "a command",
            "pretrained": [{"seconds": 60.0}],
            "runs": runs,
            "summary": summary,
        }
    )
    assert "| pretrained | 0.625 ± 0.177 | 0.312 ± 0.088 | 10 ± 0 |" in text
    assert "128 labels (10% of the training concepts), 1600 steps each" in text
