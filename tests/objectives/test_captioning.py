"""Captioning, prefix language models and CoCa: against torch, and what counts when."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from cases import prefix_lm
from cases.captioning import DECODER, FACTS, cross_entropies
from scene import make_batch, make_context, make_encoded

from mmjax import encoders, objectives
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch
from mmjax.models.pretraining import JointProjections, Pretraining
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import put_batch
from mmjax.train.config import OptimizerConfig
from mmjax.train.optim import make_optimizer, make_schedule
from mmjax.train.state import plan_state
from mmjax.train.step import make_step

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "captioning.npz")
BLOCKS = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 12}
STILL = {"dropout": 0.0, "attention_dropout": 0.0}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_captioning_loss_agrees_with_torch(smoothing):
    ids = jnp.asarray(GOLDEN["ids"])

    @jax.jit
    @jax.value_and_grad
    def of(logits):
        return objectives.captioning_loss(logits, ids, mask=ids > 0, label_smoothing=smoothing)

    loss, gradient = of(jnp.asarray(GOLDEN["logits"]))
    assert float(loss) == pytest.approx(float(GOLDEN[f"loss_{smoothing}"]), rel=1e-6)
    np.testing.assert_allclose(gradient, GOLDEN[f"gradient_{smoothing}"], rtol=1e-5, atol=1e-7)


def coca(**options):
    image = Spec("vit", **{**BLOCKS, "depth": 0})
    words = {"vocab_size": 13, "max_length": 6}
    return Pretraining(
        encoders={
            "text": encoders.build("coca_text", **BLOCKS, **STILL, **words, activation="gelu"),
            "image": encoders.build(
                "attention_pool", encode_with=image, image_size=8, queries=3, width=8, heads=2
            ),
        },
        objectives={
            "contrastive": objectives.build("contrastive"),
            "captioning": objectives.build(
                "captioning",
                **{
                    **BLOCKS,
                    "weight": 2.0,
                    "decoder_on": "tokens",
                    "tied": False,
                    "modality_facts": {"text": words},
                    **options,
                },
            ),
        },
        joint=JointProjections(width=5),
    )


def golden_batch():
    ids, here = GOLDEN["ids"], np.ones(4, bool)
    return Batch(
        inputs={
            "text": {"input_ids": ids, "attention_mask": ids > 0},
            "image": {"pixel_values": GOLDEN["pixels"]},
        },
        present={"text": here, "image": here},
        targets={},
        row_mask=here,
        row=np.arange(4, dtype=np.int32),
    )


def test_coca_agrees_with_torch():
    """Both losses and the gradient of every weight, through one forward of each encoder."""
    module, batch = coca(), golden_batch()
    shapes = reference.shapes(module, batch, train=False)["params"]
    names = jax.tree_util.tree_map_with_path(
        lambda path, _: "/".join(key.key for key in path), shapes
    )
    params = jax.tree.map(lambda name: GOLDEN[f"weights/{name}"], names)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, shapes)

    @jax.jit
    def run(params):
        def loss(params):
            output = module.apply({"params": params}, batch, train=False)
            return output.loss, output.metrics

        return jax.value_and_grad(loss, has_aux=True)(params)

    (_, sums), grads = run(params)
    for name in module.objectives:
        found = float(sums[f"{name}/loss_sum"] / sums[f"{name}/count"])
        assert found == pytest.approx(float(GOLDEN[f"{name}_loss"]), rel=1e-5)
    assert float(sums["captioning/count"]) == (GOLDEN["ids"] > 0).sum() - 4
    expected = jax.tree.map(lambda name: GOLDEN[f"gradients/{name}"], names)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5),
        grads,
        expected,
    )


class Alone:
    """An objective with random parameters, compiled once, on the batch of the scene."""

    def __init__(self, name, modalities=("text", "image"), **options):
        self.module = objectives.build(name, **DECODER, **FACTS, **options)
        self.batch = make_batch()
        made = make_encoded(self.module, self.batch, {})
        self.encoded = {modality: made[modality] for modality in modalities}
        context = self.context(self.encoded)
        self.params = reference.random_variables(self.module, context, train=False)
        self.run = jax.jit(self._run)

    def context(self, encoded):
        context = make_context(self.batch, encoded)
        return dataclasses.replace(context, modalities=tuple(encoded))

    def _run(self, encoded):
        return self.module.apply(self.params, self.context(encoded), train=False)

    def moved(self, name):
        """The forwards, with other tokens of one modality."""
        one = self.encoded[name]
        tokens = one.tokens.replace(values=one.tokens.values + 1, pooled=one.tokens.pooled + 1)
        return {**self.encoded, name: dataclasses.replace(one, tokens=tokens)}

    @property
    def lengths(self):
        """Words of each row that has both modalities."""
        lengths = np.asarray(self.batch.inputs["text"]["attention_mask"]).sum(axis=1)
        return lengths[self.batch.present["text"] & self.batch.present["image"]]


def test_a_fusion_is_seen_in_place_of_one_modality_without_the_text():
    """Nothing that the text's encoder made is in the loss, and rows count that have a picture."""
    one = Alone("captioning", source=None)
    assert one.module.uses_fusion
    found = one.run(one.encoded)
    np.testing.assert_array_equal(found.loss, one.run(one.moved("text")).loss)
    assert abs(float(found.loss - one.run(one.moved("image")).loss)) > 1e-4
    assert float(found.weight) == (one.lengths - 1).sum()


