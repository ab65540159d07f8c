import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from tiny_tokens import PRESENT, SIZES, make_tokens, masks

from mmjax import fusion
from mmjax.core.errors import ConfigError

KEY = jax.random.key(0, impl="rbg")
HERE = np.array([PRESENT[name] for name in SIZES], bool).T


def run(params=None, **options):
    """The fused rows with these `weights` or `logits`, and what the sum must be of: [b m d]."""
    module = fusion.build("weighted_sum", width=8, **options)
    drawn = reference.random_variables(module, make_tokens(), train=False)["params"]
    drawn = {**drawn, **(params or {})}
    fused = jax.jit(lambda: module.apply({"params": drawn}, make_tokens(), train=False))()
    p = reference.double(drawn)
    parts = [
        np.where(HERE[:, i, None], reference.dense(p[f"{name}_pooled"], np.float64(one.pooled)), 0)
        for i, (name, one) in enumerate(make_tokens().items())
    ]
    tokens = [
        reference.dense(p[f"{n}_tokens"], np.float64(t.values)) for n, t in make_tokens().items()
    ]
    return fused, np.stack(parts, axis=1), np.concatenate(tokens, axis=1)


def by_modality(*values):
    """In another order than the config's: only the names count."""
    return dict(reversed(list(zip(SIZES, values, strict=True))))


@pytest.mark.parametrize(
    ("options", "params", "weights"),
    [
        ({"weights": "fixed"}, {}, (1 / 3, 1 / 3, 1 / 3)),
        ({"weights": "fixed", "values": by_modality(2.0, -1.0, 0.5)}, {}, (2.0, -1.0, 0.5)),
        ({"weights": "learned"}, {"weights": jnp.array([3.0, 2.0, 1.0])}, (1.0, 2.0, 3.0)),
        (
            {"weights": "softmax"},
            {"logits": jnp.log(jnp.array([0.5, 0.3, 0.2])) + 3.0},
            (0.2, 0.3, 0.5),
        ),
    ],
    ids=["equal", "fixed", "learned", "softmax"],
)
def test_weights(options, params, weights):
    fused, parts, tokens = run(params, **options)
    applied = np.where(HERE, weights, 0)
    np.testing.assert_allclose(fused.modality_weights, applied, atol=1e-6)
    pooled = np.einsum("bm,bmd->bd", applied, parts)
    np.testing.assert_allclose(fused.pooled, pooled, atol=1e-5)
    valid = np.concatenate(list(masks().values()), axis=1)
    expected = np.where(valid[..., None], tokens + pooled[:, None], 0)
    np.testing.assert_allclose(fused.values, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((2.0, 1.0, 1.0), [[0.5, 0.25, 0.25], [0, 0.5, 0.5], [0, 0, 1], [0, 0, 0]]),
        # Weights that cancel have no shares: they give 0, not infinities.
        ((1.0, 1.0, -1.0), [[1, 1, -1], [0, 0, 0], [0, 0, 1], [0, 0, 0]]),
    ],
)
def test_renormalised_over_the_modalities_of_each_row(values, expected):
    fused, parts, _ = run(weights="fixed", values=by_modality(*values), renormalise=True)
    np.testing.assert_allclose(fused.modality_weights, expected, atol=1e-6)
    np.testing.assert_allclose(fused.pooled, np.einsum("bm,bmd->bd", expected, parts), atol=1e-5)


def test_training_starts_from_the_values():
    for weights, name in (("learned", "weights"), ("softmax", "logits")):
        values = by_modality(0.2, 0.3, 0.5)
        module = fusion.build("weighted_sum", weights=weights, values=values)
        params = jax.jit(lambda module=module: module.init(KEY, make_tokens(), train=False))()
        start = np.asarray(params["params"][name])
        start = reference.softmax(start) if name == "logits" else start
        np.testing.assert_allclose(start, [0.5, 0.3, 0.2], atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"text": 1.0, "image": 2.0}, r"values for .*image.*text.*one value each for text, image"),
        (by_modality(1.0, -1.0, 1.0), r"softmax weights cannot start from -1\.0"),
    ],
)
def test_bad_values_are_refused(values, message):
    module = fusion.build("weighted_sum", values=values)
    with pytest.raises(ConfigError, match=message):
        reference.shapes(module, make_tokens(), train=False)
