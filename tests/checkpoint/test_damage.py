import logging
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from states import abstract, make_state, same

from mmjax.checkpoint.load import load_params
from mmjax.checkpoint.manifest import NAME
from mmjax.checkpoint.store import Checkpoints
from mmjax.core.errors import CheckpointError
from mmjax.core.files import read_json, write_json


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    """A folder with steps 1 and 2, and their states."""
    folder = tmp_path_factory.mktemp("saved")
    states = {1: make_state(1), 2: make_state(2)}
    with Checkpoints(folder) as checkpoints:
        for step, state in states.items():
            checkpoints.save(step, state, data_state={"next_step": step})
    return folder, states


@pytest.fixture
def copy(two_steps, tmp_path):
    folder, states = two_steps
    shutil.copytree(folder, tmp_path / "checkpoints")
    return tmp_path / "checkpoints", states


def data_files(step_folder):
    """The files that hold arrays, the largest first."""
    files = [path for path in step_folder.rglob("*") if path.is_file() and path.parent.name == "d"]
    return sorted(files, key=lambda path: -path.stat().st_size)


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(data)


def test_ten_random_flipped_bits_are_caught_or_harmless(two_steps, tmp_path):
    folder, states = two_steps
    rng = np.random.default_rng(0)
    caught = 0
    for trial in range(10):
        where = tmp_path / str(trial)
        shutil.copytree(folder, where)
        file = data_files(where / "2")[0]
        flip(file, int(rng.integers(file.stat().st_size * 8)))
        restored = Checkpoints(where).restore(abstract(states[2]))
        assert restored.step in (1, 2)
        assert same(restored.state, states[restored.step])
        caught += restored.step == 1
    # Some bytes of the file are read by nobody; nearly all are arrays.
    assert caught >= 7


def test_a_damaged_leaf_is_named_once_and_the_older_step_taken(copy, caplog):
    folder, states = copy
    kernel = np.asarray(states[2].params["dense"]["kernel"]).tobytes()
    file = next(file for file in data_files(folder / "2") if kernel in file.read_bytes())
    flip(file, (file.read_bytes().index(kernel) + 100) * 8)
    with caplog.at_level(logging.ERROR), Checkpoints(folder) as checkpoints:
        restored = checkpoints.restore(abstract(states[2]))
        assert checkpoints.steps() == [1]
    assert (restored.step, restored.data_state) == (1, {"next_step": 1})
    assert same(restored.state, states[1])
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "leaf params/dense/kernel differs" in errors[0].getMessage()
    assert file.name in errors[0].getMessage()
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2.quarantined"]


def truncate(folder):
    file = data_files(folder)[0]
    file.write_bytes(file.read_bytes()[:-100])


def delete(folder):
    data_files(folder)[0].unlink()


def delete_manifest(folder):
    (folder / NAME).unlink()


def edit_manifest(folder):
    manifest = read_json(folder / NAME)
    manifest["data_state"]["next_step"] = 99
    write_json(folder / NAME, manifest)


def empty_manifest(folder):
    (folder / NAME).write_bytes(b"")


def delete_orbax_metadata(folder):
    (folder / "state" / "_METADATA").unlink()


@pytest.mark.parametrize(
    "harm",
    [truncate, delete, delete_manifest, edit_manifest, empty_manifest, delete_orbax_metadata],
)
def test_every_other_damage_falls_back_too(copy, harm):
    folder, states = copy
    harm(folder / "2")
    with Checkpoints(folder) as checkpoints:
        restored = checkpoints.restore(abstract(states[1]))
    assert restored.step == 1
    assert same(restored.state, states[1])
    assert (folder / "2.quarantined").is_dir()


def test_nothing_whole_left_is_an_error_and_never_a_start_from_scratch(copy):
    folder, states = copy
    truncate(folder / "1")
    delete(folder / "2")
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(CheckpointError, match=r"every checkpoint is damaged .*1\.quarantined"):
            checkpoints.restore(abstract(states[1]))
        with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
            checkpoints.latest()
        with pytest.raises(CheckpointError, match="no whole checkpoint of step 2"):
            checkpoints.restore(abstract(states[1]), step=2)


def test_a_reader_renames_nothing(copy):
    folder, states = copy
    truncate(folder / "2")
    checkpoints = Checkpoints(folder, readonly=True)
    assert checkpoints.restore(abstract(states[1])).step == 1
    kernel = load_params(folder, "latest")["dense"]["kernel"]
    assert np.array_equal(kernel, np.asarray(states[1].params["dense"]["kernel"]))
    with pytest.raises(CheckpointError, match="no whole checkpoint of step 2"):
        load_params(folder, 2)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
    with pytest.raises(CheckpointError, match="readonly"):
        checkpoints.save(3, states[1], data_state={})


def test_a_second_quarantine_of_a_step_keeps_the_first(copy):
    folder, states = copy
    with Checkpoints(folder) as checkpoints:
        checkpoints.quarantine(2, "asked for")
        checkpoints.save(2, states[2], data_state={})
        checkpoints.wait()
        checkpoints.quarantine(2, "asked for again")
    assert sorted(path.name for path in folder.iterdir()) == [
        "1",
        "2.quarantined",
        "2.quarantined-2",
    ]


def test_an_error_of_the_reader_is_no_damage(copy, monkeypatch):
    folder, states = copy

    def out_of_memory(*_, **__):
        raise MemoryError("no room for 9 GB")

    monkeypatch.setattr("mmjax.checkpoint.orbax_io.read", out_of_memory)
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(CheckpointError, match=r"files are as saved, but .* no room for 9 GB"):
            checkpoints.restore(abstract(states[2]))
        assert checkpoints.steps() == [1, 2]


def test_a_newer_format_is_refused_with_versions(copy):
    folder, states = copy
    from mmjax.checkpoint.run_folder import json_hash

    body = read_json(folder / "2" / NAME)
    body.pop("digest")
    body["format"] = 99
    write_json(folder / "2" / NAME, {**body, "digest": json_hash(body)})
    with (
        Checkpoints(folder) as checkpoints,
        pytest.raises(CheckpointError, match=r"format 99, this mmjax reads up to 1"),
    ):
        checkpoints.restore(abstract(states[2]))
    assert (folder / "2").is_dir()


def test_a_step_that_crashes_two_runs_is_set_aside_but_not_after_progress(copy):
    folder, states = copy
    with Checkpoints(folder) as checkpoints:
        checkpoints.report_crash(2, "CUDA error")
        checkpoints.save(3, states[2], data_state={})
        checkpoints.wait()
        checkpoints.report_crash(3, "CUDA error")
        assert checkpoints.restore(abstract(states[2])).step == 3
        checkpoints.report_crash(3, "CUDA error again")
        assert checkpoints.restore(abstract(states[2])).step == 2
    assert (folder / "3.quarantined").is_dir()


def test_replicas_that_differ_are_refused(tmp_path):
    import jax
    from states import mesh, on

    sharding = on(mesh(data=2))
    values = [jax.device_put(jnp.full((3,), float(i)), jax.devices()[i]) for i in range(2)]
    diverged = jax.make_array_from_single_device_arrays((3,), sharding, values)
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(CheckpointError, match=r"replicas of 'w' \[0:3\] differ: device 1"),
    ):
        checkpoints.save(1, {"w": diverged}, data_state={})
    assert list(tmp_path.iterdir()) == []
