import functools

import pytest
import reference
from agreement import agree
from methods.film import film
from tiny_tokens import make_tokens

from mmjax import fusion
from mmjax.core.errors import ConfigError


def test_one_modality_is_modulated():
    targets = ("image",)
    params = agree("film", functools.partial(film, targets=targets), {"targets": targets})
    assert [name for name in params if name.endswith("_modulation")] == ["image_modulation"]


def test_an_unknown_target_is_refused():
    module = fusion.build("film", targets=("imag",))
    with pytest.raises(ConfigError, match=r"no modality 'imag'.*did you mean 'image'"):
        reference.shapes(module, make_tokens(), train=False)
