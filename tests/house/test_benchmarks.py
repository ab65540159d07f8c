"""The arithmetic and the table of the quickstart's benchmark."""

from __future__ import annotations

import numpy as np
import pytest
from package_files import ROOT

SCORES = {"text alone": (0.5, 0.6, 0.7), "fused": (0.75, 0.875, 1.0)}


@pytest.fixture
def quickstart(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import quickstart

    return quickstart


def result(quickstart, seeds):
    runs = [
        {
            "seed": seed,
            "model": model,
            "seconds": 10.0 * (seed + 1),
            "validation": {"accuracy": values[seed], "macro_f1": 0.0},
            "test": {"accuracy": values[seed] / 2, "macro_f1": values[seed] / 4},
        }
        for seed in seeds
        for model, values in SCORES.items()
    ]
    about = {"cores": 2, "cpu": "a cpu", "versions": {"jax": "1"}, "python": "3", "date": "today"}
    return {**about, "seeds": seeds, "runs": runs, "summary": quickstart.summarise(runs)}


def test_summary_is_mean_and_sample_deviation(quickstart):
    summary = result(quickstart, [0, 1, 2])["summary"]
    for model, values in SCORES.items():
        found = summary[model]["test accuracy"]
        np.testing.assert_allclose(found["mean"], np.mean(values) / 2)
        np.testing.assert_allclose(found["std"], np.std(values, ddof=1) / 2)
        np.testing.assert_allclose(summary[model]["test macro-F1"]["mean"], np.mean(values) / 4)
    assert summary["fused"]["seconds"] == {"mean": 20.0, "std": 10.0}


def test_table_of_the_summary(quickstart):
    text = quickstart.to_markdown(result(quickstart, [0, 1, 2]))
    assert text.count("| text alone |") == 1
    assert "| fused | 0.875 ± 0.125 | 0.438 ± 0.062 | 0.219 ± 0.031 | 20 ± 10 |" in text
    assert "seeds 0, 1, 2; 2 cores of a cpu" in text


def test_a_table_goes_into_the_readme_once(tmp_path):
    from benchmarks import figures

    readme = tmp_path / "README.md"
    whole = (ROOT / "README.md").read_text(encoding="utf-8")
    readme.write_text(whole, encoding="utf-8")
    for table in ("| old |\n", "| new |\n"):
        figures.put_into_readme(readme, table, "speed")
    before, _, rest = readme.read_text(encoding="utf-8").partition("results/speed.md -->")
    text, _, after = rest.partition("<!-- end of speed.md -->")
    assert text.strip() == "| new |"
    assert whole.startswith(before)
    assert whole.endswith(after)  # other tables stay as they are


def test_figures_are_means_of_the_runs_asked_for():
    from benchmarks import figures

    runs = [{"row": "a", "test": {"x": 0.5}}, {"row": "a", "test": {"x": 0.7}}, {"row": "b"}]
    tell = figures.of_runs({"row": "a"}, ["test", "x"], "alone ")
    assert tell({"runs": runs}) == "alone 0.600 ± 0.141"
    assert tell({"runs": []}) == ""


def test_models_are_the_whole_and_each_modality(quickstart):
    from mmjax.core import config as config_lib

    config = config_lib.load(ROOT / "configs" / "quickstart.py")
    found = quickstart.models(config)
    names = list(config.model.encoders)
    assert list(found) == [*(f"{name} alone" for name in names), "fused"]
    assert found["fused"] == config
    for name in names:
        alone = found[f"{name} alone"]
        assert list(alone.model.encoders) == [name]
        assert alone.train.duration == config.train.duration
        assert alone.optimizer == config.optimizer
