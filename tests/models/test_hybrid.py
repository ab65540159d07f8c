"""Encoders that exchange tokens: what changes, what must not, and who can."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax import encoders, fusion
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch, Tokens
from mmjax.encoders.base import TransformerEncoder
from mmjax.models.build import build_model
from mmjax.models.config import ModelConfig
from mmjax.models.exchange import Exchange
from mmjax.models.hybrid import SUCH_AS
from mmjax.parallel.sharding import unbox

ROWS = 5
PRESENT = {
    "text": np.array([1, 1, 0, 1, 0], bool),
    "image": np.array([1, 1, 1, 0, 0], bool),
    "tags": np.array([1, 0, 1, 1, 0], bool),
}
LENGTHS = np.array([4, 2, 3, 1, 2])
WORDS = {"vocab_size": 11, "max_length": 4}
FACTS = {
    "modalities": {"text": WORDS, "image": {"image_size": 4}, "tags": WORDS},
    "targets": {"label": {"num_labels": 3}},
}
SMALL = {"width": 8, "heads": 2, "mlp_dim": 12, "dropout": 0.0, "attention_dropout": 0.0}
ENCODERS = {
    "text": Spec("text_transformer", depth=2, **SMALL),
    "image": Spec("vit", depth=2, patch=2, **{**SMALL, "width": 6}),
    "tags": Spec("bag_of_subwords", width=4),
}
CROSS = Spec("cross_attention", width=8, heads=2, mlp_dim=8)
SUMMED = Spec("weighted_sum", width=5, weights="fixed")
LAST = Spec("concat", width=8)
TASK = Spec("classification")


def make_batch(*, hidden=0, views=None):
    """`hidden` is what absent rows and padding hold."""
    rng = np.random.default_rng(0)
    valid = np.arange(4) < LENGTHS[:, None]
    shape = (ROWS, 4, 4, 3) if views is None else (ROWS, views, 4, 4, 3)
    pixels = rng.standard_normal(shape).astype(np.float32)
    inputs = {}
    for name in ("text", "tags"):
        ids = rng.integers(1, 11, (ROWS, 4)).astype(np.int32)
        here = valid & PRESENT[name][:, None]
        inputs[name] = {"input_ids": np.where(here, ids, hidden), "attention_mask": here}
    here = PRESENT["image"].reshape(-1, *[1] * (pixels.ndim - 1))
    inputs["image"] = {"pixel_values": np.where(here, pixels, np.float32(hidden))}
    return Batch(
        inputs,
        PRESENT,
        {"label": np.array([0, 1, 2, 1, 0], np.int32)},
        np.array([1, 1, 1, 1, 0], bool),
        np.arange(ROWS, dtype=np.int32),
    )


def build(given=ENCODERS, auxiliary_loss=0.0, **options):
    spec = Spec("hybrid", **{"method": CROSS, "fusion": LAST, **options})
    config = ModelConfig(given, fusion=spec, auxiliary_loss=auxiliary_loss)
    return build_model(config, TASK, FACTS)


def plain(given=ENCODERS):
    return build_model(ModelConfig(given, fusion=LAST), TASK, FACTS)


def paths(tree):
    found = jax.tree_util.tree_leaves_with_path(unbox(tree))
    return {"/" + "/".join(key.key for key in path): leaf for path, leaf in found}


def opened(params, value=None):
    """With all gates at one value."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.full_like(leaf, value) if "_gate" in path[-1].key else leaf, params
    )


MODULE = build(exchange={"text": (1,), "image": (2,)})


@pytest.fixture(scope="module")
def params():
    return reference.random_variables(MODULE, make_batch(), train=False)["params"]


def forward(module, params, batch):
    """Output and tokens, made once."""

    def both(module):
        tokens = module.encode(batch, train=True)
        return module.answer(tokens, batch, train=True), tokens

    return module.apply({"params": params}, method=both)


@pytest.fixture(scope="module")
def run():
    """Output, tokens and the gradient of the loss, compiled once."""

    @jax.jit
    def compiled(params, batch):
        def loss(params):
            output, tokens = forward(MODULE, params, batch)
            return output.loss, (output, tokens)

        grads, (output, tokens) = jax.grad(loss, has_aux=True)(params)
        return output, tokens, grads

    return compiled


def test_encoders_have_the_parameters_that_they_always_have(params):
    """So that pretrained weights find them."""
    alone = reference.shapes(plain(), make_batch(), train=False)["params"]
    for name in ENCODERS:
        ours, theirs = paths(params[f"encoders_{name}"]), paths(alone[f"encoders_{name}"])
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    assert set(params) - set(alone) == {"exchanges_0", "last_fusion"}


