"""What the README tells people to type exists."""

from __future__ import annotations

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
PYTHON = [block for language, block in BLOCKS if language == "python"]


def test_there_are_commands():
    assert sum(line.startswith("mmjax ") for line in LINES) >= 7
    assert "bash launch/quickstart.sh" in LINES
    assert "bash launch/test.sh" in LINES


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("mmjax ")])
def test_a_command_parses(line):
    arguments = shlex.split(line, comments=True)[1:]
    args = cli._parser(arguments).parse_args(arguments)
    assert args.command in cli.COMMANDS


def test_every_command_is_in_the_readme():
    for command in cli.COMMANDS:
        assert any(line.startswith(f"mmjax {command} ") for line in LINES), command


def test_named_files_exist():
    named = re.findall(r"(?:configs|launch|benchmarks|tests|mmjax)/[\w./-]*\w", README)
    missing = [path for path in dict.fromkeys(named) if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("block", PYTHON)
def test_python_is_python(block):
    compile(block, "README.md", "exec")
