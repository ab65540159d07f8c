"""The arithmetic and the tables of the benchmarks that write names of EMOJI."""

from __future__ import annotations

import numpy as np
import pytest
from package_files import ROOT

ABOUT = {"device": "a device", "cores": 2, "cpu": "a cpu", "python": "3", "date": "today"}


@pytest.fixture(autouse=True)
def benchmarks_are_found(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def test_the_nearest_name_is_retrieved():
    from benchmarks import emoji_captioning as benchmark

    split = np.array(["train", "train", "validation", "test", "test"])
    names = ["red ball", "box", "red balloon", "box", "ball"]
    good = np.array([[1.0, 0], [0, 1], [2, 1], [0, 3], [1, 2]])
    assert benchmark.nearest(good, np.array([0, 1]), np.array([2, 3, 4])).tolist() == [0, 1, 1]
    found = benchmark.retrieved(
        {"bad": good[:, ::-1] * [[1, 0]] + 1e-3, "good": good}, names, split
    )
    assert found["space"] == "good"
    assert found["test"]["exact_match"] == 0.5
    run = {way: {"test": found["test"]} for way in benchmark.WAYS}
    summary = benchmark.summarise([{**run, "seed": 0}])
    table = benchmark.to_markdown(
        {**ABOUT, "runs": [{**run, "seed": 0, "changes": ["a=1"]}], "summary": summary}
    )
    assert f"| written | {found['test']['chrf']:.3f} | 0.500 |" in table
    assert "Seeds 0; changed: a=1;" in table


def test_the_table_of_translations():
    from benchmarks import emoji_translation as benchmark

    judged = benchmark.judged(["ein Ball", "a box"], ["ein Ball", "une boîte"], ["de", "fr"])
    runs = [
        {"seed": seed, "picture": picture, "test": {**judged, "chrf": 50.0 + 2 * seed + picture}}
        for seed in (0, 1)
        for picture in (True, False)
    ]
    result = {**ABOUT, "changes": [], "runs": runs}
    result["baselines"] = {"the English name": judged, "of the likest name": judged}
    result["summary"] = benchmark.summarise(result)
    table = benchmark.to_markdown(result)
    chrf = f"{judged['chrf']:.2f}"
    assert f"| chrf | {chrf} | {chrf} | 52.00 ± 1.41 | 51.00 ± 1.41 |" in table
    assert "| chrf_de | 100.00 |" in table
