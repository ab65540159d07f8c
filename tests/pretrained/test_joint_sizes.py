"""Configs of well-known dual towers and encoder-decoders mean the published number of parameters.

The numbers are those of transformers' torch classes, of the published checkpoints of these names.
"""

from __future__ import annotations

import jax
import pytest
import reference

from mmjax.core.types import Decoded, Embeddings
from mmjax.pretrained import find

transformers = pytest.importorskip("transformers")

SIZES = {
    "clip-vit-base-patch32": ("clip", {}, 151_277_313),
    "siglip-base-patch16-224": ("siglip", {}, 203_155_970),
    "bart-large": ("bart", {}, 406_291_456),
    "mbart-large-cc25": ("mbart", {"vocab_size": 250027}, 610_851_840),
    "m2m100_418M": ("m2m_100", {}, 483_905_536),
    "t5-small": ("t5", {}, 60_506_624),
    "mt5-small": ("mt5", {}, 300_176_768),
}


@pytest.mark.parametrize("name", sorted(SIZES))
def test_published_number_of_parameters(name):
    model_type, settings, parameters = SIZES[name]
    family = find(model_type)
    config = transformers.CONFIG_MAPPING[model_type](**settings)
    module = family.registry.build(family.spec(config, frozenset()), scan=True)
    found, variables = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), **family.inputs(config), train=False)
    )
    assert reference.count(variables["params"]) == parameters
    if isinstance(found, Embeddings):
        widths = {values.shape for values in found.values.values()}
        assert widths == {(1, {"clip": 512, "siglip": 768}[model_type])}
    else:
        assert isinstance(found, Decoded)
        assert found.logits.shape == (1, 2, config.vocab_size)
        assert found.encoder.values.shape == (1, 2, config.d_model)
