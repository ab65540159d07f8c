import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.core.types import Decoded
from mmjax.encoders.causal_lm import CausalEncoder, CausalLM, alibi_slopes
from mmjax.nn.valid_positions import count_valid

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 13, (3, 6)).astype(np.int32)
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]], bool)
SIZES = {"vocab_size": 13, "max_length": 8, "width": 8, "depth": 2, "heads": 4, "mlp_dim": 16}

OPTIONS = {
    "learned": {"factor_by_layer": True, "windows": (0, 2)},
    "rotary": {
        "positions": "rotary",
        "rotary_dim": 4,
        "head_dim": 6,
        "kv_heads": 2,
        "gated": True,
        "norm_kind": "rms",
        "parallel": "two_norms",
        "use_bias": False,
        "tied": False,
        "windows": (3,),
    },
    "alibi": {
        "positions": "alibi",
        "embeddings_norm": True,
        "parallel": "one_norm",
        "fused": True,
    },
}


@pytest.fixture(scope="module", params=sorted(OPTIONS))
def model(request):
    module = CausalLM(**SIZES, **OPTIONS[request.param])
    return module, reference.random_variables(module, IDS, MASK, train=False)


def run(module, variables, ids=IDS, mask=MASK, **further) -> Decoded:
    return jax.jit(lambda v, i, m, f: module.apply(v, i, m, **f, train=False))(
        variables, ids, mask, further
    )


def test_looks_back_only_and_never_at_padding(model):
    module, variables = model
    step = jax.jit(lambda ids: module.apply(variables, ids, MASK, train=False).logits)
    logits = step(IDS)
    for place in range(6):
        later = IDS.copy()
        later[:, place] = (later[:, place] + 1) % 13
        changed = step(later)
        np.testing.assert_array_equal(changed[:, :place], logits[:, :place])
        same = MASK & ~MASK[:, [place]]
        np.testing.assert_array_equal(np.asarray(changed)[same], np.asarray(logits)[same])
        assert (np.abs(changed - logits)[MASK[:, place], place] > 0).all()


def test_left_padding_is_right_padding_shifted(model):
    module, variables = model
    left = run(module, variables, position_ids=np.maximum(count_valid(jnp.asarray(MASK)), 0))
    ids, mask = np.roll(IDS[2:], -2, 1), np.roll(MASK[2:], -2, 1)
    right = run(module, variables, ids, mask, position_ids=np.arange(6)[None])
    np.testing.assert_allclose(left.logits[2, 2:], right.logits[0, :4], atol=1e-5)
    np.testing.assert_allclose(left.tokens.pooled[2], right.tokens.pooled[0], atol=1e-5)
    last = left.tokens.values[np.arange(3), [5, 2, 5]]
    np.testing.assert_allclose(left.tokens.pooled, last, atol=1e-6)


def test_scanned_layers_compute_the_same(model):
    module, variables = model
    inner = dict(variables["params"])
    layers = [inner["stack"][f"layer_{i}"] for i in range(2)]
    inner["stack"] = {"layers": jax.tree.map(lambda *rows: np.stack(rows), *layers)}

    def slopes(module, params):
        def loss(params):
            logits = module.apply({"params": params}, IDS, MASK, train=False).logits
            return (logits[MASK] ** 2).mean()

        return jax.jit(jax.value_and_grad(loss))(params)

    value, gradients = slopes(module, variables["params"])
    scanned, stacked = slopes(module.clone(scan=True, remat="full"), inner)
    np.testing.assert_allclose(scanned, value, rtol=1e-5)
    for i in range(2):
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-5),
            stacked["stack"]["layers"],
            gradients["stack"][f"layer_{i}"],
        )


def test_windows_are_how_far_back_a_layer_looks():
    module = CausalEncoder(**{**SIZES, "depth": 3}, windows=(2, 0, 1))
    variables = reference.random_variables(module, IDS, MASK, train=False)
    _, state = module.apply(variables, IDS, train=False, mutable=["intermediates"])
    places = np.arange(6)
    back = places[:, None] - places
    for layer, window in enumerate((2, 6, 1)):
        (weights,) = state["intermediates"]["stack"][f"layer_{layer}"]["attention"]["weights"]
        seen = np.broadcast_to((back >= 0) & (back < window), weights.shape)
        np.testing.assert_array_equal(np.asarray(weights) > 0, seen)


def test_refuses_what_it_has_no_parameters_for():
    module = CausalEncoder(**SIZES)
    with pytest.raises(ConfigError, match="9 tokens are more than max_length=8"):
        reference.shapes(module, np.zeros((1, 9), np.int32), train=False)
    with pytest.raises(ConfigError, match="token_type_ids"):
        reference.shapes(module, IDS, MASK, IDS, train=False)


@pytest.mark.parametrize("heads", [1, 2, 8, 12])
def test_alibi_slopes_are_a_geometric_series(heads):
    slopes = alibi_slopes(heads)
    whole = min(heads, 8)
    np.testing.assert_allclose(slopes[:whole], (2.0 ** (-8 / whole)) ** np.arange(1, whole + 1))
    if heads == 12:  # Press et al.: every other slope of 16 heads.
        np.testing.assert_allclose(slopes[8:], 2.0 ** (-0.5 * np.array([1, 3, 5, 7])), rtol=1e-6)
