"""The benchmark of pooled joint embedding: what it times is right, also where modalities lack."""

from __future__ import annotations

import argparse

import pytest
from package_files import ROOT


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import joint_embedding

    return joint_embedding


@pytest.mark.parametrize(("pool", "what"), [("max", "forward"), ("cosine", "forward+backward")])
def test_every_variant_agrees_with_float64(benchmark, pool, what):
    args = argparse.Namespace(absent=0.5, backends=["xla"], against=("flax",))
    case = benchmark.case("b4-d8-e6", what, pool, "float32", args)
    assert [one.name for one in case.variants] == ["mmjax xla", "flax Dense"]
    assert case.what == f"{pool}, {what}, 50% absent"
    assert case.flops == 2 * 4 * 8 * 6 * 3 * (3 if pool == "cosine" else 1)
    assert max(benchmark.timing.check(case).values()) < 2e-5
