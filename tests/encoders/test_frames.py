import dataclasses
import functools

import jax
import numpy as np
import pytest
import reference

from mmjax import encoders
from mmjax.core import config
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.encoders import EncoderSpec
from mmjax.nn.positions import sinusoids

PIXELS = np.random.default_rng(0).standard_normal((3, 4, 8, 8, 3)).astype(np.float32)
MASK = np.arange(4) < np.array([[4], [2], [0]])
IMAGE = Spec("vit", width=8, depth=1, heads=2, mlp_dim=16)
SIZES = {"depth": 1, "heads": 2, "mlp_dim": 16}


def run(module, variables, **fields):
    return jax.jit(functools.partial(module.apply, train=False))(variables, **fields)


@pytest.mark.parametrize("temporal", ["mean", "transformer"])
def test_a_token_is_a_frame_as_the_image_encoder_sees_it(temporal):
    facts = {"image_size": 8}
    module = encoders.registry.build(
        "frames", facts=facts, image=IMAGE, temporal=temporal, width=8, **SIZES
    )
    fields = {"pixel_values": PIXELS, "frame_mask": MASK}
    variables = reference.random_variables(module, **fields, train=False)
    tokens = run(module, variables, **fields)
    image = encoders.registry.build(IMAGE, facts=facts)
    own = {"params": variables["params"]["image_encoder"]}
    view = jax.jit(functools.partial(image.apply, train=False))
    x = np.stack([view(own, pixel_values=PIXELS[:, t]).pooled for t in range(4)], axis=1)
    if temporal == "transformer":
        p = reference.double(variables["params"]["transformer"])
        x = np.float64(x) + np.float64(sinusoids(np.arange(4), 8))
        x = reference.transformer(p, x, MASK, norm="pre", eps=1e-6)
    np.testing.assert_allclose(np.asarray(tokens.values)[MASK], x[MASK], atol=5e-5)
    np.testing.assert_allclose(tokens.pooled, reference.masked_mean(x, MASK), atol=5e-5)
    np.testing.assert_array_equal(tokens.mask, MASK)


def test_another_width_is_projected_to():
    module = encoders.registry.build("frames", facts={"image_size": 8}, image=IMAGE, width=6)
    variables = reference.random_variables(module, PIXELS, MASK, train=False)
    assert variables["params"]["projection"]["kernel"].shape == (8, 6)


@dataclasses.dataclass(frozen=True)
class Settings:
    video: EncoderSpec = Spec("frames")


def test_the_image_encoder_is_set_by_name_and_by_its_own_settings():
    settings = config.override(
        Settings(), ["video.image=vit", "video.image.depth=3", "video.temporal=transformer"]
    )
    assert settings.video.options["image"] == Spec("vit", depth=3)
    again = config.from_json(Settings, config.to_json(settings))
    assert config.to_json(again) == config.to_json(settings)
    module = encoders.registry.build(again.video, facts={"image_size": 8})
    assert reference.shapes(module, PIXELS, MASK, train=False)["params"]["image_encoder"]
    with pytest.raises(ConfigError, match="did you mean 'depth'"):
        config.override(settings, ["video.image.dept=3"])
