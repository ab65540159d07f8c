"""Adapters in a transformer: where they sit, that fresh ones change nothing, what they compute."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from flax import linen as nn
from flax import traverse_util

from mmjax.adapt import build
from mmjax.adapt.merging import merge, settle
from mmjax.adapt.wrapping import adapted, without_adapters
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.nn.transformer import Transformer
from mmjax.parallel.sharding import unbox
from mmjax.train.adapting import optimizer
from mmjax.train.config import Config

WIDTH, HEADS, HIDDEN = 8, 2, 12
TARGETS = ("^encoders_text/.*/(query|value|up)$",)
ALL = {
    "lora": build("lora", rank=2, targets=("/query$",), dropout=0.5),
    "dora": build("lora", rank=2, targets=("/up$",), dora=True),
    "adalora": build("adalora", rank=3, target=1, targets=("/value$",)),
    "ia3": build("ia3", targets=("/(key|down)$",)),
    "houlsby": build("bottleneck", form="houlsby", width=3),
    "parallel": build("bottleneck", form="parallel", width=3, scale=4.0),
}
"""Those that change nothing when they are fresh, side by side."""
KEY = jax.random.key(0)


class Model(nn.Module, kw_only=True):
    """A transformer in the place of an encoder."""

    scan: bool = False

    @nn.compact
    def __call__(self, values, mask, *, train):
        return Transformer(
            depth=2, heads=HEADS, mlp_dim=HIDDEN, scan=self.scan, name="encoders_text"
        )(values, mask, train=train)


@pytest.fixture(scope="module")
def inputs():
    values = np.random.default_rng(0).standard_normal((3, 5, WIDTH)).astype(np.float32)
    return jnp.asarray(values), jnp.array([[1, 1, 1, 0, 0], [1] * 5, [0] * 5], bool)


@pytest.fixture(scope="module")
def shapes(inputs):
    def found(module):
        return jax.eval_shape(lambda: module.init(KEY, *inputs, train=False))

    return found


def flat(tree):
    return traverse_util.flatten_dict(tree, sep="/")


def test_fresh_adapters_change_nothing_and_others_merge(inputs, shapes):
    module = adapted(Model(scan=True), tuple(ALL.items()))
    assert isinstance(module, Model)
    base = reference.random_like(unbox(shapes(Model(scan=True)))["params"], scale=0.3)
    fresh = unbox(module.init(KEY, *inputs, train=False))["params"]
    assert flat(without_adapters(fresh)).keys() == flat(base).keys()
    params = settle({**base, "adapt": fresh["adapt"]}, tuple(ALL.items()))
    expected = Model(scan=True).apply({"params": base}, *inputs, train=False)
    found = module.apply({"params": params}, *inputs, train=False)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    moved = {**params, "adapt": jax.tree.map(lambda leaf: leaf + 0.3, params["adapt"])}
    found = module.apply({"params": moved}, *inputs, train=False)
    assert np.abs(found - expected).max() > 0.05
    with pytest.raises(ConfigError, match=r"'houlsby'.* no weights can take in"):
        merge(moved, tuple(ALL.items()))
    left = tuple((name, one) for name, one in ALL.items() if not one.mergeable)
    merged = merge(moved, tuple(ALL.items()), ["lora", "dora", "adalora", "ia3"])
    assert merged["adapt"].keys() == dict(left).keys()
    again = adapted(Model(scan=True), left).apply({"params": merged}, *inputs, train=False)
    np.testing.assert_allclose(again, found, atol=2e-5)


def test_stacked_layers_are_those_that_are_not(inputs):
    """The same numbers, one layer after the other and as a loop."""
    adapters = (
        ("a", build("lora", rank=2, targets=TARGETS)),
        ("b", build("bottleneck", width=3)),
        ("c", build("ia3")),
        ("d", build("prefix", count=2)),
    )
    loop, unrolled = (adapted(Model(scan=scan), adapters) for scan in (True, False))
    shapes = jax.eval_shape(lambda: loop.init(KEY, *inputs, train=False))["params"]
    params = reference.random_like(unbox(shapes), scale=0.3)

    def split(tree, index):
        return jax.tree.map(lambda leaf: leaf[index], tree)

    stack = params["encoders_text"]["stack"]["layers"]
    layers = {f"layer_{i}": split(stack, i) for i in range(2)}
    encoder = {**params["encoders_text"], "stack": layers}
    own = {
        name: {
            key.replace(".layers.", f".layer_{index}."): split(values, index)
            for key, values in sites.items()
            for index in range(2)
        }
        for name, sites in params["adapt"].items()
    }
    apart = {"encoders_text": encoder, "adapt": own}
    np.testing.assert_allclose(
        loop.apply({"params": params}, *inputs, train=False),
        unrolled.apply({"params": apart}, *inputs, train=False),
        atol=1e-5,
    )


def test_logical_names_go_with_those_of_the_kernel(shapes):
    module = adapted(Model(scan=True), (("mine", build("lora", rank=2)),))
    values = shapes(module)["params"]["adapt"]["mine"]
    site = values["encoders_text.stack.layers.attention.query"]
    assert site["a"].names == ("layers", "embed", None)
    assert site["b"].names == ("layers", None, "heads", "head_dim")
    assert site["b"].value.shape == (2, 2, HEADS, WIDTH // HEADS)


def test_bottleneck_is_its_formula(inputs):
    module = nn.Dense(WIDTH, name="mlp")

    class Mlp(nn.Module):
        @nn.compact
        def __call__(self, values):
            return nn.Dense(WIDTH, name="mlp")(values)

    values = inputs[0]
    for form in ("pfeiffer", "parallel"):
        one = build("bottleneck", form=form, width=3, scale=2.0, targets=("^mlp$",))
        wrapped = adapted(Mlp(), (("mine", one),))
        shapes = jax.eval_shape(lambda m=wrapped: m.init(KEY, values))["params"]
        params = reference.random_like(unbox(shapes), scale=0.5)
        straight = module.apply({"params": params["mlp"]}, values)
        own = params["adapt"]["mine"]["mlp"]
        given = np.asarray(straight if form == "pfeiffer" else values, np.float64)
        hidden = np.maximum(given @ own["down"]["kernel"] + own["down"]["bias"], 0)
        expected = straight + 2.0 * (hidden @ own["up"]["kernel"] + own["up"]["bias"])
        np.testing.assert_allclose(wrapped.apply({"params": params}, values), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_missing_rows_stay_missing_and_padding_counts_for_nothing(inputs, name):
    """Tokens of a prefix or prompt are seen where anything is, and nowhere else."""
    targets = {"targets": ("^encoders_text$",)} if name == "prompt" else {}
    module = adapted(Model(), (("mine", build(name, count=3, **targets)),))
    shapes = jax.eval_shape(lambda: module.init(KEY, *inputs, train=False))["params"]
    params = reference.random_like(unbox(shapes), scale=1.0)
    values, mask = inputs
    run = jax.jit(lambda own, v: module.apply({"params": own}, v, mask, train=False))
    found = run(params, values)
    assert found.shape == values.shape
    other = reference.random_like(unbox(shapes)["adapt"], seed=1, scale=2.0)
    moved = run({**params, "adapt": other}, values)
    assert np.abs(moved - found)[:2].max() > 0.01
    np.testing.assert_array_equal(moved[2], found[2])
    padded = jnp.where(mask[..., None], values, 7.0)
    np.testing.assert_allclose(run(params, padded)[0, :3], found[0, :3], atol=1e-4)


def test_a_prefix_is_more_keys_and_values():
    """One head, one layer, in NumPy."""
    from mmjax.nn.attention import Attention

    class Small(nn.Module):
        @nn.compact
        def __call__(self, values):
            return Attention(heads=1, name="attention")(values, train=False)

    values = jnp.asarray(np.random.default_rng(1).standard_normal((1, 2, 3)), jnp.float32)
    module = adapted(Small(), (("mine", build("prefix", count=2, targets=("attention",))),))
    shapes = jax.eval_shape(lambda: module.init(KEY, values))["params"]
    params = reference.random_like(unbox(shapes), scale=0.7)
    own = params["attention"]
    parts = {
        part: values[0] @ own[part]["kernel"][:, 0] + own[part]["bias"][0]
        for part in ("query", "key", "value")
    }
    prefix = params["adapt"]["mine"]["attention"]
    keys = np.concatenate([prefix["key"][:, 0], parts["key"]])
    seen = np.concatenate([prefix["value"][:, 0], parts["value"]])
    logits = parts["query"] @ keys.T / np.sqrt(3)
    weights = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = (weights @ seen) @ own["out"]["kernel"][0] + own["out"]["bias"]
    found = module.apply({"params": params}, values)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_dropout_is_in_training_alone(inputs):
    module = adapted(Model(), (("mine", build("lora", rank=2, dropout=0.5)),))
    shapes = jax.eval_shape(lambda: module.init(KEY, *inputs, train=False))["params"]
    params = {"params": reference.random_like(unbox(shapes), scale=0.3)}
    still = [module.apply(params, *inputs, train=False) for _ in range(2)]
    np.testing.assert_array_equal(*still)
    drawn = [
        module.apply(params, *inputs, train=True, rngs={"dropout": jax.random.key(i)})
        for i in range(2)
    ]
    assert not np.allclose(*drawn)


def test_adapters_are_swapped_without_a_new_program(inputs):
    module = adapted(Model(), (("mine", build("lora", rank=2)),))
    shapes = jax.eval_shape(lambda: module.init(KEY, *inputs, train=False))["params"]
    params = reference.random_like(unbox(shapes), scale=0.3)
    traced = []

    @jax.jit
    def run(own):
        traced.append(1)
        return module.apply({"params": {**params, "adapt": own}}, *inputs, train=False)

    first = run(params["adapt"])
    second = run(jax.tree.map(jnp.negative, params["adapt"]))
    run(jax.tree.map(jnp.zeros_like, params["adapt"]))
    assert len(traced) == 1
    np.testing.assert_allclose(first, second, atol=1e-5)  # -A times -B


def test_what_finds_nothing_is_told(inputs):
    module = adapted(Model(), (("mine", build("lora", targets=("encoders_text/.*/quary$",))),))
    with pytest.raises(ConfigError, match=r"adapt\.mine\.targets.*query"):
        jax.eval_shape(lambda: module.init(KEY, *inputs, train=False))


def test_what_is_optional_may_find_nothing(inputs):
    several = {
        "none": build("adalora", targets=("nowhere",), optional=True),
        "some": build("lora", rank=2),
    }
    module = adapted(Model(), tuple(several.items()))
    found = jax.eval_shape(lambda: module.init(KEY, *inputs, train=False))["params"]
    assert found["adapt"].keys() == {"some"}
    params = reference.random_like(unbox(found), scale=0.3)
    assert "adapt" not in merge(params, tuple(several.items()))
    alone = adapted(Model(), (("none", several["none"]),))
    params = jax.eval_shape(lambda: alone.init(KEY, *inputs, train=False))["params"]
    assert "adapt" not in params
    own = reference.random_like(unbox(params), scale=0.3)
    given = settle(own, alone.adapters)
    np.testing.assert_array_equal(
        alone.apply({"params": given}, *inputs, train=False),
        Model().apply({"params": own}, *inputs, train=False),
    )
    config = Config(adapt={"none": Spec("adalora", targets=("nowhere",), optional=True)})
    optimizer(config, optax.constant_schedule(1.0), 50).init(own)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lora", {"rank": 0}),
        ("lora", {"dropout": 1.0}),
        ("adalora", {"rank": 2, "target": 3}),
        ("adalora", {"every": 0}),
        ("bottleneck", {"width": 0}),
        ("prefix", {"count": 0}),
        ("layer_decay", {"rate": 1.5}),
        ("gradual", {"every": 0.0}),
    ],
)
def test_settings_out_of_range_are_refused(name, options):
    with pytest.raises(ConfigError, match="expected"):
        build(name, **options)


def test_adalora_wants_steps_between_its_ends():
    one = build("adalora", initial=6, final=4)
    with pytest.raises(ConfigError, match="none to take ranks away"):
        one.schedule(10)
    assert one.schedule(11).total == 11
    assert dataclasses.replace(one, initial=0.1, final=0.2).schedule(50).initial == 5
