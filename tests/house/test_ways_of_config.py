"""The ways that `configs/quickstart_adapters.py` names are ways that there are."""

import re

from package_files import ROOT

from mmjax.adapt import registry
from mmjax.core import config as config_lib
from mmjax.train import adapting

CONFIG = ROOT / "configs" / "quickstart_adapters.py"


def test_every_way_that_is_named_is_built():
    lines = [re.findall(r"'(\S+?=.*?)'", one) for one in CONFIG.read_text().splitlines()]
    found = {"bottleneck"}
    for changes in filter(None, lines):
        config = config_lib.override(config_lib.load(CONFIG), changes)
        built = adapting.strategies(config)
        assert set(built) == {change.split("=")[0].split(".")[1] for change in changes} & {
            "text",
            "base",
        }
        found |= {spec.name for spec in config.adapt.values()}
    assert found == set(registry) - {"only"}