def test_nothing_changes_while_the_gates_are_closed(params, run):
    output, tokens, _ = run(opened(params, 0.0), make_batch())
    own = {**{k: v for k, v in params.items() if "xchange" not in k}}
    own["fusion"] = own.pop("last_fusion")

    expected = jax.jit(lambda params, batch: forward(plain(), params, batch))
    alone, its_tokens = expected(own, make_batch())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=5e-7), tokens, its_tokens)
    p, its_p = (one.predictions["probabilities"] for one in (output, alone))
    np.testing.assert_allclose(p, its_p, atol=5e-7)


def test_gates_start_closed():
    exchange = Exchange(fusion=fusion.registry.build(SUMMED))
    tokens = {
        name: Tokens(jnp.ones((1, 2, 3)), jnp.ones((1, 2), bool), jnp.ones((1, 3))) for name in "ab"
    }
    fresh = jax.jit(lambda: exchange.init(jax.random.key(0), tokens, train=False))()
    gates = [leaf for path, leaf in paths(fresh["params"]).items() if "_gate" in path]
    np.testing.assert_array_equal(gates, np.zeros((2, 1)))


def test_those_that_exchange_see_each_other(params, run):
    """Where both are there; nothing else changes."""
    _, closed, _ = run(opened(params, 0.0), make_batch())
    other = make_batch()
    other.inputs["image"]["pixel_values"] = -other.inputs["image"]["pixel_values"]
    _, ours, _ = run(params, make_batch())
    _, others, _ = run(params, other)
    changed = np.abs(np.asarray(ours["text"].pooled) - others["text"].pooled).max(axis=1) > 1e-4
    np.testing.assert_array_equal(changed, PRESENT["text"] & PRESENT["image"])
    np.testing.assert_array_equal(ours["tags"].values, closed["tags"].values)


def test_padding_and_absent_modalities_change_nothing(params, run):
    """Bit for bit, in the prediction, the loss and every gradient."""
    ours, _, grads = run(params, make_batch())
    other, _, its_grads = run(params, make_batch(hidden=7))
    np.testing.assert_array_equal(
        ours.predictions["probabilities"], other.predictions["probabilities"]
    )
    assert float(ours.loss) == float(other.loss)
    jax.tree.map(np.testing.assert_array_equal, grads, its_grads)


def test_every_parameter_learns(params, run):
    _, _, grads = run(params, make_batch())
    unused = ("last_fusion/text_tokens", "last_fusion/image_tokens", "last_fusion/tags_tokens")
    for path, grad in paths(grads).items():
        assert np.isfinite(grad).all(), path
        if path.endswith("/key/bias"):
            assert np.abs(grad).max() < 1e-7, path
        elif any(part in path for part in unused):
            assert not grad.any(), path
        else:
            assert np.abs(grad).max() > 1e-7, path


def test_losses_of_each_alone_hide_the_others_from_the_exchange_too():
    given = {name: ENCODERS[name].replace(depth=1) for name in ("text", "image")}
    module = build(given, auxiliary_loss=0.5, method=SUMMED)
    params = reference.random_variables(module, make_batch(), train=False)["params"]
    apply = jax.jit(lambda batch: module.apply({"params": params}, batch, train=False).loss)
    loss = jax.jit(lambda batch: module.apply({"params": params}, batch, train=True).loss)
    batch = make_batch()
    expected = float(apply(batch))
    for name in given:
        here = {other: PRESENT[other] & (other == name) for other in PRESENT}
        alone = batch.replace(present=here, row_mask=batch.row_mask & PRESENT[name])
        expected += 0.5 * float(apply(alone)) * alone.row_mask.sum() / batch.row_mask.sum()
    assert float(loss(batch)) == pytest.approx(expected, rel=1e-5)


def test_the_formula():
    """Two encoders in float64, block by block, with a weighted sum after the first and the second.

    Texts of three blocks, and the second place of the tags is behind their last.
    """
    depths = {"text": 3, "tags": 2}
    given = {
        name: Spec("text_transformer", depth=depth, segments=0, **SMALL)
        for name, depth in depths.items()
    }
    module, batch = build(given, exchange=(1, 2), method=SUMMED), make_batch()
    params = reference.random_variables(module, batch, train=False)["params"]
    tokens = jax.jit(
        lambda: module.apply({"params": params}, batch, train=False, method="encode")
    )()
    p = reference.double(params)
    own = {name: batch.inputs[name]["attention_mask"] for name in depths}
    masks = {name: own[name] & PRESENT[name][:, None] for name in depths}
    here = {name: mask.any(axis=1)[:, None] for name, mask in masks.items()}
    values = {}
    for name in depths:
        q = p[f"encoders_{name}"]
        x = q["words"]["embedding"][batch.inputs[name]["input_ids"]]
        x = x + q["positions"]["embedding"][None, :4]
        values[name] = reference.layer_norm(q["embeddings_norm"], x, 1e-12)

    def blocks(index):
        for name, depth in depths.items():
            if index < depth:
                layer = p[f"encoders_{name}"]["transformer"]["stack"][f"layer_{index}"]
                one = {"stack": {"layer_0": layer}}
                values[name] = reference.transformer(
                    one, values[name], own[name], norm="post", eps=1e-12
                )

    blocks(0)
    for place in (0, 1):
        q = p[f"exchanges_{place}"]
        pooled = sum(
            0.5
            * here[name]
            * reference.dense(
                q["fusion"][f"{name}_pooled"], reference.masked_mean(values[name], masks[name])
            )
            for name in depths
        )
        for name in depths:
            fused = reference.dense(q["fusion"][f"{name}_tokens"], values[name])
            back = reference.dense(q[f"{name}_back"], fused + 2 * pooled[:, None])
            back = np.tanh(q[f"{name}_gate"]) * back
            values[name] = values[name] + back * masks[name][..., None]
        blocks(place + 1)
    for name in depths:
        first = np.tanh(reference.dense(p[f"encoders_{name}"]["pooler"], values[name][:, 0]))
        np.testing.assert_allclose(tokens[name].pooled, first * here[name], atol=2e-5)
        valid = masks[name]
        np.testing.assert_allclose(
            np.asarray(tokens[name].values)[valid], values[name][valid], atol=2e-5
        )


