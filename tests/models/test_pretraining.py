"""Several objectives on one set of forwards, whole and in micro-batches."""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmjax import objectives
from mmjax.core.types import Batch, Tokens
from mmjax.models.pretraining import JointProjections, Pretraining
from mmjax.nn.dense import dense
from mmjax.nn.pooling import masked_mean
from mmjax.objectives.base import Objective, Request, output
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import put_batch
from mmjax.train.config import OptimizerConfig
from mmjax.train.optim import make_optimizer, make_schedule
from mmjax.train.state import plan_state
from mmjax.train.step import make_step

ROWS, WIDTH = 16, 8
CALLS = []


class Small(nn.Module):
    """One dense layer on the values it is given."""

    @nn.compact
    def __call__(self, values, *, train):
        CALLS.append(self.name)
        values = nn.tanh(dense(WIDTH, ("embed", "mlp"), name="layer")(jnp.asarray(values)))
        mask = jnp.ones(values.shape[:2], bool)
        return Tokens(values, mask, masked_mean(values, mask))


class Hidden(Objective, kw_only=True):
    """Guesses one channel of the text that was set to 0, with or without the averaged encoder."""

    momentum: bool = False
    batch_coupled: ClassVar[bool] = False

    def requests(self):
        def corrupt(fields, keys):
            chosen = jax.vmap(lambda key: jax.random.randint(key, (), 0, WIDTH))(keys)
            here = jnp.arange(WIDTH) == chosen[:, None, None]
            values = jnp.asarray(fields["values"])
            return {"values": jnp.where(here, 0, values)}, {"hidden": (values * here).sum((1, 2))}

        return {"text/hidden": Request("text", corrupt, momentum=self.momentum)}

    @nn.compact
    def __call__(self, context, *, train):
        encoded = context.encoded["text/hidden"]
        guess = dense(1, ("embed", "labels"), name="head")(encoded.tokens.pooled)[:, 0]
        error = (guess - encoded.labels["hidden"]) ** 2
        return output(error, context.rows("text").astype(jnp.float32))


def make_batch(seed=0):
    rng = np.random.default_rng(seed)
    row_mask = np.arange(ROWS) < ROWS - 1
    return Batch(
        inputs={
            name: {"values": rng.standard_normal((ROWS, 2, WIDTH)).astype(np.float32)}
            for name in ("text", "image")
        },
        present={"text": row_mask & (np.arange(ROWS) != 3), "image": row_mask},
        targets={},
        row_mask=row_mask,
        row=np.where(row_mask, np.arange(ROWS), -1).astype(np.int32),
    )


def make_module(**terms):
    return Pretraining(
        encoders={"text": Small(), "image": Small()},
        objectives=terms,
        joint=JointProjections(width=4),
    )


BOTH = make_module(
    pairs=objectives.build("contrastive", temperature=0.2), hidden=Hidden(weight=0.5)
)


def one_step(module, accumulate, mesh_config, *, ema=False):
    """The state after a step of plain gradient descent, and what the step returned."""
    many = mesh_config != MeshConfig(1, 1, 1)
    mesh = make_mesh(mesh_config, jax.devices() if many else jax.devices()[:1])
    config = OptimizerConfig(
        name="sgd", momentum=0.0, learning_rate=1.0, weight_decay=0.0, max_grad_norm=None
    )
    schedule = make_schedule(config, 10, 0)
    optimizer = make_optimizer(config, schedule)
    plan = plan_state(module, optimizer, make_batch(), mesh, seed=0, ema=ema)
    step = make_step(
        module,
        optimizer,
        schedule,
        mesh,
        plan.shardings,
        accumulate=accumulate,
        total_steps=10,
        ema_decay=0.9 if ema else 0.0,
    )
    state, batch = plan.make(), put_batch(make_batch(), mesh)
    with jax.transfer_guard("disallow"):
        state, values = step(state, batch)
    return jax.device_get((state, values))


@pytest.fixture(scope="module")
def whole():
    return one_step(BOTH, 1, MeshConfig(1, 1, 1))


