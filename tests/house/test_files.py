"""Size, layout and wording of what is in the repository."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from package_files import ROOT, nodes, place, room_of

LAYOUT = {
    "LICENSE",
    "NOTICE.md",
    "README.md",
    "benchmarks",
    "configs",
    "launch",
    "mmjax",
    "pyproject.toml",
    "requirements.lock",
    "tests",
}
MOST_LINES = 400


def tracked() -> list[Path]:
    """What git holds, or would: every file that is not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git clone")
    names = [name for name in listed.stdout.split("\0") if name]
    return [path for path in map(Path, names) if (ROOT / path).is_file()]


def test_top_level_holds_only_what_it_should():
    found = {path.parts[0] for path in tracked()}
    extra = {name for name in found - LAYOUT if not name.startswith(".")}
    assert not extra, f"at the top level there is no place for {sorted(extra)}"
    assert not LAYOUT - found, f"missing: {sorted(LAYOUT - found)}"


def test_files_hold_one_concept():
    long = [
        f"{path}: {lines} lines"
        for path in tracked()
        if path.suffix == ".py" and path.parts[0] != "tests"
        for lines in [len((ROOT / path).read_text(encoding="utf-8").splitlines())]
        if lines > MOST_LINES
    ]
    assert not long, f"over {MOST_LINES} lines, so look for a second concept: {long}"


def test_only_the_cli_prints():
    wrong = [
        place(path, node)
        for path, node in nodes()
        if room_of(path) != "cli"
        and isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not wrong, f"use logging, or mmjax.writers.console: {wrong}"


def test_test_files_have_names_of_their_own():
    """Folders of tests are no packages, so each file is imported by its bare name; so is a folder
    of cases, which is one."""
    python = [p for p in tracked() if p.parts[0] == "tests" and p.suffix == ".py"]
    packages = {path.parent for path in python if path.name == "__init__.py"}
    names = [path.stem for path in python if path.parent not in packages]
    counts = Counter([*names, *(folder.name for folder in packages)])
    assert not [name for name, count in counts.items() if count > 1 and name != "conftest"]


def test_no_unfinished_work_and_no_addresses_of_machines():
    refused = re.compile(
        r"\bTODO\b|\bFIXME\b|\bXXX\b|raise NotImplementedError|/home/\w|/root/|index-url"
    )
    suffixes = {".py", ".sh", ".md", ".toml", ".lock"}
    wrong = []
    for path in tracked():
        if path.suffix not in suffixes or path.name == Path(__file__).name:
            continue
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1):
            if refused.search(line):
                wrong.append(f"{path}:{number}: {line.strip()}")
    assert not wrong, "\n".join(["", *wrong])


def test_the_lock_pins_everything_with_hashes():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.M)
    entries = re.findall(
        r"^[a-z0-9-]+.*\\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, re.M
    )
    assert len(pins) == len(entries) > 50
    locked = dict(pins)
    assert {"torch", "tensorflow", "numba"}.isdisjoint(locked)
    assert not [name for name in locked if name.startswith("nvidia")]
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    runtime = re.search(r"^dependencies = \[(.*?)\]", pyproject, re.M | re.S)
    wanted = re.findall(r'"([\w-]+)', runtime[1])
    assert not [name for name in wanted if name.lower() not in locked]
