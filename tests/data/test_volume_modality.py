"""Volumes: sizes against jax.image, files of medicine against their own readers, and bad files."""

from __future__ import annotations

import gzip
import io

import jax
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, modalities
from mmjax.data.modalities.base import Place
from mmjax.data.pipeline import prepare
from mmjax.data.table import Table
from mmjax.data.transforms.volumes import AugmentVolume, crop_or_pad, resized, to_size
from mmjax.data.volume_decoding import decode_volume

RNG = np.random.default_rng(0)
HOUNSFIELD = RNG.integers(-1000, 1500, (5, 6, 7)).astype(np.int16)
"""Depth from feet to head, height from front to back, width from right to left."""


def _decode(cell, root=None, **options):
    return decode_volume(cell, root=root, where="m.csv:2:scan", **options)


@pytest.mark.parametrize("size", [(5, 6, 7), (3, 9, 4), (10, 2, 1)])
def test_a_resized_volume_is_jaxs(size):
    values = RNG.normal(size=(5, 6, 7, 2)).astype(np.float32)
    expected = jax.image.resize(values, (*size, 2), "linear", antialias=True)
    np.testing.assert_allclose(resized(values, size), expected, atol=2e-6)


def test_rules_of_size():
    values = np.arange(4 * 8 * 8, dtype=np.float32).reshape(4, 8, 8, 1)
    whole = crop_or_pad(values, (6, 4, 9))
    np.testing.assert_array_equal(whole[1:5, :, :8], values[:, 2:6])
    assert not whole[[0, 5]].any()
    np.testing.assert_array_equal(to_size(values, (4, 4, 4), "crop"), values[:, 2:6, 2:6])
    padded = to_size(values, (4, 4, 4), "pad")
    np.testing.assert_allclose(padded[1:3], resized(values, (2, 4, 4)))
    assert (padded[[0, 3]] == padded[1:3].min()).all()
    np.testing.assert_array_equal(to_size(values, (2, 4, 4), "squash"), resized(values, (2, 4, 4)))


def test_changes_in_training():
    values = RNG.normal(size=(4, 4, 4, 1)).astype(np.float32)
    flipped = AugmentVolume({"flip": 1.0})(values, RNG)
    np.testing.assert_array_equal(flipped, values[:, :, ::-1])
    moved = AugmentVolume({"shift": 2})(values, np.random.default_rng(3))
    assert moved.shape == values.shape
    rest = np.setdiff1d(moved, values.min())
    assert np.isin(rest, values).all()
    noisy = AugmentVolume({"contrast": 0.1, "noise": 0.5})(np.zeros((16, 16, 16, 1)), RNG)
    assert noisy.std() == pytest.approx(0.5, rel=0.05)
    with pytest.raises(ConfigError, match="did you mean 'shift'"):
        AugmentVolume({"shif": 1})


def _nifti(values=HOUNSFIELD, axes="RAS"):
    """A file whose voxels are `values`, stored along `axes`, 3 mm through and 2 x 1 in plane."""
    ras = values.transpose(2, 1, 0)[::-1, ::-1]
    stored = nibabel.Nifti1Image(ras, np.diag([1.0, 2.0, 3.0, 1.0]))
    ways = nibabel.orientations.axcodes2ornt(tuple(axes))
    return stored.as_reoriented(ways).to_bytes()


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR"])
def test_nifti_is_upright_however_it_lies(axes, tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(_nifti(axes=axes)))
    values, spacing = _decode("a.nii.gz", tmp_path)
    np.testing.assert_array_equal(values[..., 0], HOUNSFIELD)
    assert spacing == pytest.approx((3.0, 2.0, 1.0))


