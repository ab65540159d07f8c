"""Matching two drawings, on vectors of which one side is a turned version of the other."""

from __future__ import annotations

import numpy as np
from package_files import ROOT


def test_turned_features_are_matched_by_the_maps(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import align_drawings

    rng = np.random.default_rng(0)
    split = np.array(["train"] * 60 + ["validation"] * 20 + ["test"] * 30)
    first = rng.normal(size=(len(split), 6))
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    features = {"a": np.concatenate([first, first @ turn])}
    found = align_drawings.measure(features, split, seed=3)
    assert found["validation"]["features"] < 0.5
    assert found["chosen"] in ("maps", "both")
    assert found["test"] > 0.9
    alone = align_drawings.measure({"a": np.concatenate([first, first])}, split, seed=3)
    assert alone["validation"]["features"] == 1
    about = {"cores": 2, "cpu": "a cpu", "python": "3", "date": "today"}
    table = align_drawings.to_markdown({**about, "runs": [found]})
    best = max(found["validation"].values())
    assert f"| the best on validation | {best:.3f} | {found['test']:.3f} |" in table
