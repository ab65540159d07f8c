from pathlib import Path

import pytest
import tiny_run


@pytest.fixture(autouse=True)
def one_device():
    with tiny_run.one_device():
        yield


@pytest.fixture(autouse=True)
def plain_figures(monkeypatch):
    """Figures, which tests/report looks at, take most of the time of a report."""
    tiny_run.plain_figures(monkeypatch)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    return tiny_run.trained(tmp_path_factory)
