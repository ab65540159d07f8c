"""Volumes and sets of points from files, with rows that lack one: told by `describe`, fitted,
predicted, shown and made worse.
"""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import tiny_run

import mmjax
from mmjax.api import showing
from mmjax.api.degrading import degraded
from mmjax.cli import main
from mmjax.data.kinds import column_of
from mmjax.data.manifest import read

SMALL = (
    "train.duration=3 steps",
    "data.batch_size=8",
    "data.eval_batch_size=8",
    "data.on_bad_sample=quarantine",
    "data.modalities.volume.size=[8,8,8]",
    "data.modalities.points.count=16",
    "model.encoders.volume.channels=[8]",
    "model.encoders.volume.blocks=[1]",
    "model.encoders.volume.width=8",
    "model.encoders.points.channels=[8]",
    "model.encoders.points.width=8",
    "model.fusion.width=8",
    "model.auxiliary_loss=0",
)
NO_SCAN, NO_RADAR, DAMAGED = 3, 4, 6


def _write(folder, count=24):
    rng = np.random.default_rng(0)
    lines = ["key,scan,radar,depth,kind"]
    for row in range(count):
        kind = ("car", "tree")[row % 2]
        scan = rng.normal(size=(8, 9, 10)) + 3 * (row % 2)
        scan = nibabel.Nifti1Image(scan.astype(np.float32), np.eye(4))
        (folder / f"{row}.nii").write_bytes(scan.to_bytes()[: 300 if row == DAMAGED else None])
        points = rng.normal(size=(20, 4)) * (1 + row % 2)
        np.savetxt(folder / f"{row}.xyz", points[: 9 + row % 3])
        np.save(folder / f"{row}.npy", points)
        cells = [f"{row}.nii", f"{row}.xyz", f"{row}.npy"]
        cells = [
            "" if row == gone else c for c, gone in zip(cells, (NO_SCAN, NO_RADAR, -1), strict=True)
        ]
        lines.append(",".join([f"r{row}", *cells, kind]))
    path = folder / "m.csv"
    path.write_text("\n".join([*lines, ""]))
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder, told = tmp_path_factory.mktemp("space"), []
    path = _write(folder)
    with tiny_run.one_device(), pytest.MonkeyPatch.context() as patch:
        tiny_run.plain_figures(patch)
        tiny_run.numpy_start(patch)
        run = mmjax.fit(
            path,
            "kind",
            folder / "run",
            kinds={"depth": "ignored"},
            settings=SMALL,
            tell=told.append,
        )
        yield run, path, told


def test_columns_are_told_apart(fitted):
    _, path, told = fitted
    table = read(str(path))
    kinds = {name: column_of(table, name).kind for name in ("scan", "radar", "depth")}
    assert kinds == {"scan": "volume", "radar": "points", "depth": "points"}
    assert column_of(table, "depth").reason == "arrays such as float64 [20, 4]"
    text = "\n".join(told)
    assert "encoder volume: volume_cnn, a small network from scratch on 8 x 8 x 8 voxels" in text
    assert "encoder points: point_set" in text


def test_a_run_with_rows_that_lack_one(fitted):
    run, path, _ = fitted
    assert run.config.model.encoders["points"].options["axes"] == 3
    assert 1.0 < run.config.model.encoders["points"].options["scale"] < 2.5
    assert set(run.metrics) == {"validation", "test"}
    found = {one["id"]: one for one in run.predict()}
    assert {"r3", "r4"} < found.keys()
    assert "r6" not in found
    folder = path.parent
    paths = {"volume": folder / "1.nii", "points": folder / "1.xyz"}
    alone = run.predict_one(**paths)
    assert alone["label"] == found["r1"]["label"]
    np.testing.assert_allclose(
        list(alone["probabilities"].values()),
        list(found["r1"]["probabilities"].values()),
        atol=1e-5,
    )
    assert run.predict_one(volume=paths["volume"].read_bytes()) != alone
    report = run.folder.report.read_text(encoding="utf-8")
    assert "--volume FILE --points FILE" in report


def test_rows_are_shown(fitted):
    run, _, _ = fitted
    fields, images = showing.inputs(run, run.dataset(), 1)
    assert fields == {"scan": "1.nii", "radar": "1.xyz"}
    assert images["scan"].shape == (8, 4 * 8)
    assert images["radar"].shape == (96, 96)
    assert images["scan"].dtype == images["radar"].dtype == np.uint8
    assert (images["radar"] > 0).sum() == 10


def test_degrading_and_the_commands(fitted, capsys):
    run, path, _ = fitted
    curves = degraded(run, wanted=["points", "volume/dropped_slices"], levels=[1.0]).curves
    assert set(curves) == {
        *("points/noise", "points/dropped_points", "points/missing"),
        "volume/dropped_slices",
    }
    assert main(["describe", str(path)]) == 0
    assert "input volume: {'name': 'volume', 'column': 'scan'}" in capsys.readouterr().out
    command = ["predict", str(run.folder.path), "--points", str(path.parent / "1.xyz")]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["label"] in ("car", "tree")
