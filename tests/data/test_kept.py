"""Stores of features: whole or made anew, and batches of them."""

import pickle

import numpy as np
import pytest

from mmjax.core.errors import DataError
from mmjax.data import kept
from mmjax.data.kept import KeptFeatures, Shaped, Store
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table

FIELDS = {"pooled": ((3,), "bfloat16"), "mask": ((4,), "bool"), "values": ((4, 3), "float32")}
ROWS = np.array([2, 5, 7])
VALUES = np.arange(36, dtype=np.float32).reshape(3, 4, 3)


def fill(arrays):
    arrays["values"][:] = VALUES
    arrays["pooled"][:] = VALUES[:, 0]
    arrays["mask"][:] = [[True] * 2 + [False] * 2, [True] * 4, [False] * 4]
    arrays[kept.PRESENT][:] = [True, True, False]


@pytest.fixture
def store(tmp_path):
    kept.write(tmp_path / "one", ROWS, FIELDS, fill)
    return Store(tmp_path / "one")


def test_what_was_written_is_read_also_by_workers(store):
    found = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(found.arrays["values"], VALUES)
    assert found.arrays["pooled"].dtype.name == "bfloat16"
    np.testing.assert_array_equal(found.arrays["pooled"].astype(np.float32), VALUES[:, 0])
    np.testing.assert_array_equal(found.places(np.array([7, 2])), [2, 0])
    with pytest.raises(DataError, match="not kept"):
        found.places(np.array([3]))


@pytest.mark.parametrize("what", ["cut", "flipped", "lost", "about"])
def test_a_damaged_store_is_known(store, what, caplog):
    assert store.is_whole()
    path = store.folder / ("about.json" if what == "about" else "values.bin")
    data = bytearray(path.read_bytes())
    if what == "lost":
        path.unlink()
    else:
        data[5] ^= 1
        path.write_bytes(data[:20] if what in ("cut", "about") else data)
    assert not store.is_whole()
    assert "made anew" in caplog.text
    kept.write(store.folder, ROWS, FIELDS, fill)
    assert Store(store.folder).is_whole()


def test_nothing_stays_of_a_store_that_was_not_finished(tmp_path):
    def stops(arrays):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.write(tmp_path / "one", ROWS, FIELDS, stops)
    assert not list(tmp_path.iterdir())
    assert not Store(tmp_path / "one").is_whole()


class Raw:
    padded_lengths = (2, 4)
    facts = None


def test_batches_have_the_rows_in_their_order_and_the_length_asked_for(store):
    one = KeptFeatures(Raw(), dict.fromkeys((True, False), Shaped(FIELDS, {2: 2, 4: 4})))
    one.stores[True] = store
    table = Table({}, "t", "f")
    examples = [one.example({}, Place(table, row), None) for row in (5, 7, 2)]
    assert examples[1] is None
    batch = one.collate([*examples, None], 4)
    np.testing.assert_array_equal(
        batch["values"], [VALUES[1], 0 * VALUES[0], VALUES[0], 0 * VALUES[0]]
    )
    short = one.collate([examples[2]], 2)
    assert short["values"].shape == (1, 2, 3)
    assert short["pooled"].shape == (1, 3)
    with pytest.raises(DataError, match="row 3"):
        one.example({}, Place(table, 3), None)
