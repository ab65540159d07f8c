import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from states import abstract, make_state, mesh, on, same, words

from mmjax.checkpoint.load import load_arrays, load_params
from mmjax.checkpoint.store import Checkpoints
from mmjax.core.errors import CheckpointError


def test_every_kind_of_leaf_comes_back_bit_for_bit(tmp_path):
    state = make_state()
    with Checkpoints(tmp_path, config_hash="c0ffee", global_batch=32) as checkpoints:
        assert checkpoints.latest() is None
        assert checkpoints.save(
            7,
            state,
            data_state={"next_step": 8},
            metrics={"accuracy": 0.5, "loss": float("nan")},
            extra={"names": ["a", "b"]},
        )
        assert not checkpoints.save(7, state, data_state={})
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(abstract(state))
        manifest = checkpoints.manifest(7)
    assert same(restored.state, state)
    assert restored.step == 7
    assert restored.data_state == {"next_step": 8}
    assert restored.extra == {"names": ["a", "b"]}
    assert restored.metrics["accuracy"] == 0.5
    assert np.isnan(restored.metrics["loss"])
    assert jax.random.key_impl(restored.state.key) == jax.random.key_impl(state.key)
    assert (manifest.config_hash, manifest.global_batch) == ("c0ffee", 32)
    assert manifest.versions["jax"] == jax.__version__
    assert "opt_state/1/0/mu/dense/kernel" in manifest.leaves
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7"]


def test_numpy_leaves_stay_numpy_with_64_bits(tmp_path):
    state = {"a": np.asarray([2**60 + 1], np.int64), "b": np.float64(1 / 3)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, state, data_state={})
        found = checkpoints.restore(state).state
    assert isinstance(found["a"], np.ndarray)
    assert found["a"][0] == 2**60 + 1
    assert found["b"] == 1 / 3


def test_a_state_donated_right_after_the_call_is_saved_as_it_was(tmp_path):
    update = jax.jit(lambda s: jax.tree.map(lambda x: x * 3 + 1, s), donate_argnums=0)
    state = {f"w{i}": jnp.full((512, 512), float(i)) for i in range(8)}
    state = update(state)
    before = jax.tree.map(lambda x: np.array(x, copy=True), state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, data_state={})
        for _ in range(5):
            state = update(state)
        jax.block_until_ready(state)
        checkpoints.wait()
        found = checkpoints.restore(abstract(state)).state
    assert all(np.array_equal(found[name], before[name]) for name in before)
    assert not np.array_equal(np.asarray(state["w0"]), before["w0"])


@pytest.mark.parametrize("direction", ["sharded_to_single", "single_to_sharded", "other_mesh"])
def test_any_sharding_to_any_other(tmp_path, direction):
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((16, 8)).astype(np.float32)
    grid, line = mesh(data=4, fsdp=2), mesh(data=3, fsdp=2)
    single = jax.sharding.SingleDeviceSharding(jax.devices()[3])
    source, target = {
        "sharded_to_single": (on(grid, "data", "fsdp"), single),
        "single_to_sharded": (single, on(grid, "fsdp", None)),
        "other_mesh": (on(grid, "data", "fsdp"), on(line, None, "fsdp")),
    }[direction]
    keys = jax.random.split(jax.random.key(3), 8)
    state = {
        "kernel": jax.device_put(jnp.asarray(kernel), source),
        "half": jax.device_put(jnp.asarray(kernel, jnp.bfloat16), source),
        "keys": jax.device_put(keys, single if source == single else on(grid, "data")),
    }
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, data_state={})
        keys_on = on(grid, "data") if source == single else single
        want = {name: abstract(state[name], target) for name in ("kernel", "half")}
        want["keys"] = abstract(state["keys"], keys_on)
        found = checkpoints.restore(want).state
        recorded = checkpoints.manifest(1)
    assert np.array_equal(np.asarray(found["kernel"]), kernel)
    assert np.array_equal(words(found["half"]), words(kernel.astype(jnp.bfloat16)))
    assert np.array_equal(words(found["keys"]), words(keys))
    assert found["kernel"].sharding == target
    assert found["keys"].sharding.is_equivalent_to(want["keys"].sharding, 1)
    if direction != "single_to_sharded":
        assert recorded.mesh == {"data": 4, "fsdp": 2}
        assert len(recorded.leaves["kernel"].shards) == 8


def test_a_mesh_that_does_not_divide_names_leaf_axis_and_size(tmp_path):
    state = {"params": {"kernel": jnp.zeros((8, 4))}}
    target = {"params": {"kernel": abstract(state["params"]["kernel"], on(mesh(fsdp=3), "fsdp"))}}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, data_state={})
        with pytest.raises(CheckpointError, match=r"'fsdp' of size 3 .*'params/kernel'.* size 8"):
            checkpoints.restore(target)
        assert checkpoints.steps() == [1]


