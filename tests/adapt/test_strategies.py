"""Freezing, layers at their own rates, and gradual unfreezing, against the rule written out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.adapt.freezing import distances
from mmjax.core.registry import Spec
from mmjax.train.adapting import frozen_in, multipliers, optimizer
from mmjax.train.config import Config, OptimizerConfig
from mmjax.train.optim import learning_rate_factors

LAYER = {"mlp": {"up": {"kernel": 1, "bias": 1}}, "mlp_norm": {"scale": 1}}
UNROLLED = {
    "encoders_text": {
        "words": {"embedding": 1},
        "transformer": {"stack": {"layer_0": LAYER, "layer_1": LAYER}, "norm": {"scale": 1}},
    },
    "encoders_image": {
        "patches": {"kernel": 1},
        "stage_0": {"layer_0": {"conv": {"kernel": 1}}, "layer_1": {"conv": {"kernel": 1}}},
        "stage_1": {"layer_0": {"conv": {"kernel": 1}}},
    },
    "fusion": {"text_pooled": {"kernel": 1, "bias": 1}},
    "task": {"head": {"kernel": 1, "bias": 1}},
}
UNROLLED = jax.tree.map(lambda _: np.ones(3, np.float32), UNROLLED)


def flat(tree):
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path): leaf for path, leaf in found}


def trained(*specs, **settings):
    adapt = {f"s{index}": one for index, one in enumerate(specs)}
    config = Config(adapt=adapt, optimizer=OptimizerConfig(**settings))
    still = frozen_in(config, UNROLLED)
    return {path for path, frozen in flat(still).items() if not frozen}


@pytest.mark.parametrize(
    ("parts", "ends"),
    [
        (("heads",), {"task/head/kernel", "task/head/bias"}),
        (("fusion",), {"fusion/text_pooled/kernel", "fusion/text_pooled/bias"}),
    ],
)
def test_parts_alone(parts, ends):
    assert trained(Spec("only", parts=parts)) == ends


def test_biases_and_norms_are_found_anywhere():
    found = trained(Spec("only", parts=("biases", "norms")))
    assert {path.rpartition("/")[2] for path in found} == {"bias", "scale"}
    assert len(found) == sum(path.endswith(("bias", "scale")) for path in flat(UNROLLED))
    named = trained(Spec("only", parts=(), patterns=("words",)))
    assert named == {"encoders_text/words/embedding"}


def test_what_the_config_names_comes_first():
    found = trained(Spec("only", parts=("heads",)), multipliers={"^/fusion/.*/bias$": 0.5})
    assert found == {"fusion/text_pooled/bias", "task/head/kernel", "task/head/bias"}


def test_parts_with_adapters_are_frozen_and_adapters_are_not():
    site = {"encoders_text.transformer.stack.layer_0.mlp.up": {"a": np.ones(2), "b": np.ones(2)}}
    params = {**UNROLLED, "adapt": {"mine": site}}
    config = Config(
        adapt={"mine": Spec("lora")},
        optimizer=OptimizerConfig(multipliers={"/encoders_text/.*/bias$": 1.0, "mlp": 0.5}),
    )
    factors = flat(learning_rate_factors(params, multipliers(config, params)))
    of_text = {path: f for path, f in factors.items() if path.startswith("encoders_text/")}
    assert {path for path, f in of_text.items() if f == 1.0} == {
        f"encoders_text/transformer/stack/layer_{i}/mlp/up/bias" for i in range(2)
    }
    # "mlp" is said before the part is frozen; of the adapter, only what says "adapt" is meant.
    assert {f for path, f in of_text.items() if "/mlp" in path and "bias" not in path} == {0.5}
    assert of_text["encoders_text/words/embedding"] == 0.0
    assert factors["task/head/kernel"] == factors["encoders_image/patches/kernel"] == 1.0
    assert {f for path, f in factors.items() if path.startswith("adapt/")} == {1.0}
    meant = learning_rate_factors(params, {"^/adapt/mine/.*/b$": 4.0})
    assert [f for path, f in flat(meant).items() if path.startswith("adapt/")] == [1.0, 4.0]


def test_distances_from_the_end_of_an_encoder():
    found = {path: int(n) for path, n in flat(distances(UNROLLED)).items()}
    text = "encoders_text/transformer/stack/layer_"
    assert {found[p] for p in found if p.startswith(f"{text}1")} == {0}
    assert {found[p] for p in found if p.startswith(f"{text}0")} == {1}
    assert found["encoders_text/words/embedding"] == 2
    assert found["encoders_text/transformer/norm/scale"] == 0
    image = "encoders_image/"
    assert [found[image + p] for p in ("patches/kernel", "stage_0/layer_0/conv/kernel")] == [3, 2]
    assert found[image + "stage_1/layer_0/conv/kernel"] == 0
    assert found["task/head/kernel"] == found["fusion/text_pooled/bias"] == 0
    stacked = {"encoders_text": {"stack": {"layers": {"kernel": np.ones((3, 2, 2))}}}}
    layers = distances(stacked)["encoders_text"]["stack"]["layers"]["kernel"]
    np.testing.assert_array_equal(layers, np.array([2, 1, 0]).reshape(3, 1, 1))


def moves(spec, steps, params=UNROLLED):
    """How far each parameter is after each step of SGD with gradients of 1 and a rate of 1."""
    config = Config(
        adapt={"mine": spec},
        optimizer=OptimizerConfig(
            name="sgd", momentum=0.0, weight_decay=0.0, max_grad_norm=None, learning_rate=1.0
        ),
    )
    rule = optimizer(config, optax.constant_schedule(1.0), steps)
    gradients = jax.tree.map(jnp.ones_like, params)

    @jax.jit
    def run(params):
        state, found = rule.init(params), []
        for _ in range(steps):
            updates, state = rule.update(gradients, state, params)
            found.append(jax.tree.map(lambda one: -one, updates))
        return found

    return [flat(one) for one in run(params)]


def test_layers_learn_at_their_own_rates():
    (found,) = moves(Spec("layer_decay", rate=0.5), 1)
    expected = {path: 0.5**n for path, n in flat(distances(UNROLLED)).items()}
    assert {path: float(leaf[0]) for path, leaf in found.items()} == expected
    stacked = {"encoders_text": {"stack": {"layers": {"kernel": np.ones((3, 2))}}}}
    (found,) = moves(Spec("layer_decay", rate=0.5), 1, stacked)
    (kernel,) = found.values()
    np.testing.assert_allclose(kernel[:, 0], [0.25, 0.5, 1.0])


def test_layers_are_freed_from_the_last_to_the_first():
    several = moves(Spec("gradual", every=0.2), 10)
    text = "encoders_text/transformer/stack/layer_"
    freed = {
        path: [bool(one[path].any()) for one in several].index(True)
        for path in several[0]
        if any(one[path].any() for one in several)
    }
    assert freed["task/head/kernel"] == freed["fusion/text_pooled/bias"] == 0
    assert freed[f"{text}1/mlp/up/kernel"] == freed["encoders_text/transformer/norm/scale"] == 2
    assert freed[f"{text}0/mlp/up/kernel"] == 4
    assert freed["encoders_text/words/embedding"] == 6
    assert freed["encoders_image/patches/kernel"] == 8


def test_adapters_have_no_layers():
    tree = {"adapt": {"mine": {"encoders_text.stack.layer_0.up": {"a": np.ones(2)}}}}
    assert list(flat(distances(tree, outside=-1)).values()) == [-1]
