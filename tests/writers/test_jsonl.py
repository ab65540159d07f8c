import json
import logging

import numpy as np
import pytest

from mmjax.core.errors import DataError, TransientError
from mmjax.writers import JsonLines, read_records


def test_one_strict_json_object_a_line(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    writer = JsonLines(path)
    writer.scalars(
        np.int64(3), {"loss": np.float32(0.5), "größe": float("nan"), "x": -np.inf, "n": 7}
    )
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines == ['{"step": 3, "loss": 0.5, "größe": null, "x": null, "n": 7}']
    writer.scalars(4, {"a\nb\x1b": 1.0, "\udc80": 2.0})
    writer.close()
    for line in path.read_bytes().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    assert [record["step"] for record in read_records(path)] == [3, 4]


def test_resume_drops_later_steps_and_a_torn_line(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLines(path)
    for step in (10, 20, 20, 30, 40):
        writer.scalars(step, {"loss": 1 / step})
    writer.close()
    undisturbed = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"step": 15, "lo')
    with caplog.at_level(logging.WARNING):
        resumed = JsonLines(path, resume_step=20)
    assert "metrics.jsonl:6" in caplog.text
    assert [record["step"] for record in read_records(path)] == [10, 20, 20]
    for step in (30, 40):
        resumed.scalars(step, {"loss": 1 / step})
    resumed.close()
    assert path.read_bytes() == undisturbed


def test_resume_without_a_file_and_a_new_run_over_an_old_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLines(path, resume_step=5)
    writer.scalars(6, {"loss": 1.0})
    writer.close()
    assert len(read_records(path)) == 1
    JsonLines(path).close()
    assert path.read_bytes() == b""


def test_a_full_disk_keeps_lines_and_writes_them_later(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLines(path)
    writer.scalars(1, {"loss": 1.0})
    real = writer._file

    class Full:
        def seek(self, *args):
            return real.seek(*args)

        def truncate(self, size):
            return real.truncate(size)

        def write(self, data):
            if len(data) < 10:
                raise OSError(28, "No space left on device")
            return real.write(data[:-5])  # what a disk does that fills up within a line

    writer._file = Full()
    for step in (2, 3):
        with pytest.raises(TransientError, match=rf"{step - 1} lines .* No space left"):
            writer.scalars(step, {"loss": 1.0})
        assert len(read_records(path)) == 1
        assert path.read_bytes().endswith(b"\n")
    writer._file = real
    writer.scalars(4, {"loss": 1.0})
    writer.close()
    assert [record["step"] for record in read_records(path)] == [1, 2, 3, 4]


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write metrics: .*where: .*metrics.jsonl"):
        JsonLines(tmp_path / "file" / "metrics.jsonl")


def test_step_is_no_name_of_a_value(tmp_path):
    with pytest.raises(ValueError, match="step"):
        JsonLines(tmp_path / "metrics.jsonl").scalars(1, {"step": 2.0})