@pytest.mark.parametrize(
    ("accumulate", "mesh"),
    [(4, MeshConfig(1, 1, 1)), (2, MeshConfig(2, 2, 2))],
    ids=str,
)
def test_micro_batches_and_meshes_give_the_gradient_of_the_whole_batch(whole, accumulate, mesh):
    state, values = one_step(BOTH, accumulate, mesh)
    assert values["loss"] == pytest.approx(float(whole[1]["loss"]), rel=1e-6)
    assert values["grad_norm"] == pytest.approx(float(whole[1]["grad_norm"]), rel=2e-6)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=2e-6),
        (state.params, values["sums"]),
        (whole[0].params, whole[1]["sums"]),
    )


def test_losses_that_are_added_up_naively_are_another_thing(whole):
    """What the cache is for: micro-batches of a contrastive loss see fewer negatives."""
    alone = make_module(pairs=objectives.build("contrastive", temperature=0.2))
    module = Uncoupled(
        **{
            f.name: getattr(alone, f.name)
            for f in dataclasses.fields(alone)
            if f.name in ("encoders", "objectives", "joint")
        }
    )
    _, naive = one_step(module, 4, MeshConfig(1, 1, 1))
    _, right = one_step(alone, 4, MeshConfig(1, 1, 1))
    assert abs(naive["loss"] - right["loss"]) > 0.5


class Uncoupled(Pretraining):
    batch_coupled = False


def test_each_forward_is_made_once():
    variables = BOTH.init(jax.random.key(0), make_batch(), train=False)
    CALLS.clear()
    jax.eval_shape(lambda: BOTH.apply(variables, make_batch(), train=False))
    assert sorted(CALLS) == ["encoders_image", "encoders_text", "encoders_text"]


def test_metrics_and_predictions_have_names():
    @jax.jit
    def run():
        variables = BOTH.init(jax.random.key(0), make_batch(), train=False)
        return BOTH.apply(variables, make_batch(), train=False)

    found = run()
    names = {"pairs/loss_sum", "pairs/count", "hidden/loss_sum", "hidden/count"}
    assert names <= set(found.metrics)
    assert float(found.metrics["hidden/count"]) == ROWS - 2
    loss = {
        name: float(found.metrics[f"{name}/loss_sum"] / found.metrics[f"{name}/count"])
        for name in BOTH.objectives
    }
    assert float(found.loss) == pytest.approx(loss["pairs"] + 0.5 * loss["hidden"], rel=1e-6)
    lengths = np.linalg.norm(found.predictions["text"], axis=1)
    np.testing.assert_allclose(lengths, make_batch().present["text"], atol=1e-6)


def test_the_averaged_encoder_gives_its_tokens_and_takes_no_gradient():
    module = make_module(hidden=Hidden(momentum=True))
    assert module.uses_momentum
    state, _ = one_step(module, 1, MeshConfig(1, 1, 1), ema=True)
    start, _ = one_step(module, 1, MeshConfig(1, 1, 1), ema=True)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), state.params, start.params)
    assert max(jax.tree.leaves(moved)) == 0.0
    fresh = module.init(jax.random.key(1), make_batch(), train=False)["params"]
    fresh = nn.unbox(fresh)

    def tokens_of(text, momentum):
        variables = {"params": {**fresh, "encoders_text": text}, "momentum": momentum}
        return module.apply(variables, make_batch(), train=False).loss

    other = jax.tree.map(lambda x: x + 1.0, fresh)
    ours = jax.grad(functools.partial(tokens_of, momentum=fresh))(fresh["encoders_text"])
    assert all(not np.asarray(g).any() for g in jax.tree.leaves(ours))
    assert float(tokens_of(fresh["encoders_text"], fresh)) != float(
        tokens_of(fresh["encoders_text"], other)
    )


def test_a_weight_follows_its_schedule():
    objective = Hidden(weight=2.0, schedule=((0.0, 0.0), (0.5, 1.0)))
    found = [float(objective.factor(jnp.float32(at))) for at in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([0.0, 1.0, 2.0, 2.0])


def test_an_objective_must_say_whether_rows_see_each_other():
    with pytest.raises(TypeError, match="Silent must say whether it is batch_coupled"):

        class Silent(Objective):
            pass
