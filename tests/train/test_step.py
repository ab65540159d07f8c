"""The step on a linear regression, whose loss, gradient and update have closed forms."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmjax.core.types import Batch, TaskOutput
from mmjax.nn.dense import parameter
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import put_batch
from mmjax.train.config import OptimizerConfig
from mmjax.train.optim import frozen, make_optimizer, make_schedule
from mmjax.train.sharpness import sharpness_aware
from mmjax.train.state import plan_state
from mmjax.train.step import make_evaluate, make_step

ROWS, WIDTH = 8, 4
ONE = MeshConfig(1, 1, 1)
EIGHT = MeshConfig(2, 2, 2)
SGD = OptimizerConfig(
    name="sgd", momentum=0.0, learning_rate=0.1, schedule="linear", max_grad_norm=None
)


class Regression(nn.Module):
    """Mean squared error under the row mask; counts its calls as batch statistics are counted."""

    noise: float = 0.0
    param_dtype: object = jnp.float32

    @nn.compact
    def __call__(self, batch, *, train):
        kernel = parameter(
            self,
            "kernel",
            (WIDTH, 2),
            ("embed", "mlp"),
            init=nn.initializers.normal(1.0),
            param_dtype=self.param_dtype,
        )
        calls = self.variable("batch_stats", "calls", lambda: jnp.zeros((), jnp.int32))
        if train and not self.is_initializing():
            calls.value = calls.value + 1
        values = jnp.asarray(batch.inputs["x"]["values"])
        if train and self.noise:
            values += self.noise * jax.random.normal(self.make_rng("dropout"), values.shape)
        errors = ((values @ kernel - batch.targets["y"]) ** 2).sum(axis=1)
        weights = jnp.asarray(batch.row_mask, jnp.float32)
        weight = weights.sum()
        loss = jnp.sum(errors * weights) / jnp.maximum(weight, 1e-9)
        sums = {"squared": jnp.sum(errors * weights)}
        return TaskOutput(loss, weight, sums, {"values": values @ kernel})


def make_batch(seed, rows=ROWS, mask=None):
    rng = np.random.default_rng(seed)
    mask = np.ones(rows, bool) if mask is None else np.array(mask, bool)
    return Batch(
        {"x": {"values": rng.standard_normal((rows, WIDTH)).astype(np.float32)}},
        {"x": np.ones(rows, bool)},
        {"y": rng.standard_normal((rows, 2)).astype(np.float32)},
        mask,
        np.arange(rows, dtype=np.int32),
    )


@dataclasses.dataclass
class Compiled:
    """A step and a fresh state; every call starts from what it is given, which lives on."""

    module: nn.Module
    config: OptimizerConfig = SGD
    mesh_config: MeshConfig = ONE
    accumulate: int = 1
    ema_decay: float = 0.0
    average_from: int | None = None
    warmup: int = 0

    def __post_init__(self):
        many = self.mesh_config != ONE
        devices = jax.local_devices()
        self.mesh = make_mesh(self.mesh_config, devices if many else devices[:1])
        self.schedule = make_schedule(self.config, 10, self.warmup)
        optimizer = make_optimizer(self.config, self.schedule)
        if self.config.sam:
            optimizer = sharpness_aware(optimizer, self.config.sam)
        ema = bool(self.ema_decay) or self.average_from is not None
        self.plan = plan_state(self.module, optimizer, make_batch(0), self.mesh, seed=0, ema=ema)
        self.step = make_step(
            self.module,
            optimizer,
            self.schedule,
            self.mesh,
            self.plan.shardings,
            accumulate=self.accumulate,
            ema_decay=self.ema_decay,
            average_from=self.average_from,
        )
        self.start = jax.device_get(self.plan.make())

    def __call__(self, state, batch):
        placed = jax.device_put(state, self.plan.shardings)
        return jax.device_get(self.step(placed, put_batch(batch, self.mesh)))


@pytest.fixture(scope="module")
def compiled():
    made = functools.cache(lambda **options: Compiled(Regression(), **options))
    return lambda **options: made(**options)


def gradient(kernel, batch):
    kept = batch.row_mask
    x = np.float64(batch.inputs["x"]["values"])[kept]
    errors = x @ np.float64(kernel) - np.float64(batch.targets["y"])[kept]
    return (errors**2).sum(axis=1).mean(), 2 * x.T @ errors / len(x)


def test_loss_gradient_update_and_what_the_step_tells(compiled):
    run = compiled(ema_decay=0.9)
    state, rates = run.start, [0.1, 0.09, 0.08]
    for index, rate in enumerate(rates):
        batch = make_batch(index, mask=[1] * 7 + [0])
        loss, slope = gradient(state.params["kernel"], batch)
        new, values = run(state, batch)
        assert float(values["loss"]) == pytest.approx(loss, rel=1e-5)
        assert float(values["grad_norm"]) == pytest.approx(np.sqrt((slope**2).sum()), rel=1e-5)
        assert float(values["learning_rate"]) == pytest.approx(rate)
        assert float(values["sums"]["squared"]) == pytest.approx(7 * loss, rel=1e-5)
        decayed = slope + SGD.weight_decay * np.float64(state.params["kernel"])
        np.testing.assert_allclose(
            new.params["kernel"], state.params["kernel"] - rate * decayed, atol=1e-5
        )
        assert int(new.step) == int(new.collections["batch_stats"]["calls"]) == index + 1
        state = new
    assert run.step._cache_size() == 1


def test_the_average_follows_its_formula(compiled):
    """min(decay, (1 + step) / (10 + step)) of the old, the rest of the new."""
    run = compiled(ema_decay=0.2)
    state = run.start
    np.testing.assert_array_equal(state.ema["kernel"], state.params["kernel"])
    average = np.float64(state.ema["kernel"])
    for index in range(4):
        state, _ = run(state, make_batch(index))
        decay = min(0.2, (1 + index) / (10 + index))
        average = decay * average + (1 - decay) * np.float64(state.params["kernel"])
        np.testing.assert_allclose(state.ema["kernel"], average, atol=1e-6)
    assert state.best_params is state.ema
    assert compiled().start.best_params is compiled().start.params


def test_weights_are_averaged_from_a_step_on(compiled):
    averaging = compiled(average_from=2)
    state, seen = averaging.start, []
    for index in range(4):
        state, _ = averaging(state, make_batch(index))
        seen.append(np.float64(state.params["kernel"]))
        # One that is left out counts for nothing.
        bad = dataclasses.replace(make_batch(9), targets={"y": np.full((ROWS, 2), np.inf)})
        state, _ = averaging(state, bad)
        kept = seen[1:] or seen
        np.testing.assert_allclose(state.ema["kernel"], np.mean(kept, axis=0), rtol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_sharpness_aware_steps_take_the_gradient_uphill(accumulate):
    radius = 0.5
    config = dataclasses.replace(SGD, sam=radius, weight_decay=0.0)
    sharp = Compiled(Regression(), config, accumulate=accumulate)
    batch = make_batch(1)
    before = np.float64(sharp.start.params["kernel"])
    _, first = gradient(before, batch)
    _, there = gradient(before + radius * first / np.linalg.norm(first), batch)
    state, values = sharp(sharp.start, batch)
    np.testing.assert_allclose(state.params["kernel"], before - 0.1 * there, rtol=1e-5, atol=1e-6)
    assert np.abs(there - first).max() > 0.1
    np.testing.assert_allclose(values["grad_norm"], np.linalg.norm(first), rtol=1e-5)
    assert int(state.collections["batch_stats"]["calls"]) == accumulate


def test_where_the_way_uphill_leads_nowhere_the_gradient_is_taken():
    plain = dataclasses.replace(SGD, weight_decay=0.0)
    rule = sharpness_aware(make_optimizer(plain, lambda step: 0.1), 1.0)
    params, grads = {"w": jnp.ones(2)}, {"w": jnp.array([3.0, 4.0])}
    seen = []

    def nowhere(moved, _):
        seen.append(moved["w"])
        return {"w": jnp.full(2, jnp.nan)}

    updates, _ = rule.update(grads, rule.init(params), params, grad_fn=nowhere)
    np.testing.assert_allclose(seen[0], [1.6, 1.8], rtol=1e-6)
    np.testing.assert_allclose(updates["w"], [-0.3, -0.4], rtol=1e-6)
    with pytest.raises(ValueError, match="grad_fn"):
        rule.update(grads, rule.init(params), params)


@pytest.mark.parametrize("mask", [[1] * 8, [1, 1, 1, 0, 1, 0, 0, 0], [1, 0, 1, 0, 1, 0, 1, 0]])
@pytest.mark.parametrize("mesh", [ONE, EIGHT], ids=["one device", "eight"])
def test_micro_batches_give_the_gradient_of_the_whole(compiled, mask, mesh):
    """However the rows that count are spread over them, and though one has none of them."""
    whole, parts = compiled(), compiled(accumulate=2, mesh_config=mesh)
    batch = make_batch(1, mask=mask)
    ours, values = whole(whole.start, batch)
    other, found = parts(whole.start, batch)
    for name in ("loss", "grad_norm"):
        assert float(found[name]) == pytest.approx(float(values[name]), rel=1e-6)
    np.testing.assert_allclose(found["sums"]["squared"], values["sums"]["squared"], rtol=1e-6)
    np.testing.assert_allclose(ours.params["kernel"], other.params["kernel"], atol=1e-6)
    assert int(other.collections["batch_stats"]["calls"]) == 2


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_what_is_not_finite_changes_nothing_and_is_counted(compiled, bad, accumulate):
    run = compiled(ema_decay=0.9, accumulate=accumulate)
    before, _ = run(run.start, make_batch(0))
    state = before
    for count in (1, 2):
        batch = make_batch(count)
        batch.inputs["x"]["values"][3, 1] = bad
        state, values = run(state, batch)
        assert not np.isfinite(values["loss"])
        for name in ("params", "collections", "opt_state", "ema", "key"):
            jax.tree.map(np.testing.assert_array_equal, getattr(before, name), getattr(state, name))
        assert (int(state.step), int(state.skipped)) == (1 + count, count)
        assert int(state.skipped_in_a_row) == int(values["skipped_in_a_row"]) == count
    after, values = run(state, make_batch(5))
    assert (int(after.step), int(after.skipped), int(after.skipped_in_a_row)) == (4, 2, 0)
    assert (after.params["kernel"] != before.params["kernel"]).all()
    # The rate that is told is the one that was applied: skipped steps do not move the schedule.
    assert float(values["learning_rate"]) == pytest.approx(0.09)
    _, slope = gradient(before.params["kernel"], make_batch(5))
    decayed = slope + SGD.weight_decay * np.float64(before.params["kernel"])
    np.testing.assert_allclose(
        after.params["kernel"], before.params["kernel"] - 0.09 * decayed, atol=1e-5
    )


def test_a_finite_loss_with_gradients_that_are_not_is_skipped_too(compiled):
    run = compiled(ema_decay=0.9)
    state = run.start.replace(params={"kernel": np.zeros((WIDTH, 2), np.float32)})
    batch = make_batch(0)
    batch.inputs["x"]["values"][0] = 1e25
    batch.targets["y"][0] = 1e15
    new, values = run(state, batch)
    assert np.isfinite(values["loss"])
    assert not np.isfinite(values["grad_norm"])
    assert int(new.skipped) == 1
    assert not new.params["kernel"].any()


def test_random_streams_differ_by_step_and_repeat_after_a_resume():
    runs = [Compiled(Regression(noise=1.0), accumulate=accumulate) for accumulate in (1, 2)]
    halves = make_batch(0)
    for array in (halves.inputs["x"]["values"], halves.targets["y"]):
        array[:] = array[:1]
    for run in runs:
        first, values = run(run.start, halves)
        again, repeated = run(run.start, halves)
        assert float(values["loss"]) == float(repeated["loss"])
        jax.tree.map(np.testing.assert_array_equal, first, again)
        _, other = run(run.start.replace(step=np.int32(1)), halves)
        assert float(values["loss"]) != float(other["loss"])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_parameters_in_bfloat16_stay_so_and_their_average_is_in_float32(accumulate):
    module = Regression(param_dtype=jnp.bfloat16)
    run = Compiled(module, OptimizerConfig(), accumulate=accumulate, ema_decay=0.9999)
    state = run.start
    for index in range(2):
        new, _ = run(state, make_batch(index))
        assert jax.tree.map(lambda x: x.dtype, new) == jax.tree.map(lambda x: x.dtype, state)
        assert (new.params["kernel"] != state.params["kernel"]).any()
        assert (new.ema["kernel"] != state.ema["kernel"]).any()
        state = new
    assert state.params["kernel"].dtype == jnp.bfloat16
    assert state.ema["kernel"].dtype == jnp.float32


def test_a_state_is_made_where_it_lives_and_depends_on_the_seed_alone(compiled):
    ours, other = compiled(ema_decay=0.9), compiled(ema_decay=0.9, mesh_config=EIGHT)
    jax.tree.map(np.testing.assert_array_equal, ours.start, other.start)
    state = other.plan.make()
    assert state.params["kernel"].addressable_shards[0].data.shape == (WIDTH // 2, 1)
    assert state.ema["kernel"].sharding == state.params["kernel"].sharding
    same = jax.tree.map(
        lambda a, b: (a.shape, a.dtype, a.sharding) == (b.shape, b.dtype, b.sharding),
        other.plan.abstract,
        state,
    )
    assert all(jax.tree.leaves(same))
    differently = plan_state(
        Regression(),
        make_optimizer(SGD, ours.schedule),
        make_batch(0),
        ours.mesh,
        seed=1,
        ema=False,
    ).make()
    assert (np.asarray(differently.params["kernel"]) != ours.start.params["kernel"]).all()


def test_evaluation_is_whole_on_every_device(compiled):
    run = compiled(mesh_config=EIGHT)
    variables = {"params": run.start.params, **run.start.collections}
    shardings = {"params": run.plan.shardings.params, **run.plan.shardings.collections}
    evaluate = make_evaluate(run.module, run.mesh, shardings)
    batch = make_batch(2, mask=[1] * 6 + [0] * 2)
    output = evaluate(jax.device_put(variables, shardings), put_batch(batch, run.mesh))
    loss, _ = gradient(run.start.params["kernel"], batch)
    assert float(output.loss) == pytest.approx(loss, rel=1e-5)
    assert float(output.weight) == 6
    values = output.predictions["values"]
    assert values.sharding.is_fully_replicated
    expected = batch.inputs["x"]["values"] @ run.start.params["kernel"]
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_modules_that_are_equal_are_evaluated_by_one_program(compiled):
    run = compiled()

    def program(module):
        variables = {"params": run.plan.shardings.params, **run.plan.shardings.collections}
        return make_evaluate(module, run.mesh, variables)

    assert program(Regression()) is program(Regression())
    assert program(Regression(noise=0.5)) is not program(Regression())
    held = np.ones(2)
    assert program(Regression(param_dtype=held)) is not program(Regression(param_dtype=held))


def test_frozen_parameters_cost_no_gradient():
    config = dataclasses.replace(SGD, multipliers={"kernel": 0.0})
    one = Compiled(Regression(), config=config)
    optimizer = make_optimizer(config, one.schedule)
    args = (one.module, optimizer, one.schedule, one.mesh, one.plan.shardings)
    still = make_step(*args, frozen={"kernel": True})
    state, batch = one.plan.make(), put_batch(make_batch(0), one.mesh)
    flops = [step.lower(state, batch).cost_analysis()["flops"] for step in (one.step, still)]
    assert flops[1] < 0.8 * flops[0]
    before = np.asarray(state.params["kernel"])
    state, values = still(state, batch)
    assert values["grad_norm"] == 0
    assert values["loss"] > 0
    np.testing.assert_array_equal(state.params["kernel"], before)


def test_what_is_frozen_is_what_has_the_factor_0():
    params = {"encoders_text": {"kernel": jnp.ones((3, 4))}, "task": {"kernel": jnp.ones((4, 2))}}
    assert frozen(params, {"encoders_text": 0.1}) is None
    still = frozen(params, {"encoders_text": 0.0})
    assert still == {"encoders_text": {"kernel": True}, "task": {"kernel": False}}
