import logging
import struct
import sys
import threading
import time
import types

import pytest

from mmjax.core.errors import ConfigError, TransientError
from mmjax.core.registry import Spec
from mmjax.writers import MultiWriter, Writer, build_writers, read_records, writers


class Recorder(Writer):
    def __init__(self):
        self.seen, self.closed = [], False

    def scalars(self, step, values):
        self.seen.append((step, dict(values)))

    def close(self):
        self.closed = True


class Failing(Recorder):
    def scalars(self, step, values):
        raise ConnectionError("network down")


class Hanging(Recorder):
    def __init__(self):
        super().__init__()
        self.release = threading.Event()

    def scalars(self, step, values):
        self.release.wait(30)


class Essential(Recorder):
    essential = True

    def scalars(self, step, values):
        raise TransientError(710, "disk full")

    def close(self):
        raise TransientError(710, "2 lines are not written")


def test_a_failing_tracker_is_logged_once_and_counted(caplog):
    good = Recorder()
    multi = MultiWriter([Failing(), good])
    for step in range(5):
        multi.scalars(step, {"loss": 1.0})
    multi.close()
    assert multi.dropped == {"Failing": 5, "Recorder": 0}
    assert good.seen == [(step, {"loss": 1.0}) for step in range(5)]
    assert good.closed
    assert caplog.text.count("network down") == 1
    assert "lost 5 records" in caplog.text


def test_a_hanging_tracker_delays_nothing(caplog):
    hanging = Hanging()
    multi = MultiWriter([hanging], capacity=3, patience=0.1)
    start = time.monotonic()
    for step in range(20):
        multi.scalars(step, {"loss": 1.0})
    assert multi.dropped["Hanging"] >= 16
    multi.close()
    assert time.monotonic() - start < 2
    assert "does not keep up" in caplog.text
    assert "hangs" in caplog.text
    hanging.release.set()


def test_failures_of_what_belongs_to_the_run_are_reported(caplog):
    good = Recorder()
    multi = MultiWriter([Essential(), good])
    with caplog.at_level(logging.ERROR):
        multi.scalars(1, {"loss": 1.0})
        multi.scalars(2, {"loss": 1.0})
    assert caplog.text.count("disk full") == 1
    with pytest.raises(TransientError, match="not written"):
        multi.close()
    assert good.closed
    assert len(good.seen) == 2


def test_every_registered_writer_is_built_by_name(tmp_path, monkeypatch):
    started = []

    class Run:
        def log(self, values, step):
            started.append((step, values))

        def finish(self):
            started.append("finished")

    fake = types.ModuleType("wandb")
    fake.init = lambda **options: started.append(options) or Run()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for resume_step in (None, 1):
        specs = [Spec("wandb", run_name="mine") if n == "wandb" else n for n in writers]
        multi = build_writers(specs, tmp_path, resume_step, config={"seed": 3})
        multi.scalars(1 if resume_step is None else 2, {"loss": 0.5})
        multi.close()
        assert set(multi.dropped.values()) == {0}
    first, resumed = (one for one in started if isinstance(one, dict))
    assert first["config"] == {"seed": 3}
    assert first["name"] == "mine"
    assert first["id"] == resumed["id"]
    assert started.count("finished") == 2
    assert [record["step"] for record in read_records(tmp_path / "metrics.jsonl")] == [1, 2]


def test_tensorboard_events_hold_the_scalars(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    multi = build_writers([Spec("tensorboard", flush_seconds=1)], tmp_path)
    multi.scalars(7, {"validation/accuracy": 0.75})
    multi.close()
    (path,) = (tmp_path / "tensorboard").glob("events*")
    data, found = path.read_bytes(), []
    while data:  # TFRecord framing: length, its checksum, the event, its checksum
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    scalars = [(e.step, v.tag, v.simple_value) for e in found for v in e.summary.value]
    assert scalars == [(7, "validation/accuracy", 0.75)]


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'mmjax\[tensorboard\]'"):
        build_writers(["tensorboard"], tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'tensorboard'"):
        build_writers(["tensorbord"], tmp_path)
