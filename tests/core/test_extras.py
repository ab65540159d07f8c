import json
import sys

import pytest

from mmjax.core import extras
from mmjax.core.errors import ConfigError


def test_a_package_that_is_there_is_imported():
    assert extras.require("json", "any") is json


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(extras.MissingExtra, match=r"MMX-114.*pip install 'mmjax\[tensorboard\]'"):
        extras.require("tensorboardX", "tensorboard")
    assert issubclass(extras.MissingExtra, ConfigError)
    assert issubclass(extras.MissingExtra, ImportError)
