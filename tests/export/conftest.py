import pytest
import tiny_run


@pytest.fixture(scope="module", autouse=True)
def one_device():
    with tiny_run.one_device():
        yield