@pytest.mark.parametrize("source", ["image", None])
def test_the_text_needs_no_encoder(source):
    """Its words are the labels; without an encoder it is no modality of the model."""
    one = Alone("captioning", modalities=("image",), source=source)
    one.module.check({"image": encoders.build("vit")})
    assert float(one.run(one.encoded).weight) == (one.lengths - 1).sum()


def test_a_learned_start_makes_the_first_word_count():
    one = Alone("captioning", learned_start=True)
    found = one.run(one.encoded)
    assert float(found.weight) == float(found.metrics["tokens"]) == one.lengths.sum()


def test_a_smoothed_loss_is_no_perplexity():
    one = Alone("captioning", label_smoothing=0.1)
    assert "tokens" not in jax.eval_shape(one.run, one.encoded).metrics


def test_the_beginning_of_a_text_joins_the_prefix():
    """Against the formula, with the number of words that each row was drawn."""
    one = Alone("prefix_lm", text_prefix=0.9)
    found, text = one.run(one.encoded), one.batch.inputs["text"]
    p = reference.double(one.params["params"]["decoder"])
    expected, several = [], set()
    for row in np.flatnonzero(one.batch.present["text"] & one.batch.present["image"]):
        ids = text["input_ids"][row][np.asarray(text["attention_mask"][row], bool)]
        most = int(np.float32(0.9) * np.float32(len(ids)))
        count = int(drawn(one.batch.row[row]) * (most + 1))
        picture = np.float64(one.encoded["image"].tokens.values[row])
        logits = prefix_lm.decoded(p, ids, picture, given=count)
        start = max(count, 1)
        expected.extend(cross_entropies(logits[start - 1 : -1], ids[start:], 0.0))
        several.add(count)
    assert len(several) > 1
    assert float(found.loss) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(found.weight) == len(expected)


def drawn(row):
    key = jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32")
    return float(jax.random.uniform(jax.random.fold_in(key, int(row))))


def test_prefixes_are_drawn_anew_in_training_alone():
    one = Alone("prefix_lm", text_prefix=0.9)
    context = one.context(one.encoded)

    @functools.partial(jax.jit, static_argnames="train")
    def count(seed, train):
        rngs = {"mask": jax.random.key(seed, impl="rbg")}
        return one.module.apply(one.params, context, train=train, rngs=rngs).weight

    assert len({float(count(seed, True)) for seed in range(6)}) > 2
    assert len({float(count(seed, False)) for seed in range(3)}) == 1


def test_what_cannot_work_is_refused():
    picture, words = encoders.build("vit"), encoders.build("text_transformer")
    both = {"image": picture, "text": words}
    cases = [
        (("captioning", {**FACTS, "decoder_on": "tokens"}), "TextTransformer is not causal"),
        (("captioning", {}), "has no vocab_size"),
        (("captioning", {**FACTS, "source": "imgae"}), "no modality 'imgae'"),
        (("captioning", {**FACTS, "source": "text"}), "no modality 'text'"),
        (("prefix_lm", {**FACTS, "text_prefix": 1.0}), "text_prefix=1.0"),
    ]
    for (name, options), message in cases:
        with pytest.raises(ConfigError, match=message):
            objectives.build(name, **options).check(both)
    alone = objectives.build("captioning", **FACTS, decoder_on="tokens")
    with pytest.raises(ConfigError, match="no modality 'text'"):
        alone.check({"image": picture})
    alone.check({"image": picture, "text": encoders.build("clip_text")})


def test_a_tied_head_has_the_words_of_the_text_encoder():
    """Their gradient has both parts, and no head of the decoder's own is made."""
    module, batch = coca(tied=True), golden_batch()
    shapes = reference.shapes(module, batch, train=False)["params"]
    assert "head" not in shapes["objectives_captioning"]["decoder"]
    narrow = coca(tied=True, width=4)
    with pytest.raises(ConfigError, match="width 4 tied to a table of width 8"):
        reference.shapes(narrow, batch, train=False)


def one_step(accumulate, mesh_config):
    """CoCa's parameters after a step of plain gradient descent on eight rows, and its values."""
    config = OptimizerConfig(
        name="sgd", momentum=0.0, learning_rate=1.0, weight_decay=0.0, max_grad_norm=None
    )
    schedule = make_schedule(config, 10, 0)
    optimizer = make_optimizer(config, schedule)
    batch = jax.tree.map(lambda x: np.concatenate([x, x[::-1]]), golden_batch())
    batch = batch.replace(row=np.arange(8, dtype=np.int32))
    devices = jax.devices() if mesh_config.data > 1 else jax.devices()[:1]
    mesh = make_mesh(mesh_config, devices)
    plan = plan_state(coca(), optimizer, batch, mesh, seed=0, ema=False)
    step = make_step(coca(), optimizer, schedule, mesh, plan.shardings, accumulate=accumulate)
    state, values = jax.device_get(step(plan.make(), put_batch(batch, mesh)))
    return state.params, values


@pytest.mark.slow
def test_coca_in_micro_batches_on_a_mesh_makes_the_step_of_the_whole_batch():
    ours, found = one_step(2, MeshConfig(2, 2, 2))
    whole, values = one_step(1, MeshConfig(1, 1, 1))
    assert float(found["loss"]) == pytest.approx(float(values["loss"]), rel=1e-6)
    near = 1e-6 * float(values["grad_norm"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=near), ours, whole)
