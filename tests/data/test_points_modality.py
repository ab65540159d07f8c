"""Sets of points: every format against the array that was written, samples, and bad files."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.config import modalities
from mmjax.data.modalities.base import Place
from mmjax.data.point_decoding import decode_points
from mmjax.data.table import Table
from mmjax.data.transforms.points import AugmentPoints

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(9, 4)).astype(np.float32)
NAMES = ("x", "y", "z", "speed")


def _decode(cell, root=None, **options):
    return decode_points(cell, root=root, where="m.csv:2:radar", **options)


def _ply(order, *, faces_first=False, count=9):
    """With a column of bytes, and faces, which are of no account."""
    form = {"<": "binary_little_endian", ">": "binary_big_endian", "": "ascii"}[order]
    edges = ["element edge 2", "property int a", "property uchar b"] if faces_first else []
    lines = ["ply", f"format {form} 1.0", "comment made here", *edges]
    lines += [f"element vertex {count}", "property float x", "property double y"]
    lines += ["property float z", "property float speed", "property uchar red"]
    lines += ["element face 1", "property list uchar int vertex_indices", "end_header", ""]
    head = "\n".join(lines).encode()
    if not order:
        body = ["1 2"] * 2 if faces_first else []
        rows = [" ".join(repr(float(v)) for v in row) + " 7" for row in POINTS]
        return head + "\n".join([*body, *rows, "3 0 1 2", ""]).encode()
    kinds = ["f4", "f8", "f4", "f4", "u1"]
    record = np.dtype([(name, order + kind) for name, kind in zip("xyzsr", kinds, strict=True)])
    rows = np.array([(*row, 7) for row in POINTS.tolist()], record)
    return head + bytes(10 if faces_first else 0) + rows.tobytes() + b"\x03" + bytes(12)


@pytest.mark.parametrize("order", ["", "<", ">"])
@pytest.mark.parametrize("faces_first", [False, True])
def test_ply(order, faces_first):
    content = _ply(order, faces_first=faces_first)
    found = _decode(content)
    np.testing.assert_allclose(found, np.c_[POINTS, np.full(9, 7)], rtol=1e-6)
    picked = _decode(content, columns=("speed", "x"))
    np.testing.assert_allclose(picked, POINTS[:, [3, 0]], rtol=1e-6)
    with pytest.raises(DataError, match=r"MMX-443.*'sped'.*did you mean 'speed'"):
        _decode(content, columns=("x", "sped"))


def test_text_arrays_and_lists(tmp_path):
    frame = pd.DataFrame(POINTS, columns=list(NAMES))
    structured = np.array(
        [tuple(row) for row in POINTS.tolist()], np.dtype([(n, "f8") for n in NAMES])
    )
    np.save(tmp_path / "named.npy", structured)
    np.savez(tmp_path / "a.npz", points=POINTS)
    (tmp_path / "a.csv").write_text(frame.to_csv(index=False))
    (tmp_path / "b.csv").write_text(frame.to_csv(index=False, header=False, sep=";"))
    np.savetxt(tmp_path / "a.xyz", POINTS, header="made here")
    cells = [*(path.name for path in tmp_path.iterdir()), POINTS, POINTS.tolist()]
    for cell in cells:
        np.testing.assert_allclose(_decode(cell, tmp_path), POINTS, rtol=1e-5)
    for cell in ("a.csv", "named.npy"):
        np.testing.assert_allclose(
            _decode(cell, tmp_path, columns=NAMES[::-1]), POINTS[:, ::-1], rtol=1e-5
        )
    assert _decode(b"1 2 3").shape == (1, 3)


def test_bad_points_are_data_errors():
    objects = io.BytesIO()
    np.save(objects, np.array([{}]), allow_pickle=True)
    cases = {
        "442": [
            b"",
            b"\xff\xfe1",
            b"1 2\n3\n",
            b"a,b\n",
            b"1,2\n1,b\n",
            b"x,y\n1,2,3\n",
            objects.getvalue(),
            _ply("<")[:300],
            _ply("")[:240],
            _ply("", count=0),
            b"ply\nformat ascii 1.0\nend_header\n",
            b"ply\nelement vertex 1\nproperty float x\nend_header\n1\n",
        ],
        "441": [7, np.zeros((2, 2, 2)), np.zeros((0, 3))],
        "445": [b"1 2 nan", np.full((2, 3), 1e300)],
    }
    for code, cells in cases.items():
        for cell in cells:
            with pytest.raises(DataError, match=f"MMX-{code}.*m.csv:2:radar"):
                _decode(cell)
    with pytest.raises(DataError, match=r"MMX-444.*9 points, over the limit of 8"):
        _decode(POINTS, max_points=8)
    with pytest.raises(DataError, match="MMX-442"):
        _decode(_ply("<"), max_points=8)


def test_changes_in_training():
    turned = AugmentPoints({"rotation": 180}, 3)(POINTS, np.random.default_rng(5))
    np.testing.assert_allclose(np.hypot(*turned[:, :2].T), np.hypot(*POINTS[:, :2].T), rtol=1e-5)
    assert not np.allclose(turned[:, :2], POINTS[:, :2])
    np.testing.assert_array_equal(turned[:, 2:], POINTS[:, 2:])
    grown = AugmentPoints({"scale": 0.3}, 2)(POINTS, np.random.default_rng(5))
    ratio = grown[:, :2] / POINTS[:, :2]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
    np.testing.assert_array_equal(grown[:, 2:], POINTS[:, 2:])
    fewer = AugmentPoints({"drop": 0.9, "jitter": 0.0}, 3)(POINTS, np.random.default_rng(1))
    assert 0 < len(fewer) < 9
    assert all((row == POINTS).all(axis=1).any() for row in fewer)
    with pytest.raises(ConfigError, match="did you mean 'scale'"):
        AugmentPoints({"scales": 1}, 3)


def test_a_batch_is_centred_scaled_sampled_and_padded(tmp_path):
    few, many = POINTS[:3], RNG.normal(4.0, 2.0, (40, 4)).astype(np.float32)
    table = Table({"radar": [few, many, None, ""]}, "m.csv", "f")
    settings = modalities.build(
        "points", column="radar", count=8, scale="unit", mean=(1.0,), std=(4.0,)
    )
    fitted = settings.fit(table, np.arange(4))
    fitted.save(tmp_path)
    fitted = settings.load(tmp_path)
    assert fitted.facts == {"count": 8, "channels": 4}

    def example(row, rng=None):
        return fitted.example({"radar": table.column("radar")[row]}, Place(table, row), rng)

    batch = fitted.collate([example(row) for row in range(4)])
    assert batch["attention_mask"].sum(axis=1).tolist() == [3, 8, 0, 0]
    assert not batch["points"][~batch["attention_mask"]].any()
    for row, values in ((0, few), (1, many)):
        places = values[:, :3] - values[:, :3].mean(axis=0)
        places = places / np.linalg.norm(places, axis=1).max()
        wanted = np.c_[places, (values[:, 3] - 1) / 4]
        wanted = wanted if row == 0 else wanted[::5]
        np.testing.assert_allclose(batch["points"][row, : len(wanted)], wanted, atol=1e-5)
    drawn = [example(1, np.random.default_rng(seed))["points"] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert len(np.unique(drawn[0], axis=0)) == 8
    other = {"radar": POINTS[:, :3]}
    with pytest.raises(DataError, match=r"MMX-447.*3 columns, and those of other rows 4"):
        fitted.example(other, Place(table, 0), None)
    with pytest.raises(DataError, match=r"MMX-446.*2 columns, fewer than axes=3"):
        settings.check({"radar": POINTS[:, :2]}, Place(table, 0), decode=True)
    with pytest.raises(ConfigError, match=r"MMX-109.*2 means"):
        modalities.build("points", column="radar", mean=(0.0, 0.0), std=(1.0, 1.0)).fit(
            table, np.arange(4)
        )
