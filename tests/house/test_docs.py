"""The site in `.docs`: what it links to is there, its commands are understood, its Python runs."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from package_files import ROOT

from mmjax import cli

DOCS = ROOT / ".docs"
PAGES = sorted((DOCS / "pages").rglob("*.md"))
WHOLE = ("start.md",)
"""Pages whose commands are run as well, in their order among the blocks of Python."""
_BLOCK = re.compile(r"(?:<!-- not run: (.*?) -->\s*)?^```(\w*)\n(.*?)^```", re.M | re.S)
_SNIPPET = re.compile(r'--8<-- "(.*?)"')


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS / "pages"))


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Why it is not run, the language, and the text of each block."""
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


def commands(text: str) -> list[list[str]]:
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("mmjax ")]


def anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-")


def test_every_page_is_in_the_contents():
    listed = re.findall(r"([\w/]+\.md)$", (DOCS / "mkdocs.yml").read_text(), re.M)
    assert sorted(listed) == [name_of(page) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_snippets_lead_somewhere(page):
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, part = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.is_file(), target
        titles = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.M)
        assert not part or part in map(anchor, titles), target
    for snippet in _SNIPPET.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / snippet).is_file(), snippet
    for named in re.findall(r"`((?:configs|launch|benchmarks|tests|mmjax)/[\w./-]*\w)`", text):
        assert (ROOT / named).exists(), named


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_are_what_they_say(page, monkeypatch):
    for _, language, text in blocks(page):
        assert language in ("python", "bash"), "a block of no language"
        if language == "python" and not _SNIPPET.search(text):
            compile(text, page.name, "exec")
        for arguments in commands(text) if language == "bash" else ():
            if "--help" in arguments:
                assert arguments[1] in cli.COMMANDS
                continue
            command = importlib.import_module(f"mmjax.cli.{arguments[1]}")
            asked = []
            monkeypatch.setattr(command, "run", asked.append)
            assert cli.main(arguments[1:]) == 0, arguments
            assert len(asked) == 1
            for part in arguments:
                if re.fullmatch(r"configs/\w+\.py", part):
                    assert (ROOT / part).is_file(), part


def run_page(page: Path) -> None:
    """Every block of a page, as one program, in this process and folder."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for reason, language, text in blocks(page):
        if reason or _SNIPPET.search(text):
            continue
        if language == "bash" and name_of(page) in WHOLE:
            for arguments in commands(text):
                assert cli.main(arguments[1:]) == 0, arguments
        elif language == "python" and text.startswith("# file: "):
            Path(text.partition("\n")[0].removeprefix("# file: ")).write_text(text)
        elif language == "python":
            exec(compile(text, str(page), "exec"), namespace)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_runs(page, tmp_path):
    """In a process of its own: what a page registers is its own."""
    code = (
        "import os, sys; sys.path[:0] = [os.getcwd(), sys.argv[2]]\n"
        "import pathlib, test_docs; test_docs.run_page(pathlib.Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(page), str(Path(__file__).parent)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(DOCS / "mkdocs.yml")]
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "site")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    home = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "Ten minutes" in home
    assert "fonts.googleapis" not in home
    fusion = (tmp_path / "site" / "guides" / "fusion.html").read_text(encoding="utf-8")
    assert "cross_attention" in fusion
    assert "--8&lt;--" not in fusion


EXAMPLES = sorted((ROOT / "launch" / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_what_it_shows(path):
    text = path.read_text(encoding="utf-8")
    module = compile(text, str(path), "exec")
    first = module.co_consts[0]
    assert isinstance(first, str)
    assert f"python launch/examples/{path.name}" in first


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), "--quick"])
    runpy.run_path(str(path), run_name="__main__")
