import pytest
from shims import Shims


@pytest.fixture
def shims(tmp_path) -> Shims:
    return Shims(tmp_path)
