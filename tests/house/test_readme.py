"""What the README tells people to type exists."""

from __future__ import annotations

import importlib
import re
import shlex

import pytest
from package_files import ROOT

from mmjax import cli

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
    assert sum(line.startswith("mmjax ") for line in LINES) >= 6
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


def test_named_files_exist():
    text = re.sub("<!--.*?-->", "", README)
    named = re.findall(r"(?:configs|launch|benchmarks|tests|mmjax)/[\w./-]*\w", text)
    missing = [path for path in dict.fromkeys(named) if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("block", PYTHON)
def test_python_is_python(block):
    compile(block, "README.md", "exec")


def test_it_is_short():
    assert len(README.splitlines()) <= 160


def test_links_lead_somewhere():
    missing = [
        path for path in re.findall(r"\]\(([^)#]+)\)", README) if not (ROOT / path).is_file()
    ]
    assert not missing


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
