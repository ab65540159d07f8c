"""Where a state would live, on devices that are not there."""

import math

import pytest
from tiny_pairs import pairs

from mmjax.api import sharding_table
from mmjax.cli import main
from mmjax.parallel.mesh import MeshConfig


@pytest.fixture(scope="module")
def found():
    mesh = MeshConfig(1, 4, 2, overrides={"^/joint/": ("tensor",)})
    return sharding_table.sharding(pairs(mesh=mesh), topology="v5e:2x4")


def one(found, kind, ending):
    (it,) = [p for p in found if p.kind == kind and p.path.endswith(ending)]
    return it


def test_parameters_and_their_moments_lie_alike(found):
    up = "encoders_image/transformer/stack/layers/mlp/up/kernel"
    for kind, ending in (("parameters", up), ("optimiser", f"mu/{up}"), ("optimiser", f"nu/{up}")):
        place = one(found, kind, ending)
        assert place.shape == (2, 8, 16)
        assert place.names == ("layers", "embed", "mlp")
        assert place.axes == ((), ("fsdp",), ("tensor",))
        assert place.layout == "fsdp x tensor"
        assert (place.bytes, place.whole) == (2 * 2 * 8 * 4, 2 * 8 * 16 * 4)
        assert not place.why


def test_what_is_whole_says_why(found):
    assert one(found, "parameters", "contrastive/logit_scale").why == "a number"
    assert one(found, "parameters", "image/positions").layout == "fsdp"
    norm = one(found, "parameters", "image/transformer/norm/scale")
    assert norm.copies
    assert norm.why == "norm stay whole"
    assert one(found, "optimiser", "1/count").shape == ()


def test_overrides_hold_for_parameters_and_moments(found):
    assert one(found, "parameters", "joint/image/kernel").axes == (("tensor",), ())
    assert one(found, "optimiser", "mu/joint/image/kernel").axes == (("tensor",), ())


def test_what_does_not_divide_says_so():
    place = one(
        sharding_table.sharding(pairs(mesh=MeshConfig(1, 1, 16)), topology="v5e:4x4"),
        "parameters",
        "text/transformer/stack/layers/attention/query/bias",
    )
    assert place.copies
    assert place.why == "heads 2 does not split over tensor=16"


def test_sums_and_page(found):
    *_, (title, columns, rows) = sharding_table.tables(found)
    assert title == "the state"
    assert columns[0] == "part"
    assert [row[0] for row in rows] == ["parameters", "optimiser"]
    page = sharding_table.page("tiny", found)
    assert "fsdp x tensor" in page
    assert page.count("<rect") >= 2 * len({p.layout for p in found if p.kind == "parameters"})
    assert sum(p.whole for p in found) >= sum(p.bytes for p in found)
    assert all(p.bytes == math.prod(p.shape) * 4 for p in found if p.copies)


def test_the_command(tmp_path, capsys):
    page = tmp_path / "page.html"
    command = ["describe", "configs/siglip_base.py", "--sharding", "--topology", "v5p:2x2x4"]
    assert main([*command, "mesh.fsdp=16", "mesh.data=1", "--html", str(page)]) == 0
    told = capsys.readouterr().out
    assert "/encoders_image/transformer/stack/layers/mlp/up/kernel" in told
    assert "layers, embed, mlp" in told
    assert "norm stay whole" in told
    assert "What a device holds" in page.read_text(encoding="utf-8")
    assert main([*command, "mesh.fsdp=3", "mesh.data=1"]) == 2
    assert "the nearest that work" in capsys.readouterr().err
