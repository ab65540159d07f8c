"""The table of what each way of training costs."""

from __future__ import annotations

import pytest
from package_files import ROOT

from mmjax.adapt import registry
from mmjax.core.files import read_json


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import adapt

    return adapt


def test_ratios_are_those_to_training_all(benchmark):
    def way(trained, moments, seconds):
        return {
            "trained": trained,
            "parameters": 1000,
            "parameter_bytes": 4 * 2**20,
            "optimizer_bytes": moments,
            "median": seconds,
            "temp_bytes": 2**20,
            "seconds": [seconds],
        }

    ways = {"all": way(1000, 2**23, 3.0), "LoRA": way(10, 2**16, 2.0)}
    about = {"size": "s", "cpu": "c", "rounds": 1, "versions": {}, "date": "d", "load_average": 1}
    table = benchmark.to_markdown({**about, "ways": ways})
    assert "| LoRA | 10 | 1.00% | 4 MiB | 0.1 MiB | 0.78% | 2.00 s | 1.50x | 1 MiB |" in table


def test_every_way_has_a_strategy(benchmark):
    assert {spec.name for specs in benchmark.WAYS.values() for spec in specs} <= set(registry)


def test_what_was_measured(benchmark):
    """Frozen encoders and LoRA are as much cheaper as they are meant to be."""
    ways = read_json(ROOT / "benchmarks" / "results" / "adapt.json")["ways"]
    whole = ways["all"]
    assert whole["median"] / ways["frozen encoders"]["median"] >= 1.8
    assert whole["median"] / ways["LoRA"]["median"] >= 1.25
    assert ways["LoRA"]["optimizer_bytes"] < 0.02 * whole["optimizer_bytes"]


def test_what_was_measured_of_more_ways():
    """QLoRA holds a third of the weights' bytes; no way is slower than training all."""
    ways = read_json(ROOT / "benchmarks" / "results" / "adapt_more.json")["ways"]
    whole, lora, qlora = (ways[name] for name in ("all", "LoRA", "QLoRA, 4 bits"))
    assert qlora["trained"] == lora["trained"]
    assert qlora["parameter_bytes"] < 0.4 * lora["parameter_bytes"]
    assert qlora["temp_bytes"] < lora["temp_bytes"]
    assert whole["median"] / lora["median"] >= 1.25
    assert all(one["median"] < whole["median"] for name, one in ways.items() if name != "all")


def test_what_was_measured_of_kept_features():
    """A step on features that were made before takes a third of a whole one's time, or less."""
    ways = read_json(ROOT / "benchmarks" / "results" / "adapt_kept.json")["ways"]
    whole, kept, frozen = (ways[name] for name in ("all", "features kept", "frozen encoders"))
    assert whole["median"] / kept["median"] >= 3
    assert kept["trained"] == frozen["trained"]
