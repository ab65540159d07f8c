"""R-Drop and mixup, against their papers' formulas in NumPy float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from rows_and_tokens import LABELS, NAMES, PRESENT, ROW_MASK, make_batch, make_module, other_labels

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.models.build import build_model
from mmjax.models.config import ModelConfig
from mmjax.models.regularizing import draw_mix, mix_tokens, symmetric_kl, twice
from mmjax.parallel.mesh import MeshConfig, make_mesh, traced_on
from mmjax.parallel.sharding import batch_sharding, put_batch, replicated

KEYS = {"dropout": jax.random.key(3, impl="rbg")}
BATCH = make_batch()
TAGS = (np.arange(32).reshape(8, 4) % 3 == 0).astype(bool)


def _kl(p, q):
    return np.sum(p * (np.log(p) - np.log(q)), axis=-1)


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_the_divergence_is_that_of_the_paper(kind):
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 5, 4)) * 3
    found = symmetric_kl(jnp.float32(first), jnp.float32(second), kind)
    if kind == "labels":
        yes = [1 / (1 + np.exp(-one)) for one in (first, second)]
        p, q = (np.stack([1 - one, one], axis=-1) for one in yes)
        expected = (_kl(p, q) + _kl(q, p)).mean(axis=1) / 2
    else:
        p, q = reference.softmax(first), reference.softmax(second)
        expected = (_kl(p, q) + _kl(q, p)) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    far = symmetric_kl(jnp.full((1, 4), 60.0), -jnp.full((1, 4), 60.0), "labels")
    np.testing.assert_allclose(far, 60.0, rtol=1e-6)


def test_partners_are_a_permutation_of_the_rows_that_count_and_shares_are_beta():
    counts = jnp.array([1, 0, 1, 1, 0], bool)
    keys = jax.random.split(jax.random.key(0), 4000)

    def drawn(key):
        mix = draw_mix(key, counts, 1.0)
        return mix.partner, mix.share

    partner, share = map(np.asarray, jax.jit(jax.vmap(drawn))(keys))
    assert (np.sort(partner, axis=1) == np.arange(5)).all()
    assert (partner[:, [1, 4]] == [1, 4]).all()
    for row in (0, 2, 3):
        seen = np.bincount(partner[:, row], minlength=5) / 4000
        np.testing.assert_allclose(seen[[0, 2, 3]], 1 / 3, atol=0.03)
    # Of a uniform number, the larger of it and its complement is uniform from 1/2 to 1.
    assert share.min() >= 0.5
    np.testing.assert_allclose(share.mean(), 0.75, atol=0.01)
    np.testing.assert_allclose(share.var(), 1 / 48, atol=2e-3)


@functools.partial(jax.jit, static_argnames=("train", "options"))
def _forward(variables, batch, train, options):
    return make_module(**dict(options)).apply(variables, batch, train=train, rngs=KEYS)


def run(variables, batch, *, train=True, **options):
    return _forward(variables, batch, train, tuple(sorted(options.items())))


@pytest.fixture(scope="module")
def variables():
    return reference.random_variables(make_module(), BATCH, train=False)


def _cross_entropy(chances, labels, rows):
    own = -np.log(np.float64(chances))[np.arange(len(labels)), labels]
    return own[rows].mean()


def test_r_drop_is_the_mean_loss_of_two_passes_and_their_divergence(variables):
    """Both passes are what the plain model says of the batch with every row twice."""
    plain = run(variables, jax.tree.map(np.asarray, twice(BATCH)), rate=0.5)
    chances = np.float64(plain.predictions["probabilities"])
    # A row without any modality has nothing to be dropped.
    some = np.any(list(PRESENT.values()), axis=0)
    np.testing.assert_array_equal((chances[::2] != chances[1::2]).any(axis=1), some)
    losses = [_cross_entropy(one, LABELS, ROW_MASK) for one in (chances[::2], chances[1::2])]
    p, q = chances[::2][ROW_MASK], chances[1::2][ROW_MASK]
    expected = np.mean(losses) + 0.7 * np.mean(_kl(p, q) + _kl(q, p)) / 2
    found = run(variables, BATCH, rate=0.5, r_drop=0.7)
    assert float(found.loss) == pytest.approx(expected, rel=1e-5)
    assert float(found.weight) == ROW_MASK.sum()
    np.testing.assert_allclose(found.predictions["probabilities"], chances[::2], atol=1e-6)
    sums = run(variables, BATCH, train=False).metrics
    assert {k: v.shape for k, v in found.metrics.items()} == {k: v.shape for k, v in sums.items()}


def test_without_dropout_r_drop_is_the_loss_itself_also_of_each_modality_alone(variables):
    ours = run(variables, BATCH, r_drop=2.0, auxiliary_loss=0.5)
    theirs = run(variables, BATCH, auxiliary_loss=0.5)
    assert float(ours.loss) == pytest.approx(float(theirs.loss), rel=1e-6)
    jax.tree.map(np.testing.assert_array_equal, ours.metrics, theirs.metrics)


def _mix_of(module, variables, batch):
    key = module.apply(variables, rngs=KEYS, method=lambda module: module.make_rng("dropout"))
    return draw_mix(key, jnp.asarray(batch.row_mask), 0.4)


def test_mixup_mixes_what_the_encoders_made_and_the_targets(variables):
    module = make_module(mixup=0.4)
    mix = _mix_of(module, variables, BATCH)
    tokens = module.apply(variables, BATCH, train=False, method="encode")
    mixed = mix_tokens(tokens, mix)
    partner, share = np.asarray(mix.partner), float(mix.share)
    assert (partner != np.arange(8)).any()
    assert 0.5 < share < 1
    for name in NAMES:
        one = tokens[name]
        values = np.float64(one.values) * np.asarray(one.mask)[..., None]
        expected = share * values + (1 - share) * values[partner]
        np.testing.assert_allclose(mixed[name].values, expected, atol=1e-6)
        pooled = np.float64(one.pooled)
        expected = share * pooled + (1 - share) * pooled[partner]
        np.testing.assert_allclose(mixed[name].pooled, expected, atol=1e-6)
        both = np.asarray(one.mask) | np.asarray(one.mask)[partner]
        np.testing.assert_array_equal(mixed[name].mask, both)
    fused = module.apply(variables, mixed, train=False, method="fuse")
    head = reference.double(variables["params"]["task"]["head"])
    chances = reference.softmax(reference.dense(head, np.float64(fused.pooled)))
    truth = share * np.eye(3)[LABELS] + (1 - share) * np.eye(3)[LABELS[partner]]
    expected = -(truth * np.log(chances)).sum(axis=1)[ROW_MASK].mean()
    found = run(variables, BATCH, mixup=0.4)
    assert float(found.loss) == pytest.approx(expected, rel=1e-5)
    ones = np.ones(8, np.int32)
    same = run(variables, other_labels(BATCH, ones), mixup=0.4)
    assert float(same.loss) == pytest.approx(_cross_entropy(chances, ones, ROW_MASK), rel=1e-5)


def test_evaluation_is_as_it_was(variables):
    ours = run(variables, BATCH, train=False, mixup=0.4, r_drop=1.0, rate=0.5)
    theirs = run(variables, BATCH, train=False)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.slow
def test_two_devices_see_what_one_does(variables):
    """Of labels, both at once, with dropout, losses of each alone, and stand-ins."""
    options = {
        "task": Spec("multi_label"),
        "task_facts": {"num_labels": 4},
        "rate": 0.5,
        "mixup": 0.4,
        "r_drop": 1.0,
        "auxiliary_loss": 0.5,
        "missing_tokens": True,
    }
    module, batch = make_module(**options), other_labels(BATCH, TAGS)
    own = reference.random_variables(module, batch, train=False)["params"]

    def loss(params, batch):
        return module.apply({"params": params}, batch, train=True, rngs=KEYS).loss

    found = []
    for count in (1, 2):
        mesh = make_mesh(MeshConfig(), jax.devices()[:count])
        step = jax.jit(
            traced_on(mesh, jax.value_and_grad(loss)),
            in_shardings=(replicated(mesh), batch_sharding(mesh)),
            out_shardings=replicated(mesh),
        )
        found.append(jax.device_get(step(own, put_batch(batch, mesh))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *found)
    assert np.isfinite(found[0][0])
    assert np.abs(found[0][1]["stand_ins_text"]["pooled"]).max() > 0


@pytest.mark.parametrize("setting", ["r_drop", "mixup"])
def test_what_has_no_distribution_is_refused_by_name(setting):
    with pytest.raises(ConfigError, match=f"{setting} is for .*'decision'"):
        make_module(fusion=Spec("decision"), **{setting: 1.0})
    with pytest.raises(ConfigError, match=f"{setting} is for .*'regression'"):
        make_module(Spec("regression"), task_facts={"mean": 0.0}, **{setting: 1.0})
    facts = {"modalities": {"text": {"vocab_size": 3}}, "targets": {}}
    config = ModelConfig({"text": Spec("bag_of_subwords", width=4)}, **{setting: 1.0})
    with pytest.raises(ConfigError, match=f"{setting} is for a task"):
        build_model(config, Spec("classification"), facts, {"a": Spec("masked_lm")})
    assert setting not in config_lib.to_json(ModelConfig())
    assert config_lib.to_json(ModelConfig(**{setting: 0.5}))[setting] == 0.5
