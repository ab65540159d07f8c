"""Steps on packed arrays, and several in one program, are the trainer's own steps."""

import jax
import numpy as np
import pytest
import tiny_run

from mmjax.core.types import Batch
from mmjax.data.pipeline import prepare
from mmjax.parallel.sharding import put_batch
from mmjax.train.heap import keep_freed
from mmjax.train.packed import SMALL, Layout, Packed, pack
from mmjax.train.periods import Periods
from mmjax.train.stepping import Stepping, Within, calls
from mmjax.train.trainer import Trainer
from mmjax.train.window import Window


def a_tree():
    rng = np.random.default_rng(0)
    return {
        "bias": rng.normal(size=3).astype(np.float32),
        "kernel": rng.normal(size=(SMALL, 2)).astype(np.float32),
        "none": None,
        "step": np.int32(7),
        "empty": np.zeros((0, 2), np.float32),
        "half": [np.arange(4, dtype=np.float16).reshape(2, 2), np.float32(2.5)],
    }


def test_what_is_packed_comes_out_as_it_went_in():
    tree = a_tree()
    packed = pack(tree, join=np.concatenate)
    assert [leaf.shape for leaf in packed.large] == [(SMALL, 2)]
    sizes = {str(vector.dtype): vector.size for vector in packed.vectors}
    assert sizes == {"float32": 3 + 0 + 1, "int32": 1, "float16": 4}
    assert jax.tree.structure(packed.tree) == jax.tree.structure(tree)
    for found, given in zip(jax.tree.leaves(packed.tree), jax.tree.leaves(tree), strict=True):
        assert (found.shape, found.dtype) == (given.shape, given.dtype)
        np.testing.assert_array_equal(found, given)


def test_one_program_for_trees_of_one_layout():
    assert Layout.of(a_tree()) == Layout.of(a_tree())
    assert hash(Layout.of(a_tree())) == hash(Layout.of(a_tree()))
    assert Layout.of(a_tree()) != Layout.of({**a_tree(), "bias": np.zeros(4, np.float32)})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    data = tiny_run.write_data(tmp_path_factory.mktemp("data"))
    with tiny_run.one_device():
        config = tiny_run.config(data)
        dataset = prepare(config.data)
        trainer = Trainer.build(config, dataset)
        trainer.begin()
        with dataset.loader("train", train=True, seed=0) as loader:
            batches = [next(loader) for _ in range(3)]
    return trainer, batches


def same_numbers(found, expected):
    """But for the order in which XLA adds numbers up, such as those of a group norm, which it
    chooses for each program."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7), found, expected
    )


def test_packed_steps_are_the_step(tiny):
    trainer, batches = tiny
    start = jax.device_get(trainer.state)
    plain, told = jax.device_put(start, trainer.plan.shardings), []
    for batch in batches:
        plain, values = trainer.step(plain, put_batch(batch, trainer.mesh))
        told.append(jax.device_get(values))
    stepping = Stepping(trainer.step, jax.device_put(start), trainer.mesh)
    for batch, expected in zip(batches, told, strict=True):
        values = jax.device_get(stepping.take([batch])[0])
        assert isinstance(values, Packed)
        same_numbers(values.tree, expected)
        # Reading the state in between takes nothing from the next step.
        middle = jax.device_get(stepping.state)
    assert stepping.programs == 1
    for found in (middle, jax.device_get(stepping.state)):
        assert jax.tree.structure(found) == jax.tree.structure(plain)
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(plain), strict=True):
            assert ours.dtype == theirs.dtype
        same_numbers(found, plain)


def test_several_steps_in_one_program_are_the_steps(tiny):
    trainer, batches = tiny
    start = jax.device_get(trainer.state)
    one = Stepping(trainer.step, start, trainer.mesh)
    told = [jax.device_get(one.take([batch])[0]).tree for batch in batches]
    several = Stepping(trainer.step, start, trainer.mesh, 2)
    window = Window()
    # The second call is of one step alone.
    for some in (batches[:2], batches[2:]):
        for values in several.take(some):
            assert isinstance(values, Within)
            window.add(values)
    assert several.programs == 1
    same_numbers(window.read(), told)
    same_numbers(jax.device_get(several.state), jax.device_get(one.state))


def test_calls_end_where_something_is_due_and_where_shapes_change():
    def batch(row, width=3):
        ids = np.zeros((2, width), np.int32)
        return Batch({"text": {"input_ids": ids}}, {}, {}, np.ones(2, bool), np.full(2, row))

    periods = Periods(total=11, warmup=0, log=5, evaluate=7, save=0)
    wide = [batch(row) for row in range(12)]
    found = list(calls(iter(wide), periods, 0, 3))
    steps = [[int(one.row[0]) for one in batches] for batches, _ in found]
    assert steps == [[0, 1, 2], [3, 4], [5], [6], [7, 8], [9], [10]]
    assert not any(ahead for _, ahead in found)
    # The same calls from where they are resumed.
    assert [len(batches) for batches, _ in calls(iter(wide[7:]), periods, 7, 3)] == [2, 1, 1]

    mixed = [batch(0), batch(1), batch(2, 4), batch(3, 4)]
    found = list(calls(iter(mixed), Periods(total=4, warmup=0, log=0, evaluate=0, save=0), 0, 9))
    assert [(len(batches), ahead) for batches, ahead in found] == [(2, True), (2, False)]


def test_a_state_that_was_read_stays_what_it_was_and_one_that_is_set_is_taken_on(tiny):
    trainer, batches = tiny
    stepping = Stepping(trainer.step, jax.tree.map(np.asarray, trainer.state), trainer.mesh)
    stepping.take(batches[:1])
    read = stepping.state
    small = np.array(read.params["task"]["head"]["bias"])
    stepping.take(batches[1:2])
    jax.block_until_ready(stepping.state)
    np.testing.assert_array_equal(read.params["task"]["head"]["bias"], small)

    stepping.state = stepping.state.replace(step=np.int32(40))
    stepping.take(batches[2:])
    assert int(stepping.state.step) == 41


def test_what_the_environment_says_of_the_heap_holds(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert keep_freed() is False
