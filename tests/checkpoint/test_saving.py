import errno
import json
import os
import shutil
import subprocess
import threading

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.checkpoint import layout, orbax_io
from mmjax.checkpoint.lock import Holder
from mmjax.checkpoint.store import Checkpoints
from mmjax.core.errors import CheckpointError, ConfigError


def state(value):
    return {"w": jnp.full((64, 64), float(value))}


def value(checkpoints, **options):
    return float(np.asarray(checkpoints.restore(state(0), **options).state["w"])[0, 0])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


SCORES = {1: 0.3, 2: 0.9, 3: 0.1, 4: float("nan"), 5: 0.9, 6: 0.2}


@pytest.mark.parametrize(
    ("options", "kept", "best"),
    [
        ({"best_metric": "f1"}, [2, 5, 6], 2),
        ({"best_metric": "f1", "best_mode": "min", "keep_last": 1}, [3, 6], 3),
        ({"best_metric": "f1", "keep_best": 2, "keep_last": 1}, [2, 5, 6], 2),
        ({"best_metric": "absent"}, [5, 6], None),
        ({"keep_last": 3}, [4, 5, 6], None),
    ],
)
def test_the_last_and_the_best_are_kept(tmp_path, options, kept, best):
    with Checkpoints(tmp_path, **options) as checkpoints:
        for step, score in SCORES.items():
            checkpoints.save(step, state(step), data_state={}, metrics={"f1": score})
        checkpoints.wait()
        assert checkpoints.steps() == kept
        assert checkpoints.latest() == 6
        assert checkpoints.best() == best
        assert names(tmp_path) == [str(step) for step in kept]
        assert value(checkpoints, step="best") == (best or 6)
    if "best_metric" in options:  # a reader needs no config to know which is best
        assert Checkpoints(tmp_path, readonly=True).best() == best


def test_forced_saves_replace_a_step(tmp_path):
    with Checkpoints(tmp_path, best_metric="f1") as checkpoints:
        checkpoints.save(1, state(1), data_state={})
        assert checkpoints.save(1, state(2), data_state={}, metrics={"f1": 1.0}, force=True)
        checkpoints.wait()
        assert value(checkpoints) == 2
        assert checkpoints.best() == 1
    assert names(tmp_path) == ["1"]


def test_nonsense_settings_are_refused(tmp_path):
    for options in ({"keep_last": 0}, {"keep_best": -1}, {"best_mode": "maximum"}):
        with pytest.raises(ConfigError):
            Checkpoints(tmp_path, **options)
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(CheckpointError, match="there is no checkpoint yet"),
    ):
        checkpoints.restore(state(0))


def test_the_older_step_is_removed_only_after_the_newer_was_read_back(tmp_path, monkeypatch):
    read = orbax_io.read

    def flipped(*arguments, **options):
        found = read(*arguments, **options)
        return {path: np.asarray(leaf) + 1 for path, leaf in found.items()}

    with Checkpoints(tmp_path, keep_last=1) as checkpoints:
        checkpoints.save(1, state(1), data_state={})
        checkpoints.wait()
        monkeypatch.setattr(orbax_io, "read", flipped)
        checkpoints.save(2, state(2), data_state={})
        with pytest.raises(CheckpointError, match="leaf w was not written as it was"):
            checkpoints.wait()
        monkeypatch.undo()
        assert checkpoints.steps() == [1]
        assert value(checkpoints) == 1
    assert names(tmp_path) == ["1"]


def failing(monkeypatch, error):
    """Makes Orbax's background writing fail, as it would on a bad disk."""

    def wait(self):
        self._checkpointer.wait_until_finished()
        raise error

    monkeypatch.setattr(orbax_io.Writer, "wait", wait)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 609, "the disk is full"),
        (ValueError("RESOURCE_EXHAUSTED: writing d/abc"), 609, "the disk is full"),
        (OSError(errno.EIO, "Input/output error"), 608, "Input/output error"),
    ],
)
def test_a_failure_in_the_background_surfaces_at_the_next_check(
    tmp_path, monkeypatch, error, code, text
):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(1), data_state={})
        checkpoints.check_errors()
        checkpoints.wait()
        failing(monkeypatch, error)
        checkpoints.save(2, state(2), data_state={})
        for thread in threading.enumerate():
            if thread.name == "checkpoint-2":
                thread.join()
        with pytest.raises(CheckpointError, match=text) as caught:
            checkpoints.check_errors()
        assert caught.value.code == code
        assert "steps kept: 1" in str(caught.value)
        checkpoints.check_errors()  # raised once
        assert names(tmp_path) == ["1"]
        monkeypatch.undo()
        checkpoints.save(3, state(3), data_state={})
        checkpoints.wait()
        assert value(checkpoints) == 3


