"""Learnt stand-ins: where they go, what they learn, and what stays as it was."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from rows_and_tokens import NAMES, PRESENT, ROW_MASK, make_batch, make_module

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Tokens
from mmjax.models.build import build_model
from mmjax.models.config import ModelConfig
from mmjax.models.missing import StandIn
from mmjax.parallel.mesh import MeshConfig, make_mesh, traced_on
from mmjax.parallel.sharding import batch_sharding, put_batch, replicated

KEYS = {"dropout": jax.random.key(0, impl="rbg")}
BATCH = make_batch()


def test_a_row_that_lacks_the_modality_gets_the_token_and_the_summary_that_are_learnt():
    rng = np.random.default_rng(0)
    mask = np.array([[1, 1], [0, 0], [0, 1], [0, 0]], bool)
    values = rng.standard_normal((4, 2, 3)).astype(np.float32)
    pooled = np.where(mask.any(1)[:, None], rng.standard_normal((4, 5)), 0).astype(np.float32)
    token, own = rng.standard_normal(3).astype(np.float32), rng.standard_normal(5)
    params = {"token": token, "pooled": own.astype(np.float32)}
    weights = rng.standard_normal((4, 2, 3)).astype(np.float32)

    def run(params):
        tokens = Tokens(*map(jnp.asarray, (values, mask, pooled)))
        found = StandIn().apply({"params": params}, tokens)
        return jnp.sum(jnp.where(found.mask[..., None], found.values, 0) * weights), found

    slope, found = jax.grad(run, has_aux=True)(params)
    there = mask.any(axis=1)
    np.testing.assert_array_equal(found.values[there], values[there])
    np.testing.assert_array_equal(found.pooled[there], pooled[there])
    np.testing.assert_array_equal(found.mask, mask | [[0, 0], [1, 0], [0, 0], [1, 0]])
    np.testing.assert_array_equal(found.values[~there, 0], [token, token])
    np.testing.assert_array_equal(found.pooled[~there], np.float32([own, own]))
    expected = np.float64(weights)[~there, 0].sum(axis=0)
    np.testing.assert_allclose(slope["token"], expected, rtol=1e-6)


@pytest.fixture(scope="module")
def variables():
    return reference.random_variables(make_module(missing_tokens=True), BATCH, train=False)


@functools.partial(jax.jit, static_argnames=("train", "options"))
def _forward(variables, batch, train, options):
    return make_module(**dict(options)).apply(variables, batch, train=train, rngs=KEYS)


def run(variables, batch, *, train=False, **options):
    return _forward(variables, batch, train, tuple(sorted(options.items())))


@jax.jit
def slopes_of(variables, batch):
    """Of the loss by the parameters, and by what the encoders make."""

    def loss(params, values):
        inputs = {n: {**batch.inputs[n], "values": values[n]} for n in values}
        given = dataclasses.replace(batch, inputs=inputs)
        module = make_module(missing_tokens="stand_ins_text" in params)
        return module.apply({"params": params}, given, train=False).loss

    values = {name: one["values"] for name, one in batch.inputs.items()}
    return jax.grad(loss, argnums=(0, 1))(variables["params"], values)


def _filled(variables, batch):
    """The batch in which encoders give what should stand in, as if every row had everything."""
    own = variables["params"]
    inputs = {}
    for name, one in batch.inputs.items():
        gone = ~batch.present[name][:, None]
        first = gone & (np.arange(3) == 0)
        token = own[f"stand_ins_{name}"]["token"]
        inputs[name] = {
            "values": np.where(first[..., None], token, one["values"]),
            "mask": np.where(gone, first, one["mask"]),
        }
    present = {name: np.ones(8, bool) for name in NAMES}
    return dataclasses.replace(batch, inputs=inputs, present=present)


def test_the_fusion_sees_them_as_if_an_encoder_had_made_them(variables):
    own = dict(variables["params"])
    for name in NAMES:  # The summary of one token is that token.
        token = own[f"stand_ins_{name}"]["token"]
        own[f"stand_ins_{name}"] = {"token": token, "pooled": token}
    given = {"params": own}
    ours = run(given, BATCH, missing_tokens=True)
    plain = {"params": {k: v for k, v in own.items() if not k.startswith("stand_ins")}}
    theirs = run(plain, _filled(given, BATCH))
    assert float(ours.loss) == pytest.approx(float(theirs.loss), rel=1e-6)
    chances = (ours.predictions["probabilities"], theirs.predictions["probabilities"])
    np.testing.assert_allclose(*chances, atol=1e-6)
    (slopes, _), (_, inputs) = slopes_of(given, BATCH), slopes_of(plain, _filled(given, BATCH))
    for name in NAMES:
        learnt = sum(np.asarray(slopes[f"stand_ins_{name}"][k]) for k in ("token", "pooled"))
        expected = np.asarray(inputs[name])[~PRESENT[name], 0].sum(axis=0)
        assert np.abs(expected).max() > 1e-4
        np.testing.assert_allclose(learnt, expected, atol=1e-6)


def test_rows_that_have_everything_are_as_without_bit_for_bit(variables):
    plain = {k: v for k, v in variables["params"].items() if not k.startswith("stand_ins")}
    ours = run(variables, BATCH, missing_tokens=True)
    theirs = run({"params": plain}, BATCH)
    whole = np.all(list(PRESENT.values()), axis=0)
    found, expected = (np.asarray(one.predictions["probabilities"]) for one in (ours, theirs))
    np.testing.assert_array_equal(found[whole], expected[whole])
    assert (found[~whole] != expected[~whole]).any(axis=1).all()


def test_what_dropout_hides_is_stood_in_for(variables):
    module = make_module(missing_tokens=True, modality_dropout=0.6)
    tokens = module.apply(variables, BATCH, train=True, rngs=KEYS, method="encode")
    kept = {name: np.asarray(one.mask.any(axis=1)) for name, one in tokens.items()}
    assert any((kept[name] != PRESENT[name]).any() for name in NAMES)
    ours = run(variables, BATCH, train=True, missing_tokens=True, modality_dropout=0.6)
    theirs = run(variables, make_batch(kept), missing_tokens=True)
    assert float(ours.loss) == pytest.approx(float(theirs.loss), rel=1e-6)


def test_losses_of_a_modality_alone_see_nothing_of_the_others(variables):
    """They are those of evaluations with the others taken away, over the rows that have it."""
    main = run(variables, BATCH, missing_tokens=True)
    extra = 0.0
    for name in NAMES:
        alone = {other: here & (other == name) for other, here in PRESENT.items()}
        batch = make_batch(alone, ROW_MASK & PRESENT[name])
        own = run(variables, batch, missing_tokens=True)
        extra += float(own.loss) * float(own.weight)
    expected = float(main.loss) + 0.5 * extra / float(main.weight)
    found = run(variables, BATCH, train=True, missing_tokens=True, auxiliary_loss=0.5)
    assert float(found.loss) == pytest.approx(expected, rel=1e-6)


def test_two_devices_learn_what_one_does(variables):
    mesh = make_mesh(MeshConfig(), jax.devices()[:2])
    module = make_module(missing_tokens=True)

    def loss(params, batch):
        return module.apply({"params": params}, batch, train=False).loss

    sharded = jax.jit(
        traced_on(mesh, jax.value_and_grad(loss)),
        in_shardings=(replicated(mesh), batch_sharding(mesh)),
        out_shardings=replicated(mesh),
    )
    found, slopes = sharded(variables["params"], put_batch(BATCH, mesh))
    output, expected = run(variables, BATCH, missing_tokens=True), slopes_of(variables, BATCH)[0]
    assert float(found) == pytest.approx(float(output.loss), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), slopes, expected)


def test_encoders_that_exchange_tokens_are_stood_in_for_in_the_last_fusion():
    hybrid = Spec("hybrid", fusion=Spec("concat", width=8))
    words = {"vocab_size": 5, "max_length": 3}
    facts = {
        "modalities": {"a": words, "b": words},
        "targets": {"label": {"num_labels": 2}},
    }
    small = Spec("text_transformer", depth=1, width=4, heads=1, mlp_dim=4)
    config = ModelConfig({"a": small, "b": small}, fusion=hybrid, missing_tokens=True)
    module = build_model(config, Spec("classification"), facts)
    assert set(module.stand_ins) == {"a", "b"}
    tokens = {
        name: Tokens(jnp.ones((2, 3, 4)), jnp.ones((2, 3), bool), jnp.ones((2, 4)))
        for name in ("a", "b")
    }
    tokens["b"] = dataclasses.replace(tokens["b"], mask=jnp.array([[1, 1, 1], [0, 0, 0]], bool))
    shapes = reference.shapes(module, tokens, train=False, method="fuse")["params"]
    params = reference.random_like(shapes)
    assert set(params["stand_ins_b"]) == {"token", "pooled"}

    @jax.jit
    def fused(params):
        apply = functools.partial(module.apply, {"params": params}, tokens, train=False)
        return apply(method="fuse").pooled, apply(method="join").pooled

    ours, plain = fused(params)
    np.testing.assert_array_equal(ours[0], plain[0])
    assert (np.asarray(ours[1]) != np.asarray(plain[1])).any()


def test_where_nothing_can_stand_in_it_is_refused():
    with pytest.raises(ConfigError, match="'decision' asks the modalities that a row has"):
        make_module(missing_tokens=True, fusion=Spec("decision"))
    encoders = {"text": Spec("bag_of_subwords", width=4)}
    facts = {"modalities": {"text": {"vocab_size": 3}}, "targets": {}}
    config = ModelConfig(encoders, missing_tokens=True)
    with pytest.raises(ConfigError, match="missing_tokens is for a task"):
        build_model(config, Spec("classification"), facts, {"a": Spec("masked_lm")})
    assert not make_module(encoders=encoders, missing_tokens=True).stand_ins


def test_configs_without_it_are_written_as_they_were():
    assert "missing_tokens" not in config_lib.to_json(ModelConfig())
    stored = config_lib.to_json(ModelConfig(missing_tokens=True))
    assert config_lib.from_json(ModelConfig, stored).missing_tokens
