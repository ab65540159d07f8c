import pytest
import reference
from tiny_tokens import make_tokens

from mmjax import fusion
from mmjax.core.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tensor_width": 10, "limit": 1000}, r"makes 1331 products.*1000.*tensor_width=9"),
        ({"tensor_width": 4, "limit": 7}, r"makes 125 products.*'low_rank'.*limit=125"),
    ],
)
def test_too_many_products_are_refused(options, message):
    module = fusion.build("tensor", **options)
    with pytest.raises(ConfigError, match=message):
        reference.shapes(module, make_tokens(), train=False)


def test_the_width_that_is_proposed_is_taken():
    module = fusion.build("tensor", width=8, tensor_width=9, limit=1000)
    params = reference.shapes(module, make_tokens(), train=False)["params"]
    assert params["out"]["kernel"].shape == (1000, 8)
