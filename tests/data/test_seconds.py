"""When a batch's positions are, as sequences, sounds and videos say it."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.config import modalities
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table


def _batch(kind, cells, length=None, **options):
    table = Table({"x": cells}, "m", "f")
    fitted = modalities.build(kind, column="x", **options).fit(table, np.arange(len(cells)))
    examples = [fitted.example(table.row(r), Place(table, r), None) for r in range(len(cells))]
    return fitted.collate([*examples, None], length)


def test_a_sequence_begins_where_it_was_cut():
    cells = [np.zeros((4, 2)), np.zeros((10, 2))]
    batch = _batch("sequence", cells, max_length=6, step_seconds=0.5)
    np.testing.assert_array_equal(batch["seconds"], [[0, 3], [1, 4], [0, 0]])
    shorter = _batch("sequence", cells, 5, max_length=6, lengths=(5,), step_seconds=0.5)
    np.testing.assert_array_equal(shorter["seconds"][0], [0, 2.5])
    assert "seconds" not in _batch("sequence", cells, max_length=6)


@pytest.mark.parametrize("features", ["log_mel", "waveform", "mfcc"])
def test_a_sound_is_as_long_as_its_padding(features):
    cells = [np.zeros(2000, np.float32), None]
    given = {"sample_rate": 4000, "max_seconds": 2.0, "features": features, "seconds": True}
    given |= {"mel_bins": 8, "coefficients": 4, "train_part": "same", "evaluate_part": "start"}
    batch = _batch("audio", cells, **given)
    # A frame may begin only where the window still fits: the last 25 ms have none.
    assert batch["seconds"][0, 1] == pytest.approx(2.0, abs=0.025)
    np.testing.assert_array_equal(batch["seconds"][1:], 0)
    with pytest.raises(ConfigError, match="elsewhere than its start"):
        modalities.build("audio", column="x", seconds=True)


def test_a_video_is_cut_into_parts():
    clip = np.zeros((12, 4, 4, 3), np.uint8)
    frames = [PIL.Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(0, 200, 40)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=200)
    given = {"frames": 8, "size": 4, "seconds": True}
    batch = _batch("video", [clip, clip[:4], file.getvalue()], frame_rate=4.0, **given)
    # Twelve frames in eight parts; four of eight; five of a fifth of a second each.
    np.testing.assert_allclose(batch["seconds"], [[0, 3], [0, 2], [0, 1.6], [0, 0]], atol=1e-6)
    with pytest.raises(DataError, match="set frame_rate"):
        _batch("video", [clip], **given)


def test_an_encoded_video_says_when_its_frames_are_shown(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p"
        for _ in range(10):
            picture = np.zeros((16, 16, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    batch = _batch("video", [path.read_bytes()], frames=4, size=8, seconds=True)
    np.testing.assert_allclose(batch["seconds"][0], [0, 2], atol=1e-3)
