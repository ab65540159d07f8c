import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xxhash
from states import mesh, on

from mmjax.checkpoint.digests import (
    LeafRecord,
    architecture_hash,
    compare,
    digest_array,
    digest_tree,
    merge,
)
from mmjax.core.errors import CheckpointError
from mmjax.core.files import digest_file


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool", "int4", "complex64"])
def test_the_digest_is_that_of_the_bytes_in_c_order(dtype):
    array = np.arange(24).reshape(4, 6).astype(jnp.dtype(dtype))
    want = xxhash.xxh3_128(array.tobytes()).hexdigest()
    assert digest_array(array) == want
    assert digest_array(np.asfortranarray(array)) == want
    assert digest_array(array[:, ::2]) == xxhash.xxh3_128(array[:, ::2].tobytes()).hexdigest()


def test_scalars_empty_arrays_and_files(tmp_path):
    assert digest_array(np.float32(1.5)) == xxhash.xxh3_128(np.float32(1.5).tobytes()).hexdigest()
    assert digest_array(np.zeros((0, 3))) == xxhash.xxh3_128(b"").hexdigest()
    data = np.random.default_rng(0).bytes(5_000_000)  # more than one chunk
    (tmp_path / "file").write_bytes(data)
    assert digest_file(tmp_path / "file") == xxhash.xxh3_128(data).hexdigest()


def test_each_distinct_shard_has_its_digest():
    values = np.arange(32, dtype=np.float32).reshape(8, 4)
    array = jax.device_put(values, on(mesh(data=4, fsdp=2), "data"))
    record = digest_tree({"w": array})["w"]
    want = {
        f"{2 * i}:{2 * i + 2},0:4": xxhash.xxh3_128(values[2 * i : 2 * i + 2].tobytes()).hexdigest()
        for i in range(4)
    }
    assert record == LeafRecord((8, 4), "float32", want)
    assert LeafRecord.from_json(record.to_json()) == record


def test_compare_on_any_layout_and_after_one_flipped_bit():
    values = np.arange(32, dtype=np.float32).reshape(8, 4)
    grid = mesh(data=4, fsdp=2)
    record = digest_tree({"w": jax.device_put(values, on(grid, "data", "fsdp"))})["w"]
    flipped = values.copy()
    flipped.view(np.uint32)[5, 2] ^= 1
    for spec in ((), ("data", "fsdp"), ("fsdp",), (None, "data")):
        assert compare(record, jax.device_put(values, on(grid, *spec))) == "same"
        assert compare(record, jax.device_put(flipped, on(grid, *spec))) == "differs"
    assert compare(record, values) == "same"
    assert compare(record, flipped) == "differs"
    assert compare(record, values.astype(np.float64)) == "differs"
    assert compare(record, values[:4]) == "differs"


def test_processes_are_merged_and_their_replicas_compared():
    a = {"w": LeafRecord((4,), "float32", {"0:2": "aa", "2:4": "bb"})}
    b = {"w": LeafRecord((4,), "float32", {"2:4": "bb", "0:2": "aa"})}
    half = {"w": LeafRecord((4,), "float32", {"2:4": "bb"})}
    assert merge([a, b]) == a
    assert merge([{"w": LeafRecord((4,), "float32", {"0:2": "aa"})}, half]) == a
    with pytest.raises(CheckpointError, match=r"replicas of 'w' \[2:4\] differ: process 1"):
        merge([a, {"w": LeafRecord((4,), "float32", {"2:4": "cc"})}])
    with pytest.raises(CheckpointError, match="process 1 disagrees on the leaf 'v'"):
        merge([a, {**a, "v": a["w"]}])


def test_the_architecture_is_paths_shapes_and_dtypes():
    array = jnp.ones((8, 4))
    sharded = jax.device_put(array + 1, on(mesh(data=4), "data"))
    hashes = [
        architecture_hash(digest_tree(leaves))
        for leaves in (
            {"w": array},
            {"w": sharded},
            {"v": array},
            {"w": array[:4]},
            {"w": array.astype(jnp.bfloat16)},
        )
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4
