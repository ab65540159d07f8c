"""The harness of the micro-benchmarks: its arithmetic, what it refuses, and what it writes."""

from __future__ import annotations

import argparse
import importlib
import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from package_files import ROOT


@pytest.fixture(scope="module", autouse=True)
def on_path():
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


@pytest.fixture(scope="module")
def timing(on_path):
    from benchmarks import timing

    return timing


@pytest.fixture(scope="module")
def harness(on_path):
    from benchmarks import harness

    return harness


@pytest.fixture
def fake_clock(timing, monkeypatch):
    """A clock that only `pass_time` moves."""
    now = [0.0]
    monkeypatch.setattr(timing, "clock", lambda: now[0])

    def pass_time(seconds):
        now[0] += seconds

    return pass_time


def test_rounds_are_interleaved_and_ratios_are_taken_within_a_round(
    timing, fake_clock, monkeypatch
):
    """Two calls to find how often to repeat, then three rounds."""
    seconds = [1.0, 1.0, 1.0, 2.0, 4.0]
    order = []

    def variant(name, seconds):
        def call():
            order.append(name)
            fake_clock(next(seconds))
            return np.ones(2, np.float32)

        return timing.Variant(name, call)

    variants = [variant("a", iter(seconds)), variant("b", (one / 2 for one in seconds))]
    case = timing.Case("s", "w", variants, [np.ones(2)], 8e9, 2e9)
    monkeypatch.setattr(timing, "check", lambda case: {"a": 0.0, "b": 0.0})
    first, second = timing.measure(case, rounds=3)
    assert order[4:] == ["a", "b", "b", "a", "a", "b"]
    assert (first["seconds"], first["gflops"], first["gbytes"]) == (2.0, 4.0, 1.0)
    assert first["faster_than"]["b"] == {"median": 0.5, "quartiles": [0.5, 0.5]}
    assert second["faster_than"]["a"] == {"median": 2.0, "quartiles": [2.0, 2.0]}


def test_a_wrong_variant_is_not_timed(timing):
    wrong = timing.Variant("wrong", lambda: jnp.array([1.0, 2.1]))
    case = timing.Case("b1", "sum", [wrong], np.array([1.0, 2.0]))
    assert timing.error(wrong.call(), case.reference) == pytest.approx(0.05)
    with pytest.raises(SystemExit, match=r"wrong, sum at b1: differs from float64 by 5\.0e-02"):
        timing.measure(case, 1)
    other = timing.Variant("other", lambda: jnp.ones(3))
    with pytest.raises(SystemExit, match=r"\(3,\).* where .*\(2,\).* was due"):
        timing.check(timing.Case("b1", "sum", [other], np.ones(2)))


def test_float64_is_float64(timing):
    third = timing.in_float64(lambda x: x / 3, np.float32(1))
    assert third.dtype == np.float64
    assert third == 1 / 3


def test_gradients_are_those_of_the_weighted_sum(timing):
    both = timing.with_gradient(lambda x, y: x * y)
    cotangent = jnp.array([1.0, 10.0])
    result, grads = both(cotangent, jnp.array([2.0, 3.0]), jnp.array([5.0, 7.0]))
    np.testing.assert_array_equal(result, [10.0, 21.0])
    np.testing.assert_array_equal(grads, [[5.0, 70.0], [2.0, 30.0]])


def test_sizes(harness):
    assert harness.dimensions("b4-n64-d8", "d b n") == (8, 4, 64)
    for wrong in ("b4-n64", "b4-n64-d8-k2", "b4-n64-dx", "b4n64-d8", "b4-n64-d8-"):
        with pytest.raises(SystemExit, match="expected one such as d8-b8-n8"):
            harness.dimensions(wrong, "d b n")


def test_options(harness, monkeypatch, capsys):
    parser = harness.parser("x", None, sizes=["b1"], backends=["xla"], against=("torch", "flax"))
    args = parser.parse_args(["--against", "torch,flax", "--dtype", "bfloat16"])
    assert (args.against, args.dtypes, args.sizes) == (("torch", "flax"), ["bfloat16"], ["b1"])
    with pytest.raises(SystemExit):
        parser.parse_args(["--against", "caffe"])
    assert "'caffe': choose from torch, flax" in capsys.readouterr().err
    monkeypatch.setattr(harness.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="torch is not installed"):
        harness.need_torch()


def test_results_are_written(harness, timing, tmp_path, monkeypatch):
    monkeypatch.setattr(
        timing,
        "peaks",
        lambda: {"float32_gflops": 1e9, "bfloat16_gflops": 1e9, "gbytes": 1e9},
    )
    variants = [
        timing.jax_variant("ours", lambda x: x + 1, jnp.ones((64, 64))),
        timing.Variant("torch plain", lambda: np.full((64, 64), 2.0, np.float32)),
    ]
    case = timing.Case("b64", "add", variants, np.full((64, 64), 2.0), flops=4096.0)
    args = argparse.Namespace(rounds=2, out=tmp_path, against=())
    result = harness.run("addition", [case], args)
    assert json.loads((tmp_path / "addition.json").read_text()) == result
    table = (tmp_path / "addition.md").read_text()
    assert "| b64 | add | ours |" in table
    assert "clock" not in table
    assert {"date", "device", "versions", "peaks", "clock"} < set(result)
    ours = result["measured"][0]
    assert ours["compile_seconds"] > 0
    assert ours["temp_bytes"] is not None
    assert ours["error"] == 0
    from benchmarks import tables

    result["against"] = ["torch"]
    assert "times faster than torch plain" in tables.to_markdown(result)
    tables.plot(result, tmp_path / "addition.svg")
    drawing = (tmp_path / "addition.svg").read_text()
    assert drawing.rstrip().endswith("</svg>")


SCRIPTS = {
    "fusion": (
        "b1-n4-m6-d16-k2",
        "--against",
        "flax",
        "--backend",
        "chunked",
        "--passes",
        "forward",
    ),
    "layers": ("b1-n4-d16-k2", "--against", "flax", "--passes", "forward+backward"),
    "train_step": ("b2-n4-i8-p4-d64-l1", "--against", "flax"),
    "loader": ("b4", "--threads", "0"),
    "shards": ("b4-h16", "--pictures", "8"),
}


SLOW = {"train_step"}


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.slow] * (one in SLOW)) for one in SCRIPTS]
)
def test_script_runs(name, tmp_path, harness, timing, monkeypatch):
    """One round at a tiny size; every variant agrees with float64."""

    monkeypatch.setattr(timing, "peaks", lambda: {"float32_gflops": 1.0, "gbytes": 1.0})
    monkeypatch.setattr(harness.tables, "to_markdown", lambda result: "")
    monkeypatch.setattr(harness.tables, "plot", lambda result, path: None)
    size, *options = SCRIPTS[name]
    script = importlib.import_module(f"benchmarks.{name}")
    script.main(["--sizes", size, "--rounds", "1", "--out", str(tmp_path), *options])
    found = json.loads((tmp_path / f"{name}.json").read_text())["measured"]
    assert all(one["seconds"] > 0 and one["error"] < 1e-4 for one in found)
    assert {one["size"] for one in found} == {size}
