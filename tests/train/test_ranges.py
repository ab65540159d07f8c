"""Settings of objectives that make no sense."""

import pytest

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.train.config import Config
from mmjax.train.ranges import require_ranges


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("contrastive", {"temperature": 0.0}, "objectives.one.temperature = 0.0 is out of range"),
        ("siglip", {"max_scale": -1.0}, "objectives.one.max_scale = -1.0"),
        ("contrastive", {"label_smoothing": 1.0}, "objectives.one.label_smoothing = 1.0"),
        ("momentum_contrastive", {"alpha": 1.5}, "objectives.one.alpha = 1.5"),
        ("momentum_contrastive", {"queue_size": -1}, "objectives.one.queue_size = -1"),
        ("matching", {"chunk": 0}, "objectives.one.chunk = 0"),
        ("triplet", {"weight": -1.0}, "objectives.one.weight = -1.0"),
    ],
)
def test_what_makes_no_sense_is_refused(name, options, told):
    require_ranges(Config(objectives={"one": Spec(name)}))
    with pytest.raises(ConfigError, match="MMX-106") as error:
        require_ranges(Config(objectives={"one": Spec(name, **options)}))
    assert told in str(error.value)