def _slice(index, series="1.2.3", across=(1, 0, 0, 0, 1, 0), pixels=None):
    pixels = HOUNSFIELD[index] if pixels is None else pixels
    one = pydicom.Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.3.4.{index + 1}"
    one.SeriesInstanceUID, one.InstanceNumber = series, index + 1
    one.Rows, one.Columns = pixels.shape
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation, one.SamplesPerPixel = 15, 1, 1
    one.PhotometricInterpretation = "MONOCHROME2"
    one.RescaleSlope, one.RescaleIntercept = 2, -24
    one.PixelSpacing, one.ImageOrientationPatient = [2.0, 1.0], list(across)
    one.ImagePositionPatient = [0.0, 0.0, 3.0 * index]
    one.PixelData = ((pixels + 24) // 2).astype("<i2").tobytes()
    file = io.BytesIO()
    pydicom.dcmwrite(file, one, enforce_file_format=True)
    return file.getvalue()


def _even():
    return HOUNSFIELD // 2 * 2


def test_a_dicom_series_is_upright_and_in_order(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    for name, index in zip("badce", range(5), strict=True):
        (folder / f"{name}.dcm").write_bytes(_slice(index))
    (folder / "notes.txt").write_text("no slice")
    values, spacing = _decode("series", tmp_path)
    np.testing.assert_array_equal(values[..., 0], _even())
    assert spacing == pytest.approx((3.0, 2.0, 1.0))
    as_nifti, _ = _decode(_nifti(_even()))
    np.testing.assert_array_equal(values, as_nifti)
    files = [_slice(index) for index in (3, 0, 4, 1, 2)]
    np.testing.assert_array_equal(_decode(files).values, values)
    (folder / "f.dcm").write_bytes(_slice(0, series="9.9"))
    with pytest.raises(DataError, match=r"MMX-432.*2 series \(1\.2\.3, 9\.9\), expected one"):
        _decode("series", tmp_path)


def test_arrays_and_their_files(tmp_path):
    np.save(tmp_path / "a.npy", HOUNSFIELD)
    np.savez_compressed(tmp_path / "a.npz", scan=HOUNSFIELD, other=np.zeros(3))
    for cell, options in (("a.npy", {}), ("a.npz", {"key": "scan"}), (HOUNSFIELD, {})):
        values, spacing = _decode(cell, tmp_path, **options)
        np.testing.assert_array_equal(values[..., 0], HOUNSFIELD)
        assert values.dtype == np.float32
        assert spacing is None
    tinted = _decode(np.full((2, 2, 2, 3), 51, np.uint8)).values
    np.testing.assert_allclose(tinted, 0.2)
    with pytest.raises(DataError, match=r"'a\.npz'.*the arrays of the file are: other, scan"):
        _decode("a.npz", tmp_path)


def test_bad_volumes_are_data_errors(tmp_path):
    whole = _nifti()
    np.save(tmp_path / "a.npy", HOUNSFIELD)
    cut = (tmp_path / "a.npy").read_bytes()[:-9]
    objects = io.BytesIO()
    np.save(objects, np.array([{}]), allow_pickle=True)
    cases = {
        "432": [cut, objects.getvalue(), whole[:400], gzip.compress(whole)[:-30], _slice(0)[:300]],
        "431": [b"<html>", 7, [1, 2]],
        "433": [np.zeros((2, 2)), np.zeros((2, 2, 0)), np.array([[["a"]]])],
        "435": [np.full((2, 2, 2), np.nan), np.full((2, 2, 2), 1e300)],
    }
    for code, cells in cases.items():
        for cell in cells:
            with pytest.raises(DataError, match=f"MMX-{code}.*m.csv:2:scan"):
                _decode(cell)
    for cell in (HOUNSFIELD, whole, [_slice(0), _slice(1)]):
        with pytest.raises(DataError, match=r"MMX-43[24].*over the limit of 50"):
            _decode(cell, max_voxels=50)
    with pytest.raises(DataError, match=r"MMX-433.*1 channels, expected 3"):
        _decode(HOUNSFIELD, channels=3)
    (tmp_path / "empty").mkdir()
    for cell in ("empty", "none.npy", "../a.npy"):
        with pytest.raises(DataError, match=r"MMX-30[16]"):
            _decode(cell, tmp_path)


def test_windows_spacing_and_norms():
    table = Table({"scan": [HOUNSFIELD, _nifti()]}, "m.csv", "f")
    window = modalities.build("volume", column="scan", size=(5, 6, 7), window=(40.0, 400.0))
    seen = window.decode(HOUNSFIELD, Place(table, 0))[..., 0]
    np.testing.assert_allclose(seen, np.clip((HOUNSFIELD + 160.0) / 400, 0, 1), atol=1e-6)
    each = window.fit(table, np.arange(2)).example({"scan": HOUNSFIELD}, Place(table, 0), None)
    np.testing.assert_allclose(
        each["voxel_values"][..., 0], (seen - seen.mean()) / seen.std(), atol=1e-5
    )
    fixed = modalities.build(
        "volume", column="scan", size=(5, 6, 7), normalize="fixed", mean=(5.0,), std=(2.0,)
    )
    found = fixed.fit(table, np.arange(2)).example({"scan": HOUNSFIELD}, Place(table, 0), None)
    np.testing.assert_allclose(found["voxel_values"][..., 0], (HOUNSFIELD - 5.0) / 2)
    spaced = modalities.build("volume", column="scan", size=(5, 12, 7), spacing=(3.0, 1.0, 1.0))
    found = spaced.decode(_nifti(), Place(table, 1))
    wanted = resized(HOUNSFIELD[..., None].astype(np.float32), (5, 12, 7))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    with pytest.raises(DataError, match="MMX-436"):
        spaced.decode(HOUNSFIELD, Place(table, 0))
    for wrong in ({"size": (4, 4)}, {"window": (0.0, 0.0)}, {"std": (0.0,)}, {"mean": (1.0, 2.0)}):
        with pytest.raises(ConfigError, match=f"MMX-106.*{next(iter(wrong))}|MMX-106.*std"):
            modalities.build("volume", column="scan", **wrong)


def test_batches_and_bad_files_left_out(tmp_path):
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", RNG.normal(size=(4, 5, 6, 2)))
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    lines = ["scan,size", "a.npy,1", ",2", "bad.npy,3", "b.npy,4", "c.npy,5"]
    (tmp_path / "m.csv").write_text("\n".join([*lines, ""]))
    spec = Spec("volume", column="scan", size=(3, 3, 3), augment={"flip": 0.5, "noise": 0.1})
    config = DataConfig(
        source=Spec("csv", path=str(tmp_path / "m.csv")),
        modalities={"scan": spec, "row": Spec("table", numbers=("size",))},
        on_bad_sample="quarantine",
        batch_size=4,
        threads=1,
    )
    data = prepare(config, splits={"train": np.arange(5)})
    assert [bad.code for bad in data.quarantine.found] == [432]
    assert data.facts["modalities"]["scan"] == {"volume_size": (3, 3, 3), "channels": 2}
    with data.loader("train", train=True, seed=1) as batches:
        batch = next(batches)
    here = batch.present["scan"]
    assert sorted(batch.row[here]) == [0, 3, 4]
    voxels = batch.inputs["scan"]["voxel_values"]
    assert voxels.shape == (4, 3, 3, 3, 2)
    assert not voxels[~here].any()
    data.save(tmp_path / "kept")
    again = prepare(config, processors_folder=tmp_path / "kept")
    assert again.facts == data.facts
