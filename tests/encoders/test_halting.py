"""Encoders that halt between their blocks, and those that cannot."""

import jax
import numpy as np
import pytest
import reference
from flax import linen as nn

from mmjax import encoders
from mmjax.encoders.halting import halt
from mmjax.models.encoding import encode_views

RNG = np.random.default_rng(0)
TEXT = {
    "input_ids": RNG.integers(2, 11, (2, 5)).astype(np.int32),
    "attention_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool),
}
WORDS = {"vocab_size": 11, "max_length": 9}
PICTURE = {"pixel_values": RNG.standard_normal((2, 8, 8, 3)).astype(np.float32)}
VIEWS = {"pixel_values": RNG.standard_normal((2, 3, 8, 8, 3)).astype(np.float32)}
VIDEO = {**VIEWS, "frame_mask": np.ones((2, 3), bool)}
SMALL = {"width": 8, "depth": 2, "heads": 2, "mlp_dim": 12}


class Holder(nn.Module):
    """Runs an encoder at once, or block by block."""

    encoder: nn.Module

    def __call__(self, fields):
        return encode_views(self.encoder, fields, train=False)

    def in_parts(self, fields):
        halted = halt(lambda: self(fields))
        if halted is None:
            return None
        for blocks in (1, 1, halted.stack.depth):
            halted.advance(blocks)
            halted.values = halted.values + 0.0
        return halted.finish()


@pytest.mark.parametrize(
    ("name", "options", "fields"),
    [
        ("albert", WORDS, TEXT),
        ("deberta", {**WORDS, "max_distance": 4, "buckets": 0}, TEXT),
        ("beit", {"image_size": 8}, PICTURE),
        ("vit", {"image_size": 8, "remat": "full"}, VIEWS),
    ],
)
def test_in_parts_is_as_at_once(name, options, fields):
    """Bit for bit; the parameters are the same ones."""
    module = Holder(encoders.build(name, **SMALL, **options))
    variables = reference.random_variables(module, fields)

    @jax.jit
    def both(variables):
        return module.apply(variables, fields), module.apply(variables, fields, method="in_parts")

    whole, parts = both(variables)
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    halting = jax.eval_shape(lambda: module.init(jax.random.key(0), fields, method="in_parts"))
    plain = jax.eval_shape(lambda: module.init(jax.random.key(0), fields))
    assert jax.tree.structure(halting) == jax.tree.structure(plain)


@pytest.mark.parametrize(
    ("name", "options", "fields"),
    [
        ("bag_of_subwords", {"vocab_size": 11}, TEXT),
        ("image_cnn", {"channels": (8,), "blocks": (0,)}, PICTURE),
        ("deberta", {**SMALL, **WORDS, "conv_kernel": 3}, TEXT),
        ("frames", {**SMALL, "temporal": "mean", "image_size": 8}, VIDEO),
    ],
)
def test_without_one_row_of_blocks_over_all_tokens(name, options, fields):
    module = Holder(encoders.build(name, **options))
    shapes = reference.shapes(module, fields)
    found = jax.eval_shape(lambda v: module.apply(v, fields, method="in_parts"), shapes)
    assert found is None