def test_part_of_a_state(tmp_path):
    state = make_state()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, data_state={})
        part = {"params": abstract(state.params)}
        found = checkpoints.restore(part, prefixes=("params",)).state
        assert same(found["params"], state.params)
        deeper = {"params": {"dense": abstract(state.params["dense"])}}
        found = checkpoints.restore(deeper, prefixes=("params/dense",)).state
        assert same(found["params"]["dense"], state.params["dense"])
        with pytest.raises(CheckpointError, match=r"in the checkpoint only.*prefixes="):
            checkpoints.restore(part)
        rest = {path for path in checkpoints.manifest(1).leaves if not path.startswith("params/")}
        found = checkpoints.restore(part, spare={*rest, "ema/none"}).state
        assert same(found["params"], state.params)


def test_architecture_mismatch_lists_every_path_at_once(tmp_path):
    state = {"params": {f"kernel_{i}": jnp.zeros((2, 3)) for i in range(30)}, "bias": jnp.ones(4)}
    wanted = {
        "params": {f"kernels_{i}": jnp.zeros((2, 3)) for i in range(30)},
        "bias": jnp.ones(5, jnp.bfloat16),
    }
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(4, state, data_state={})
        with pytest.raises(CheckpointError) as caught:
            checkpoints.restore(abstract(wanted))
        assert checkpoints.steps() == [4]
    text = str(caught.value)
    assert caught.value.code == 604
    assert "30 missing from the checkpoint: params/kernels_0" in text
    assert "30 in the checkpoint only: params/kernel_0" in text
    assert "bias (saved float32[4], wanted bfloat16[5])" in text
    assert "did you mean 'params/kernel_0'?" in text
    assert text.count("params/kernels_") == 20 + 1  # twenty listed, one in the fix


def test_keys_of_another_implementation_are_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"key": jax.random.key(0, impl="rbg")}, data_state={})
        with pytest.raises(CheckpointError, match=r"key \(saved key<rbg>\[4\], wanted key<urbg>"):
            checkpoints.restore({"key": jax.random.key(0, impl="unsafe_rbg")})
        found = checkpoints.restore({"key": jax.random.key(5, impl="rbg")}).state["key"]
    assert np.array_equal(words(found), words(jax.random.key(0, impl="rbg")))


def test_what_cannot_be_saved_is_named(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for state, match in (
            ({"step": 3, "w": jnp.zeros(2)}, "leaf 'step' is a int"),
            ({"a/b": jnp.zeros(2)}, "cannot be named"),
            ({"a.b": jnp.zeros(2), "a": {"b": jnp.zeros(2)}}, "two leaves are named"),
            ({}, "no arrays"),
        ):
            with pytest.raises(CheckpointError, match=match):
                checkpoints.save(1, state, data_state={})
        with pytest.raises(CheckpointError, match="data_state is no plain JSON"):
            checkpoints.save(1, {"w": jnp.zeros(2)}, data_state={"x": np.zeros(2)})
        assert checkpoints.steps() == []
    assert list(tmp_path.iterdir()) == []


def test_arrays_load_without_target_code_or_devices(tmp_path):
    state = make_state()
    with Checkpoints(tmp_path / "checkpoints", best_metric="f1") as checkpoints:
        checkpoints.save(1, state, data_state={}, metrics={"f1": 0.9})
        worse = state.replace(params=jax.tree.map(jnp.zeros_like, state.params))
        checkpoints.save(2, worse, data_state={}, metrics={"f1": 0.1})
    params = load_params(tmp_path)
    kernel = params["dense"]["kernel"]
    assert type(kernel) is np.ndarray
    assert np.array_equal(kernel, np.asarray(state.params["dense"]["kernel"]))
    assert not load_params(tmp_path / "checkpoints", 2)["dense"]["kernel"].any()
    everything = load_arrays(tmp_path, "latest")
    assert everything["step"] == 7
    assert np.array_equal(everything["key"], np.asarray(jax.random.key_data(state.key)))
    with pytest.raises(CheckpointError, match=r"nothing below \['ema'\].*counters, key, opt_state"):
        load_arrays(tmp_path, prefixes=("ema",))


def test_a_relative_folder_loads(tmp_path, monkeypatch):
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        checkpoints.save(1, {"params": {"w": jnp.ones(3)}}, data_state={})
    monkeypatch.chdir(tmp_path)
    assert load_params("run")["w"].tolist() == [1.0, 1.0, 1.0]


def test_plain_orbax_reads_it_too(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, {"w": jnp.arange(6.0).reshape(2, 3)}, data_state={})
    target = {"w": jax.ShapeDtypeStruct((2, 3), jnp.float32, sharding=jnp.zeros(1).sharding)}
    manager = ocp.CheckpointManager(tmp_path)
    restore = ocp.args.Composite(state=ocp.args.StandardRestore(target))
    assert manager.latest_step() == 5
    found = manager.restore(5, args=restore)["state"]["w"]
    manager.close()
    assert np.array_equal(found, np.arange(6.0).reshape(2, 3))


def test_saving_under_a_transfer_guard(tmp_path):
    state = jax.device_put({"w": jnp.arange(8.0)}, on(mesh(data=2), "data"))
    with Checkpoints(tmp_path) as checkpoints, jax.transfer_guard("disallow"):
        checkpoints.save(1, state, data_state={})
        found = checkpoints.restore(abstract(state)).state
    assert np.array_equal(np.asarray(found["w"]), np.arange(8.0))
