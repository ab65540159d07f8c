"""What all attention-level fusions promise besides: weights on request, scan, and dropout."""

import jax
import numpy as np
import pytest
import reference
from methods import METHODS, WIDTH, double
from tiny_tokens import ROWS, SIZES, make_tokens, masks

from mmjax import fusion
from mmjax.core.errors import ConfigError
from mmjax.fusion.attention_fusion import AttentionFusion

OPTIONS = {
    "cross_attention": {"depth": 2},
    "co_attention": {"depth": 2},
    "merged_attention": {"depth": 2},
    "bottleneck": {"depth": 3, "fusion_layer": 1},
    "perceiver": {"depth": 2, "append_latents": True},
    "multimodal_transformer": {},
}

SCANNED = ("co_attention", "merged_attention")
"""A dictionary and an array are carried; the other stacks are of one of these kinds."""

TOGETHER = {
    "cross_attention": lambda query: [[other for other in SIZES if other != query]],
    "co_attention": lambda query: [[query], [other for other in SIZES if other != query]],
    "merged_attention": lambda query: [["cls", *SIZES]],
    "bottleneck": lambda query: [["bottleneck", *(SIZES if query == "bottleneck" else [query])]],
    "perceiver": lambda query: [["latents"], list(SIZES)],
    "multimodal_transformer": lambda query: [[other] for other in SIZES],
}
"""The groups of keys that share a softmax."""

LEARNED = {"cls": 1, "bottleneck": 2, "latents": 3}


def stacked(tree):
    """Parameters of unrolled stacks as those of scanned ones."""
    if not isinstance(tree, dict):
        return tree
    if "layer_0" not in tree:
        return {name: stacked(one) for name, one in tree.items()}
    layers = [tree[f"layer_{index}"] for index in range(len(tree))]
    return {"layers": jax.tree.map(lambda *leaves: np.stack(leaves), *layers)}


def in_order(tokens):
    return {name: tokens[name] for name in SIZES}


@pytest.fixture(scope="module", params=sorted(OPTIONS))
def name(request):
    return request.param


def run(name, scan, params=None):
    """The fused rows with weights, and random parameters if none are given."""
    module = fusion.build(
        name, width=WIDTH, **{**METHODS[name].options, **OPTIONS[name], "scan": scan}
    )
    if params is None:
        params = reference.random_variables(module, make_tokens(), train=False)["params"]

    @jax.jit
    def fused(params, tokens):
        tokens = in_order(tokens)
        return module.apply({"params": params}, tokens, train=False, mutable=["intermediates"])[0]

    return params, fused(params, make_tokens())


@pytest.fixture(scope="module")
def unrolled(name):
    return run(name, False)


def test_every_attention_fusion_is_here():
    ours = {
        one for one in fusion.registry if issubclass(fusion.registry.load(one), AttentionFusion)
    }
    assert ours == set(OPTIONS)


def test_result_and_weights_are_those_of_the_reference(name, unrolled):
    params, fused = unrolled
    expected = METHODS[name].reference(reference.double(params), double(make_tokens()))
    assert set(fused.attention) == set(expected.attention)
    for key, weights in expected.attention.items():
        np.testing.assert_allclose(fused.attention[key], weights, atol=2e-6, err_msg=key)
    some = np.arange(ROWS) < 3
    np.testing.assert_allclose(fused.pooled, expected.pooled * some[:, None], atol=5e-5)
    for key, (start, stop) in fused.spans.items():
        mask = masks().get(key, np.repeat(some[:, None], stop - start, axis=1))
        values = expected.values[key] * mask[..., None]
        np.testing.assert_allclose(fused.values[:, start:stop], values, atol=5e-5)


