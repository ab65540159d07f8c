"""Masked autoencoders in a whole model: what they cost, what counts, and on a mesh."""

import jax
import numpy as np
import pytest
import reference

from mmjax import encoders, objectives
from mmjax.core.errors import ConfigError
from mmjax.core.types import Batch
from mmjax.models.pretraining import Pretraining
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import put_batch
from mmjax.train.config import OptimizerConfig
from mmjax.train.optim import make_optimizer, make_schedule
from mmjax.train.state import plan_state
from mmjax.train.step import make_step

ROWS = 8
RNG = np.random.default_rng(0)
BLOCKS = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 16, "dropout": 0.0}
DECODER = {"decoder_width": 12, "decoder_depth": 1, "decoder_heads": 2}


def make_batch(modality, present=True, **fields):
    row_mask = np.arange(ROWS) < ROWS - 1
    return Batch(
        inputs={modality: fields},
        present={modality: present & row_mask},
        targets={},
        row_mask=row_mask,
        row=np.where(row_mask, np.arange(ROWS), -1).astype(np.int32),
    )


def make_module(modality, encoder, objective, **settings):
    return Pretraining(
        encoders={modality: encoder},
        objectives={"masked": objectives.build(objective, **{**DECODER, **settings})},
    )


def pixels(*shape):
    return RNG.standard_normal((ROWS, *shape)).astype(np.float32)


PICTURES = make_batch("image", np.arange(ROWS) != 3, pixel_values=pixels(8, 8, 3))


def pictures_module(**settings):
    vit = encoders.build("vit", image_size=8, patch=2, **BLOCKS)
    return make_module("image", vit, "masked_image", **{"patch": 2, **settings})


def test_the_forward_costs_a_fraction_of_a_whole_one():
    """By the compiled programs: the encoder's whole forward, which nobody needs, is not there."""
    size = {"width": 96, "depth": 3, "heads": 3, "mlp_dim": 384, "dropout": 0.0}
    encoder = encoders.build("vit", image_size=32, patch=4, attention_dropout=0.0, **size)
    module = make_module(
        "image", encoder, "masked_image", patch=4, decoder_width=36, decoder_depth=1
    )
    batch = make_batch("image", pixel_values=pixels(32, 32, 3))

    def flops(function, module, *args):
        shapes = reference.shapes(module, *args, train=False)
        compiled = jax.jit(function).lower(shapes, *args).compile()
        return compiled.cost_analysis()["flops"]

    given = batch.inputs["image"]["pixel_values"]
    whole = flops(lambda v, x: encoder.apply(v, x, train=False).values, encoder, given)
    ours = flops(lambda v, x: module.apply(v, x, train=False).loss, module, batch)
    # 16 of 64 patches and the class token, then a decoder of a twentieth of the parameters.
    assert whole > 2 * ROWS * 65 * 3 * 12 * 96**2
    assert 17 / 65 < ours / whole < 0.45


def one_step(mesh_config, accumulate=1):
    """The state after a step of plain gradient descent, and what the step returned."""
    count = mesh_config.data * mesh_config.fsdp * mesh_config.tensor
    mesh = make_mesh(mesh_config, jax.devices()[:count])
    config = OptimizerConfig(name="sgd", momentum=0.0, learning_rate=1.0, weight_decay=0.0)
    schedule = make_schedule(config, 10, 0)
    optimizer = make_optimizer(config, schedule)
    module = pictures_module()
    plan = plan_state(module, optimizer, PICTURES, mesh, seed=0, ema=False)
    step = make_step(
        module, optimizer, schedule, mesh, plan.shardings, total_steps=10, accumulate=accumulate
    )
    state, values = step(plan.make(), put_batch(PICTURES, mesh))
    return jax.device_get((state.params, values))


@pytest.mark.slow
@pytest.mark.parametrize(
    "mesh",
    [MeshConfig(2, 1, 1), pytest.param(MeshConfig(2, 2, 2), marks=pytest.mark.slow)],
    ids=str,
)
def test_a_mesh_and_micro_batches_give_the_step_of_one_device(mesh):
    """Each row hides the same patches wherever it is."""
    whole, values = one_step(MeshConfig(1, 1, 1))
    parts, others = one_step(mesh, accumulate=2)
    assert float(others["loss"]) == pytest.approx(float(values["loss"]), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), parts, whole)
    assert float(values["sums"]["masked/count"]) == (ROWS - 2) * 12


def test_padding_of_sounds_is_not_guessed():
    frames = np.array([12, 5, 4, 1, 12, 9, 2, 12])
    mask = np.arange(12) < frames[:, None]
    batch = make_batch("audio", input_features=pixels(12, 4), attention_mask=mask)
    strides = {"patch": 2, "frequency_stride": 2, "time_stride": 2}
    encoder = encoders.build(
        "spectrogram_transformer", max_frames=12, mel_bins=4, **strides, **BLOCKS
    )
    module = make_module("audio", encoder, "masked_audio", patch=2)

    @jax.jit
    def run(variables, batch):
        encoded = module.apply(variables, batch, train=False, method="encode")
        output = module.apply(variables, encoded, batch, train=False, method="finish")
        return encoded["audio/hidden_0.8_1"], output

    hidden, output = run(reference.random_variables(module, batch, train=False), batch)
    # Two bands of six patches over time, of which int(12 * 0.2) stay.
    assert hidden.tokens.values.shape == (ROWS, 2 + 2, 8)
    guessed = np.asarray(hidden.labels["restore"]).reshape(ROWS, 2, 6) >= 2
    sounding = np.arange(0, 12, 2) < frames[:, None]
    expected = (guessed & sounding[:, None])[: ROWS - 1].sum()
    assert int(output.metrics["masked/count"]) == expected
    assert np.isfinite(output.loss)


def test_of_several_pictures_the_first_is_hidden():
    views = jax.ShapeDtypeStruct((ROWS, 3, 8, 8, 3), np.float32)
    batch = PICTURES.replace(inputs={"image": {"pixel_values": views}})
    module = pictures_module()

    def run(batch):
        variables = module.init(jax.random.key(0), batch, train=False)
        encoded = module.apply(variables, batch, train=False, method="encode")
        return encoded, module.apply(variables, encoded, batch, train=False, method="finish")

    encoded, _ = jax.eval_shape(run, batch)
    assert encoded["image"].tokens.values.shape == (ROWS, 3 * 17, 8)
    assert encoded["image/hidden_0.75_1"].tokens.values.shape == (ROWS, 1 + 4, 8)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"patch": 4}, "patch=4 cuts 'image' into 4 patches, its encoder into 16"),
        ({"mask_ratio": 1.0}, "mask_ratio = 1.0 of 16 patches"),
        ({"patch": 8}, "mask_ratio = 0.75 of 1 patches"),
        ({"decoder_width": 10}, "width=10 does not divide"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, told):
    module = pictures_module(**settings)
    with pytest.raises(ConfigError, match=told):
        jax.eval_shape(lambda: module.init(jax.random.key(0), PICTURES, train=False))


def test_encoders_that_see_all_patches_are_refused():
    objective = objectives.build("masked_image")
    plain = encoders.build("image_cnn", channels=(8,), blocks=(0,), groups=4, width=8)
    with pytest.raises(ConfigError, match="the encoder ImageCNN of 'image' cannot leave patches"):
        objective.check({"image": plain})
    with pytest.raises(ConfigError, match="no modality 'image'"):
        objective.check({"picture": plain})
