"""Windows of a watch's recordings: what they hold, whose they are, and files that are refused."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.extras import MissingExtra
from mmjax.data.config import sources

RNG = np.random.default_rng(0)
RECORDINGS = [RNG.normal(size=(steps, 6)) for steps in (10, 7, 12, 3)]


def _write(folder, value):
    with open(folder / "watch_dataset.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        # As the file that the package has, which an old NumPy wrote.
        whole = np.empty((), object)
        whole[()] = value
        content = pickle.dumps(whole, 2)
        file.write(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    return folder


@pytest.fixture
def folder(tmp_path):
    about = {
        "X": RECORDINGS,
        "y": np.array([1.0, 0, 1, 0]),
        "subject": np.array([1, 2, 3, 3]),
        "side": np.array([1.0, 0, 0, 1]),
        "X_labels": ["ax", "ay", "az", "wx", "wy", "wz"],
        "y_labels": ["PEN", "ROW"],
    }
    return _write(tmp_path, about)


def _read(folder, **options):
    given = {"width": 4, "step": 3, "test": (1,), "validation": (2,), **options}
    return sources.build("smartwatch", folder=str(folder), **given).read()


def test_windows_follow_each_other_and_persons_are_in_one_split(folder):
    table = _read(folder, mirror=False)
    rows = list(zip(table.column("recording"), table.column("start"), strict=True))
    assert rows == [(0, 0), (0, 3), (0, 6), (1, 0), (1, 3), (2, 0), (2, 3), (2, 6)]
    assert table.column("split") == ["test"] * 3 + ["validation"] * 2 + ["train"] * 3
    assert table.column("exercise") == ["ROW"] * 3 + ["PEN"] * 2 + ["ROW"] * 3
    assert table.column("arm") == ["right"] * 3 + ["left"] * 5
    for row, (recording, start) in enumerate(rows):
        window = RECORDINGS[recording][start : start + 4].astype(np.float32)
        np.testing.assert_array_equal(table.column("readings")[row], window)
        both = [table.column(name)[row] for name in ("acceleration", "rotation")]
        np.testing.assert_array_equal(np.concatenate(both, axis=1), window)


def test_the_left_arm_is_the_mirror_image_of_the_right_one(folder):
    """Across the arm is x: of vectors it turns round, of rotations about axes the two others."""
    plain, mirrored = (_read(folder, mirror=m).column("readings") for m in (False, True))
    np.testing.assert_array_equal(mirrored[:3], plain[:3])
    reflection = np.diag([-1.0, 1, 1])
    for before, after in zip(plain[3:], mirrored[3:], strict=True):
        np.testing.assert_allclose(after[:, :3], before[:, :3] @ reflection)
        # The rotation of a mirror image is that of a pseudovector: det(M) M w.
        turned = np.linalg.det(reflection) * before[:, 3:] @ reflection
        np.testing.assert_allclose(after[:, 3:], turned)


def test_what_is_no_such_file_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="validation"):
        _read(folder, validation=(1,))
    with pytest.raises(MissingExtra, match=r"seglearn==1\.2\.5"):
        _read("package:no_such_package/data")
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="no such data"):
        _read(_write(tmp_path / "other", {"X": [], "y": np.zeros(1)}))


def test_a_file_that_does_something_is_refused_before_it_does(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    with pytest.raises(DataError, match="which is no array"):
        _read(_write(tmp_path, {"X": Harmful()}))
    assert not (tmp_path / "made").exists()
