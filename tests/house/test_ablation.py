"""The benchmark of every fusion: what is trained, what is not trained again, and its table."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from package_files import ROOT

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.files import read_json
from mmjax.models import combinations, fusions

sys.path.insert(0, str(ROOT))

from benchmarks import ablate_fusion, ablation_table


@pytest.fixture(scope="module")
def config():
    return config_lib.load(ROOT / "configs" / "quickstart.py")


def test_every_fusion_is_trained_with_settings_that_it_has(config):
    found = {model.name: model for model in ablate_fusion.models(config)}
    assert {"text alone", "image alone"} <= set(found)
    rules = {f"decision ({rule})" for rule in combinations}
    assert set(found) - {"text alone", "image alone"} == set(fusions) - {"decision"} | rules
    for model in found.values():
        config_lib.check(model.config)
        assert model.level in ablation_table.LEVELS
        assert model.config.train.duration == config.train.duration
        assert model.config.optimizer == config.optimizer
        for name, encoder in model.config.model.encoders.items():
            assert encoder == config.model.encoders[name]
    assert found["concat"].level == "feature"
    assert found["cross_attention"].level == "attention"
    assert found["decision (stacking)"].level == "decision"
    assert found["cross_attention"].config.model.fusion.options["heads"] == ablate_fusion.HEADS


def test_protocols_are_of_configs_and_change_them():
    for name, changes in ablate_fusion.PROTOCOLS.items():
        config = config_lib.load(ROOT / "configs" / f"{name}.py")
        for change in changes:
            assert config_lib.override(config, [change]) != config, change


@pytest.fixture
def counted(monkeypatch):
    """Instead of training: what would have been trained, with made-up numbers."""
    asked = []

    def measure(config, dataset, folder, title):
        asked.append(title)
        if config.model.fusion.name == "concat":
            return {"skipped": "no room"}
        return {"validation": 0.5, "test": 0.4, "cpu_seconds": 1.0, "parameters": 10}

    monkeypatch.setattr(ablate_fusion, "measure", measure)
    monkeypatch.setattr(ablate_fusion, "prepare", lambda data: FakeData())
    return asked


class FakeData:
    def only(self, *names):
        return self


@pytest.mark.slow
def test_what_is_known_is_not_run_again(config, counted, tmp_path):
    def run(config, seeds=(0, 1), only=("sum", "concat")):
        counted.clear()
        ablate_fusion.ablate(
            config, tmp_path / "a.json", seeds=seeds, only=only, facts={"config": "c"}
        )
        return list(counted)

    assert run(config) == ["concat, seed 0", "sum, seed 0", "concat, seed 1", "sum, seed 1"]
    assert run(config) == ["concat, seed 0", "concat, seed 1"]  # what could not be may be now
    assert run(config, seeds=(2,), only=("sum",)) == ["sum, seed 2"]
    assert run(config, seeds=(2,), only=("text alone",)) == ["text alone, seed 2"]
    stored = read_json(tmp_path / "a.json")
    assert [(r["model"], r["seed"]) for r in stored["runs"]] == [
        ("concat", 0),
        ("sum", 0),
        ("concat", 1),
        ("sum", 1),
        ("sum", 2),
        ("text alone", 2),
    ]
    longer = dataclasses.replace(
        config, train=dataclasses.replace(config.train, duration="3 epochs")
    )
    assert run(longer, seeds=(0,), only=("sum",)) == ["sum, seed 0"]
    assert len(read_json(tmp_path / "a.json")["runs"]) == 6


def test_what_cannot_be_is_skipped_with_the_reason(config, monkeypatch, tmp_path):
    def refuse(*args, **options):
        raise ConfigError(109, "the encoders have no blocks", fix="others")

    monkeypatch.setattr(ablate_fusion, "fit", refuse)
    found = ablate_fusion.measure(config, None, tmp_path, "hybrid")
    assert found == {"skipped": "the encoders have no blocks"}


def run(level, model, seed, validation, test, seconds=1.0):
    measured = {"validation": validation, "test": test, "cpu_seconds": seconds, "parameters": 1234}
    return {"level": level, "model": model, "seed": seed, **measured}


RUNS = [
    run("decision", "decision (average)", 0, 0.9, 0.9),
    run("single", "text alone", 0, 0.6, 0.9, seconds=7.4),
    run("single", "text alone", 1, 0.7, 0.7, seconds=3.6),
    run("single", "image alone", 0, 0.8, 0.5),
    run("single", "image alone", 1, 0.8, 0.7),
    run("feature", "sum", 1, 0.9, 0.8),
    run("feature", "sum", 0, 0.7, 0.7),
    {"level": "model", "model": "hybrid", "seed": 0, "skipped": "no blocks"},
]


def test_table_compares_seed_by_seed_with_the_modality_that_validation_likes_best():
    about = {"cpu": "a cpu", "versions": {"jax": "1"}, "python": "3", "date": "today"}
    result = {**about, "config": "configs/quickstart.py", "changes": ["a=1"], "runs": RUNS}
    text = ablation_table.to_markdown([result])
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    names = ["**image alone**", "text alone", "sum", "hybrid", "decision (average)"]
    assert [line.split(" | ")[1] for line in lines] == names
    apart = np.array([0.7 - 0.5, 0.8 - 0.7])
    assert lines[2] == (
        f"| feature | sum | 0.800 ± {np.std([0.7, 0.9], ddof=1):.3f} "
        f"| 0.750 ± {np.std([0.7, 0.8], ddof=1):.3f} "
        f"| +{apart.mean():.3f} ± {apart.std(ddof=1):.3f} | 1,234 | 1 |"
    )
    assert lines[1].endswith(" | 1,234 | 4 |")
    assert " |  | 1,234" in lines[0]
    assert "not run: no blocks" in lines[3]
    assert "| 0.900 | 0.900 | +0.400 |" in lines[4]
    assert "seeds 0, 1; **image alone** is the best" in text
    assert "`a=1`" in text
