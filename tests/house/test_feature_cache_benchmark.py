"""The table of what keeping features saves."""

from __future__ import annotations

import pytest
from package_files import ROOT

from mmjax.core.files import read_json


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import feature_cache

    return feature_cache


def test_ratios_are_those_to_the_run_without(benchmark):
    one = {
        "seconds": {"raw": 90.0, "kept": 45.0, "again": 30.0},
        "faster": {"kept": 2.0, "again": 3.0},
        "largest_difference": 0.0,
    }
    about = {"changes": "c", "cpu": "x", "versions": {}, "date": "d", "load_average": 1}
    table = benchmark.to_markdown({**about, "ways": {"all frozen": one}})
    assert "| all frozen | 90 s | 45 s | 2.00x | 30 s | 3.00x | 0 |" in table


def test_what_was_measured():
    """Runs on kept features end as those without, to the last bit, in less than half their time.

    With all encoders frozen they take a third of it or less, features made on the way included.
    """
    ways = read_json(ROOT / "benchmarks" / "results" / "feature_cache.json")["ways"]
    for one in ways.values():
        assert one["largest_difference"] == 0
        assert one["accuracy"]["raw"] == one["accuracy"]["kept"]
        assert one["seconds"]["raw"] / one["seconds"]["kept"] > 2
    assert ways["both frozen"]["faster"]["kept"] > 3
