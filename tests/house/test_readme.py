"""What the README tells people to type exists."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest
from flax import linen as nn
from package_files import ROOT

from mmjax import cli
from mmjax.core import config as config_lib
from mmjax.core.types import Tokens

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.M | re.S)
LINES = [
    line.strip()
    for language, block in BLOCKS
    if language in ("bash", "sh")
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.lstrip().startswith("#")
]
TABLES = ("figures", "speed")
"""Each table between two marks, which `benchmarks.figures` makes of the results."""
PYTHON = [block for language, block in BLOCKS if language == "python"]


def test_there_are_commands():
    assert sum(line.startswith("mmjax ") for line in LINES) >= 7
    assert "bash launch/quickstart.sh" in LINES
    assert "bash launch/test.sh" in LINES


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("mmjax ")])
def test_a_command_is_understood(line, monkeypatch):
    arguments = shlex.split(line, comments=True)[1:]
    command = importlib.import_module(f"mmjax.cli.{arguments[0]}")
    asked = []
    monkeypatch.setattr(command, "run", asked.append)
    assert cli.main(arguments) == 0
    assert [one.command for one in asked] == arguments[:1]


def test_every_command_is_in_the_readme():
    for command in cli.COMMANDS:
        assert any(line.startswith(f"mmjax {command} ") for line in LINES), command


def test_named_files_exist():
    text = re.sub("<!--.*?-->", "", README)
    named = re.findall(r"(?:configs|launch|benchmarks|tests|mmjax)/[\w./-]*\w", text)
    missing = [path for path in dict.fromkeys(named) if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("block", PYTHON)
def test_python_is_python(block):
    compile(block, "README.md", "exec")


def module(mark: str, folder: Path) -> ModuleType:
    """The one Python block that holds `mark`, imported from a file as a user's would be."""
    (block,) = (block for block in PYTHON if mark in block)
    path = folder / "from_readme.py"
    path.write_text(block, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = made
    try:
        spec.loader.exec_module(made)
    finally:
        del sys.modules[path.stem]
    return made


def test_the_config_is_one(tmp_path):
    config = config_lib.check(module("def get_config", tmp_path).get_config())
    assert set(config.model.encoders) == set(config.data.modalities)


def test_the_encoder_is_one(tmp_path):
    encoder = module("class MeanColour", tmp_path).MeanColour(width=8)
    pixels = np.random.default_rng(0).random((2, 4, 4, 3), np.float32)
    variables = encoder.init(jax.random.key(0), pixels, train=False)
    tokens = encoder.apply(variables, pixels, train=True)
    assert isinstance(tokens, Tokens)
    assert tokens.values.shape == (2, 1, 8)
    kernel = np.asarray(nn.unbox(variables)["params"]["colour"]["kernel"], np.float64)
    expected = pixels.astype(np.float64).mean(axis=(1, 2)) @ kernel
    np.testing.assert_allclose(tokens.pooled, expected, atol=1e-6)


def test_tables_are_known():
    assert tuple(re.findall(r"<!-- benchmarks/results/(\w+)\.md -->", README)) == TABLES


@pytest.mark.parametrize("name", TABLES)
def test_figures_come_from_the_results(name):
    """The table between the marks, and its file, are what the results give."""
    from benchmarks import figures

    table = figures.TABLES[name]()
    told = "run `python -m benchmarks.figures --readme`"
    _, _, rest = README.partition(f"<!-- benchmarks/results/{name}.md -->\n")
    between, end, _ = rest.partition(f"<!-- end of {name}.md -->\n")
    assert end, f"the README lacks the marks of {name}.md"
    assert between.strip() == table.strip(), told
    written = ROOT / "benchmarks" / "results" / f"{name}.md"
    assert written.read_text(encoding="utf-8").strip() == table.strip(), told
