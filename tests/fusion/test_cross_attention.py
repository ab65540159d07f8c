import functools

import pytest
import reference
from agreement import agree
from methods.cross_attention import cross_attention
from tiny_tokens import SIZES, make_tokens

from mmjax import fusion
from mmjax.core.errors import ConfigError


def test_one_modality_queries():
    options = {"heads": 2, "mlp_dim": 16, "queries": ("image",)}
    params = agree(
        "cross_attention", functools.partial(cross_attention, queries=("image",)), options
    )
    assert {name for name in SIZES if name in params} == {"image"}


def test_an_unknown_query_is_refused():
    module = fusion.build("cross_attention", queries=("imag",))
    with pytest.raises(ConfigError, match=r"no modality 'imag'.*did you mean 'image'"):
        reference.shapes(module, make_tokens(), train=False)