def test_several_pictures_of_one_thing_exchange_together():
    """The order of the pictures does not matter, their number may be another."""
    given = {name: ENCODERS[name].replace(depth=1) for name in ("text", "image")}
    module = build(given, method=SUMMED)
    params = reference.random_variables(module, make_batch(), train=False)["params"]
    run = jax.jit(lambda batch: module.apply({"params": params}, batch, train=False).predictions)
    batch = make_batch(views=2)
    ours = run(batch)
    batch.inputs["image"]["pixel_values"] = batch.inputs["image"]["pixel_values"][:, ::-1]
    others = run(batch)
    np.testing.assert_allclose(ours["probabilities"], others["probabilities"], atol=2e-6)


@pytest.mark.parametrize("last", [CROSS, None])
def test_a_single_stream_stops_the_encoders(last):
    given = {name: ENCODERS[name] for name in ("text", "image")}
    given["text"] = given["text"].replace(depth=3)
    module = build(given, exchange=(1, 2), streams="single", fusion=last)
    shapes = reference.shapes(module, make_batch(), train=False)["params"]
    stack = shapes["encoders_text"]["transformer"]["stack"]
    assert set(stack) == {"layer_0", "layer_1"}
    assert "pooler" in shapes["encoders_text"]
    assert [name for name in shapes if "exchange" in name] == ["exchanges_0"]
    assert ("text_embedding" in shapes["last_fusion"]) == (last is None)


def test_empty_places_are_the_middle_and_one_modality_exchanges_nothing():
    shapes = reference.shapes(build(), make_batch(), train=False)["params"]
    assert "exchanges_0" in shapes
    alone = build({"text": ENCODERS["text"]}, exchange=(9,), streams="single")
    shapes = reference.shapes(alone, make_batch(), train=False)["params"]
    assert set(shapes["encoders_text"]["transformer"]["stack"]) == {f"layer_{i}" for i in range(2)}
    assert not [name for name in shapes if "exchange" in name]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (
            {"text": ENCODERS["text"], "tags": ENCODERS["tags"]},
            {},
            r"two encoders made of transformer blocks; not so the BagOfSubwords of 'tags'.*"
            r"where: model\.fusion\.exchange.*text_transformer.*vit",
        ),
        (
            ENCODERS,
            {"exchange": {"text": (1,), "tags": (1,), "image": (1,)}},
            r"not so the BagOfSubwords of 'tags'",
        ),
        (ENCODERS, {"exchange": {"txt": (1,)}}, r"'txt', which is no modality.*'text'"),
        (ENCODERS, {"exchange": {"text": (1,)}}, r"takes two modalities, not 1"),
        (
            ENCODERS,
            {"exchange": {"text": (1, 2), "image": (1,)}},
            r"\[1, 2\] places by modality.*as many places for each",
        ),
        (
            ENCODERS,
            {"exchange": (3,)},
            r"after blocks 3 of the 2 of 'text'.*rising numbers from 1 to 2",
        ),
        (ENCODERS, {"exchange": (2, 1)}, r"after blocks 2, 1 of the 2 of 'text'"),
        (
            {**ENCODERS, "text": ENCODERS["text"].replace(scan=True)},
            {},
            r"'text' are scanned.*model\.encoders\.text\.scan=false",
        ),
    ],
)
def test_what_cannot_be_exchanged_is_said(given, options, message):
    with pytest.raises(ConfigError, match=message):
        reference.shapes(build(given, **options), make_batch(), train=False)


def test_the_advice_names_what_can():
    for name in SUCH_AS.replace(" or ", ", ").split(", "):
        assert issubclass(encoders.registry.load(name), TransformerEncoder)
