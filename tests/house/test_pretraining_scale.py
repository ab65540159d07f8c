"""The memory of the contrastive losses, as their benchmark measures it, at a tiny size."""

import pytest
from package_files import ROOT


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import pretraining_scale

    return pretraining_scale


def test_a_device_holds_its_rows_of_a_chunk(script):
    whole, part = (script.measure("siglip", 8, 2048, chunk) for chunk in (2048, 256))
    assert whole["largest_array"] == 2048 * 2048 // 8
    assert part["largest_array"] == 2048 * 256  # the other side's vectors: all, of 256 numbers
    assert part["temp_bytes"] < whole["temp_bytes"]


def test_table(script):
    assert script.largest_array("%a = f32[3,4]{1,0} b(pred[50]{0}, s32[]) u8[2]") == 50
    measured = [
        {
            "loss": "clip",
            "devices": 8,
            "rows": 4096,
            "chunk": chunk,
            "temp_bytes": chunk * 2**20,
            "largest_array": chunk * 4096,
        }
        for chunk in (4096, script.CHUNK)
    ]
    table = script.to_markdown({"measured": measured}, "today with jax 1")
    assert "| clip | 8 | 4096 | 4,096 | 1,024 | 4,096 | 1,024 |" in table
    assert "CPU today with jax 1, not run" in table
