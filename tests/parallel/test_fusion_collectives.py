"""Collectives of the training step of cross-attention fusion, against the formula."""

import pytest

from benchmarks.collectives import fewest, measure


def test_the_formula():
    assert fewest(8, 1, 3) == {"data": 2}
    assert fewest(2, 4, 2) == {"tensor": 9, "data": 2}
    assert fewest(1, 4, 1, streams=2) == {"tensor": 9}


def test_on_cpu_the_step_has_all_reduces_alone_and_no_more_than_a_stream_each_needs():
    found = measure("cpu", 2, 4, modalities=2, depth=1)
    assert set(found["found"]) == {"all-reduce"}
    assert set(found["found_by_axis"]) == {"data", "tensor"}
    least = sum(found["fewest"].values())
    most = sum(found["fewest_with_a_stream_each"].values())
    assert least <= found["found"]["all-reduce"] <= most


@pytest.mark.slow
@pytest.mark.parametrize(("data", "tensor", "depth"), [(8, 1, 1), (2, 4, 1), (2, 4, 2)])
def test_on_tpu_the_step_has_the_fewest(data, tensor, depth):
    pytest.importorskip("libtpu", reason="pip install 'mmjax[tpu-aot]'")
    found = measure("tpu", data, tensor, modalities=2, depth=depth)
    assert found["found"] == {"all-reduce": sum(fewest(data, tensor, depth).values())}