def test_a_failed_save_raises_on_leaving_the_block(tmp_path, monkeypatch, caplog):
    failing(monkeypatch, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(CheckpointError, match="step 1 was not saved"), Checkpoints(tmp_path) as one:
        one.save(1, state(1), data_state={})
    two = Checkpoints(tmp_path)
    two.save(1, state(1), data_state={})
    with pytest.raises(KeyError), two:
        raise KeyError("the first error")
    assert "step 1 was not saved" in caplog.text


def test_synchronous_saves_raise_at_once(tmp_path, monkeypatch):
    failing(monkeypatch, OSError(errno.EIO, "Input/output error"))
    checkpoints = Checkpoints(tmp_path, asynchronous=False)
    with pytest.raises(CheckpointError, match="step 1 was not saved"):
        checkpoints.save(1, state(1), data_state={})
    checkpoints.close()


def test_too_little_space_is_refused_before_a_byte_is_written(tmp_path, monkeypatch):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(1), data_state={})
        checkpoints.wait()
        needed = int(1.2 * checkpoints.manifest(1).nbytes)
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
        with pytest.raises(CheckpointError, match=r"needs 0\.0 MB free"):
            checkpoints.save(2, state(2), data_state={})
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))
        assert checkpoints.save(2, state(2), data_state={})
        checkpoints.wait()
        assert checkpoints.steps() == [1, 2]


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of 3 MB, where the system lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_really_full_disk(small_disk, monkeypatch, caplog):
    rng = np.random.default_rng(0)
    megabyte = {"w": jnp.asarray(rng.standard_normal((512, 512)), jnp.float32)}
    folder = small_disk / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(1, megabyte, data_state={})
        checkpoints.wait()
        (small_disk / "filler").write_bytes(b"x" * 1_200_000)
        with pytest.raises(CheckpointError, match=r"needs .* MB free"):
            checkpoints.save(2, megabyte, data_state={})
        # The disk fills while the save is under way.
        monkeypatch.setattr(layout, "require_space", lambda *_: None)
        checkpoints.asynchronous = False
        with pytest.raises(CheckpointError, match="the disk is full"):
            checkpoints.save(2, megabyte, data_state={})
        assert names(folder) == ["1"]
        found = checkpoints.restore(megabyte).state["w"]
        assert np.array_equal(found, megabyte["w"])
        assert "Traceback" not in caplog.text
        (small_disk / "filler").unlink()
        checkpoints.save(3, megabyte, data_state={})
        checkpoints.wait()
        assert checkpoints.steps() == [1, 3]


def test_what_a_dead_run_left_is_removed_and_what_it_finished_is_taken(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state(step), data_state={})
    os.rename(tmp_path / "2", tmp_path / "2.uncommitted")  # killed before its last rename
    (tmp_path / "3.uncommitted" / "state.orbax-checkpoint-tmp").mkdir(parents=True)
    (tmp_path / "0.deleted").mkdir()
    (tmp_path / "9.quarantined").mkdir()
    Checkpoints(tmp_path, readonly=True)
    assert len(names(tmp_path)) == 5
    with Checkpoints(tmp_path) as checkpoints:
        assert names(tmp_path) == ["1", "2", "9.quarantined"]
        assert value(checkpoints) == 2


def test_a_second_writer_is_refused_while_the_run_is_alive(tmp_path):
    other = {**Holder.current().__dict__, "host": "elsewhere"}
    (tmp_path / "run.lock").write_text(json.dumps(other), encoding="utf-8")
    (tmp_path / "checkpoints" / "3.uncommitted").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="another run writes checkpoints here"):
        Checkpoints(tmp_path / "checkpoints")
    assert names(tmp_path / "checkpoints") == ["3.uncommitted"]
    assert Checkpoints(tmp_path / "checkpoints", readonly=True).latest() is None
