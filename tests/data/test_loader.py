"""The same global batches whatever the hosts, threads, workers and restarts."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.dataset import Dataset
from mmjax.data.order import InOrder, Shuffled
from mmjax.data.pipeline import prepare

AUGMENT = {"affine": {"degrees": 15, "pixels": 2}, "jitter": {"hue": 0.1}, "noise": 0.05}
MODALITIES = {
    "text": Spec("text", column="words", word_dropout=0.3, max_length=24, lengths=(4, 8)),
    "image": Spec("image", columns=("a", "b"), size=8, augment=AUGMENT),
}


def _frame(rows: int = 50) -> dict:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, rows, 8, 8, 3), dtype=np.uint8)
    words = [
        "w" + " w".join(str(i * j % 30) for j in range(rng.integers(1, 16))) for i in range(rows)
    ]
    return {
        "words": [None if i % 7 == 3 else text for i, text in enumerate(words)],
        "a": list(images[0]),
        "b": [None if i % 5 == 0 else image for i, image in enumerate(images[1])],
        "label": ["cat" if i % 3 else "dog" for i in range(rows)],
        "split": ["train"] * (rows - 10) + ["test"] * 10,
    }


def _config(**changes) -> DataConfig:
    base = DataConfig(
        source=Spec("frame"),
        modalities=MODALITIES,
        targets={"label": Spec("category", column="label")},
        split=SplitConfig(column="split", names={"train": ("train",), "test": ("test",)}),
        batch_size=8,
        threads=0,
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return prepare(_config(), frame=_frame())


def _batches(data: Dataset, count: int = 12, **options):
    with data.loader("train", train=True, **{"seed": 7, **options}) as loader:
        return [next(loader) for _ in range(count)]


def _equal(ours, theirs) -> bool:
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    return all(map(np.array_equal, jax.tree.leaves(ours), jax.tree.leaves(theirs)))


@pytest.fixture(scope="module")
def undisturbed(data):
    return _batches(data)


def test_fields_and_shapes(undisturbed):
    batch = undisturbed[0]
    assert set(batch.inputs) == {"text", "image"}
    assert batch.inputs["image"]["pixel_values"].shape == (8, 8, 8, 3)
    assert batch.inputs["image"]["pixel_values"].dtype == np.float32
    assert batch.inputs["text"]["input_ids"].dtype == np.int32
    assert batch.inputs["text"]["attention_mask"].dtype == bool
    assert batch.targets["label"].dtype == np.int32
    assert batch.row.dtype == np.int32
    assert batch.row_mask.all()


def test_presence_follows_the_cells(undisturbed):
    for batch in undisturbed:
        absent = batch.row % 7 == 3
        assert np.array_equal(batch.present["text"], ~absent)
        assert not batch.inputs["text"]["attention_mask"][absent].any()
        assert batch.present["image"].all()


def test_targets_belong_to_their_rows(data, undisturbed):
    names = data.facts["targets"]["label"]["label_names"]
    for batch in undisturbed:
        want = [data.table.column("label")[row] for row in batch.row]
        assert [names[i] for i in batch.targets["label"]] == want


def test_an_epoch_is_a_permutation(undisturbed):
    rows = np.concatenate([batch.row for batch in undisturbed])
    assert sorted(rows[:40]) == list(range(40))
    assert sorted(rows[40:80]) == list(range(40))
    assert not np.array_equal(rows[:40], rows[40:80])
    assert not np.array_equal(rows[:40], np.arange(40))


@pytest.mark.parametrize("hosts", [2, 4])
def test_any_number_of_hosts_makes_the_same_global_batches(data, undisturbed, hosts):
    shares = [_batches(data, process_index=i, process_count=hosts) for i in range(hosts)]
    for whole, *parts in zip(undisturbed, *shares, strict=True):
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        assert _equal(joined, whole)


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_change_nothing(undisturbed, threads):
    data = prepare(_config(threads=threads), frame=_frame())
    assert all(map(_equal, _batches(data), undisturbed))


def test_a_worker_process_changes_nothing(undisturbed):
    data = prepare(_config(workers=1), frame=_frame())
    batches = _batches(data, 5, start=4)
    assert all(map(_equal, batches, undisturbed[4:9]))
    assert type(batches[0].row) is np.ndarray


@pytest.mark.parametrize("start", [1, 5, 11])
def test_starting_at_a_step_goes_on_as_if_never_stopped(data, undisturbed, start):
    with data.loader("train", train=True, seed=7) as loader:
        for _ in range(start):
            next(loader)
        state = loader.state()
    assert state == {"next_step": start, "fingerprint": data.fingerprint}
    rest = _batches(data, 12 - start, start=state["next_step"])
    assert all(map(_equal, rest, undisturbed[start:]))


def test_another_seed_is_another_order_and_augmentation(data, undisturbed):
    other = _batches(data, 3, seed=8)
    assert not any(np.array_equal(a.row, b.row) for a, b in zip(other, undisturbed, strict=False))
    seen = {}
    for batch in undisturbed:
        for row, pixels in zip(
            batch.row.tolist(), batch.inputs["image"]["pixel_values"], strict=True
        ):
            assert not any(np.array_equal(pixels, old) for old in seen.get(row, []))
            seen.setdefault(row, []).append(pixels)


def test_another_modality_changes_no_other(undisturbed):
    alone = prepare(_config(modalities={"image": MODALITIES["image"]}), frame=_frame())
    for batch, both in zip(_batches(alone), undisturbed, strict=True):
        assert _equal(batch.inputs["image"], both.inputs["image"])


def test_padded_lengths_come_from_a_closed_set_and_the_global_batch(data, undisturbed):
    seen = set()
    for batch in undisturbed:
        shape = batch.inputs["text"]["input_ids"].shape
        longest = batch.inputs["text"]["attention_mask"].sum(axis=1).max()
        assert shape[1] >= longest
        seen.add(shape[1])
    assert seen <= {4, 8, 24}
    small = [b.inputs["text"]["input_ids"].shape[1] for b in _batches(data, 30, batch_size=1)]
    assert len(set(small)) > 1


def test_evaluation_is_in_order_and_padded(data):
    with data.loader("test", train=False, batch_size=4) as loader:
        batches = list(loader)
    assert [batch.row.tolist() for batch in batches] == [
        [40, 41, 42, 43],
        [44, 45, 46, 47],
        [48, 49, -1, -1],
    ]
    last = batches[-1]
    assert last.row_mask.tolist() == [True, True, False, False]
    assert not last.present["image"][2:].any()
    assert not last.inputs["image"]["pixel_values"][2:].any()
    with data.loader("test", train=False, batch_size=4, start=2) as loader:
        (again,) = loader
    assert _equal(again, last)


def test_evaluation_takes_the_first_view_unchanged(data):
    with data.loader("test", train=False) as loader:
        batch = next(loader)
    want = np.stack([data.table.column("a")[row] for row in batch.row]) / 255.0
    np.testing.assert_allclose(batch.inputs["image"]["pixel_values"], want * 2 - 1, atol=1e-6)


def test_hosts_share_evaluation(data):
    parts = []
    for i in range(2):
        with data.loader("test", train=False, process_index=i, process_count=2) as loader:
            parts.append(list(loader))
    rows = [np.concatenate([a.row, b.row]) for a, b in zip(*parts, strict=True)]
    assert np.concatenate(rows)[:10].tolist() == list(range(40, 50))


def test_batches_must_divide_among_processes(data):
    with pytest.raises(ConfigError, match=r"MMX-112.*nearest: 6, 9"):
        data.loader("train", train=True, process_count=3)
    with pytest.raises(ConfigError, match="MMX-112"):
        data.loader("train", train=True, process_index=2, process_count=2)


def test_a_batch_may_be_larger_than_the_data():
    data = prepare(_config(batch_size=128), frame=_frame())
    (batch,) = _batches(data, 1)
    counts = np.bincount(batch.row, minlength=40)
    assert counts[:40].min() == 3
    assert counts.sum() == 128
    assert data.steps_per_epoch("train") == 1
    assert data.steps_per_epoch("train", batch_size=16) == 3


@pytest.mark.parametrize("threads", [0, 2])
def test_a_damaged_row_raises_and_closes_the_loader(threads):
    frame = _frame()
    config = _config(threads=threads)
    data = prepare(config, frame=frame)
    # Damage that came after the check, as when a file is overwritten during training.
    data.table.column("a")[20] = data.table.column("b")[20] = b"not a picture"
    loader = data.loader("train", train=True)
    with pytest.raises(DataError, match=r"MMX-404.*frame:20:[ab]"):
        list(zip(range(10), loader, strict=False))
    with pytest.raises(StopIteration):
        next(loader)


def test_waiting_is_counted(data):
    with data.loader("train", train=True) as loader:
        assert loader.wait_seconds == 0
        next(loader)
        once = loader.wait_seconds
        next(loader)
        assert 0 < once < loader.wait_seconds


def test_orders():
    rows = np.array([5, 3, 9])
    assert [batch.tolist() for batch in map(InOrder(rows, 2).__getitem__, range(2))] == [
        [5, 3],
        [9, -1],
    ]
    endless = Shuffled(rows, 2, seed=1)
    found = np.concatenate([endless[k] for k in range(300)]).reshape(-1, 3)
    assert (np.sort(found, axis=1) == [3, 5, 9]).all()
    # All six orders of three rows come about equally often.
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 15