def test_weights_sum_to_one_over_what_shares_a_softmax(name, unrolled):
    attention = {key: np.asarray(weights) for key, weights in unrolled[1].attention.items()}
    valid = masks()
    some = np.arange(ROWS) < 3
    learned = {key: np.repeat(some[:, None], count, axis=1) for key, count in LEARNED.items()}
    checked = set()
    for query in {key.split("<-")[0] for key in attention}:
        for together in TOGETHER[name](query):
            keys = [f"{query}<-{key}" for key in together if f"{query}<-{key}" in attention]
            if not keys:
                continue
            found = (valid | learned)[query]
            among = np.concatenate([(valid | learned)[key.split("<-")[1]] for key in keys], axis=1)
            layers = min(len(attention[key]) for key in keys)
            weights = np.concatenate([attention[key][-layers:] for key in keys], axis=-1)
            assert weights.shape[1:] == (ROWS, 2, found.shape[1], among.shape[1])
            expected = (found & among.any(axis=1, keepdims=True))[None, :, None]
            np.testing.assert_allclose(
                weights.sum(axis=-1), np.broadcast_to(expected, weights.shape[:-1]), atol=1e-5
            )
            either = ~(found[:, :, None] & among[:, None, :])[None, :, None]
            assert not weights[np.broadcast_to(either, weights.shape)].any()
            checked |= set(keys)
    assert checked == set(attention)


def test_scanned_equals_unrolled(name, unrolled):
    if name not in SCANNED:
        return
    params, expected = unrolled
    _, scanned = run(name, True, stacked(params))
    assert scanned.spans == expected.spans
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), scanned, expected)


def test_without_the_collection_there_are_no_weights(name):
    """Nor of an earlier call; one in training, rematerialised, has dropout and weights."""
    settings = {"dropout": 0.1, "attention_dropout": 0.1, "remat": "full"}
    module = fusion.build(name, width=WIDTH, **{**METHODS[name].options, **settings})
    tokens = {name: make_tokens()[name] for name in ("text", "image")}

    def both(key):
        fused, variables = module.init_with_output(key, tokens, train=False)
        rngs = {"dropout": key}
        kept = module.apply(variables, tokens, train=True, rngs=rngs, mutable=["intermediates"])
        return fused, kept[0]

    evaluated, trained = jax.eval_shape(both, jax.random.key(0))
    assert evaluated.attention is None
    assert {one.shape[1:3] for one in trained.attention.values()} == {(ROWS, 2)}


@pytest.mark.parametrize(
    ("method", "taken"),
    [("merged_attention", "cls"), ("bottleneck", "bottleneck"), ("perceiver", "latents")],
)
def test_names_of_learned_tokens_are_refused(method, taken):
    module = fusion.build(method, width=WIDTH)
    tokens = {taken: make_tokens()["text"], "image": make_tokens()["image"]}
    with pytest.raises(ConfigError, match=f"a modality is called '{taken}'"):
        reference.shapes(module, tokens, train=False)


def test_weights_are_those_of_the_last_call():
    """And the mean of all valid tokens is the other summary of the single stream."""
    options = {"heads": 2, "depth": 1, "mlp_dim": 8, "pooling": "mean"}
    module = fusion.build("merged_attention", width=WIDTH, **options)
    params = reference.random_variables(module, make_tokens(), train=False)["params"]

    def twice(module, *calls):
        return [module(in_order(tokens), train=False) for tokens in calls]

    @jax.jit
    def last(params, *calls):
        found, _ = module.apply({"params": params}, *calls, method=twice, mutable=["intermediates"])
        return found[-1]

    calls = make_tokens(), make_tokens(seed=1)
    found = last(params, *calls)
    expected = METHODS["merged_attention"].reference(reference.double(params), double(calls[-1]))
    assert "text<-cls" not in found.attention
    for key, weights in expected.attention.items():
        np.testing.assert_allclose(found.attention[key], weights, atol=2e-6)
    np.testing.assert_allclose(found.pooled, expected.pooled, atol=5e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 3, "fusion_layer": 2}, r"fusion_layer=2 leaves no two of 3 layers.*0 to 1"),
        ({"depth": 1, "fusion_layer": 0}, r"fusion_layer=0 .*a depth of 2 or more"),
        ({"fusion_layer": -1}, r"fusion_layer=-1 .*0 to 2"),
    ],
)
def test_a_bottleneck_needs_two_layers_to_exchange(options, message):
    with pytest.raises(ConfigError, match=message):
        reference.shapes(fusion.build("bottleneck", **options), make_tokens(), train=False)
