"""The site in `.docs`: what it links to is there, its commands are understood, and a page that is
followed word for word prints what it shows (`doc_pages`)."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import doc_pages
import pytest
from doc_pages import PAGES, SNIPPET, name_of
from package_files import ROOT

import mmjax
from mmjax import cli

DOCS = ROOT / ".docs"


def commands(text: str) -> list[list[str]]:
    """Those of `mmjax`, without variables before them and what the shell does behind."""
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    called = [re.sub(r"^(\w+=\S+ )+| [>|&] .*$| &$", "", line) for line in lines]
    return [shlex.split(line, comments=True) for line in called if line.startswith("mmjax ")]


def anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-")


def test_every_page_is_in_the_contents():
    listed = re.findall(r"([\w/]+\.md)$", (DOCS / "mkdocs.yml").read_text(), re.M)
    assert sorted(listed) == [name_of(page) for page in PAGES]


def titles(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    included = [(ROOT / name).read_text(encoding="utf-8") for name in SNIPPET.findall(text)]
    return re.findall(r"^#+ (.*)$", "\n".join([text, *included]), re.M)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_snippets_lead_somewhere(page):
    text = doc_pages.prose(page)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, part = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.is_file(), target
        assert not part or part in map(anchor, titles(other)), target
    for snippet in SNIPPET.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / snippet).is_file(), snippet
    for named in re.findall(r"`((?:configs|launch|benchmarks|tests|mmjax)/[\w./-]*\w)`", text):
        assert (ROOT / named).exists(), named


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_are_what_they_say(page, monkeypatch):
    for block in doc_pages.blocks(page):
        assert block.language in ("python", "bash"), "a block of no language"
        assert block.reason or "pip install" not in block.text, "it would change who tests"
        if block.language == "python" and not SNIPPET.search(block.text):
            compile(block.text, page.name, "exec")
        for arguments in commands(block.text) if block.language == "bash" else ():
            if "--help" in arguments:
                assert arguments[1] in cli.COMMANDS
                continue
            command = importlib.import_module(f"mmjax.cli.{arguments[1]}")
            asked = []
            monkeypatch.setattr(command, "run", asked.append)
            assert cli.main(arguments[1:]) == 0, arguments
            assert [one.command for one in asked] == arguments[1:2]
            for part in arguments:
                if re.fullmatch(r"configs/\w+\.py", part):
                    assert (ROOT / part).is_file(), part


def test_every_command_is_told():
    told = (DOCS / "pages" / "reference" / "commands.md").read_text(encoding="utf-8")
    for command in cli.COMMANDS:
        assert f"\nmmjax {command} " in told, command


def test_every_public_name_is_in_the_reference():
    pages = "\n".join(one.read_text() for one in (DOCS / "pages" / "reference").glob("*.md"))
    told = re.findall(r"^::: ([\w.]+)(?:\n    options:\n      members: \[(.*?)\])?", pages, re.M)
    names = {f"{place}.{name}" for place, members in told for name in members.split(", ")}
    whole = {place for place, members in told if not members}
    for name in mmjax.__all__:
        place = mmjax._PLACES.get(name) or mmjax._CALLED.get(name)
        if place:
            assert f"{place}.{name}" in names | whole or place in whole, name
        else:
            assert f"mmjax.{name}" in whole, name


SHOWN = """
run    accuracy   loss
──────────────────────
a         0.78    1.2e-3
...
folder  runs/...
"""


@pytest.mark.parametrize(
    ("printed", "same"),
    [
        ("run accuracy loss\n\na 0.785 0.0012\nfolder runs/a", True),
        ("run accuracy loss\na 0.78 1.2e-3\nb 0.5 7\n\nc\nfolder  runs/a/b", True),
        ("run accuracy loss\na 0.80 0.0012\nfolder runs/a", False),
        ("run accuracy loss\na 0.78 0.0112\nfolder runs/a", False),
        ("run accuracy loss\na 0.78 0.0012\nanother runs/a", False),
        ("first\nrun accuracy loss\na 0.78 0.0012\nfolder runs/a", False),
    ],
)
def test_printed_is_compared_with_shown(printed, same):
    assert (doc_pages.difference(printed, SHOWN) == "") == same


def test_a_tolerance_is_of_the_numbers():
    assert not doc_pages.difference("a 0.9 of 12", "a 0.78 of 12", within=0.2)
    assert doc_pages.difference("a 0.9 of 12", "a 0.78 of 12", within=0.1)
    assert doc_pages.difference("a 0.78 of 13", "a 0.78 of 12", within=9.0)


def test_a_page_is_followed(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 2\nx / 3\n```\n\n```text\n0.667\n```\n\n"
        "<!-- not run: no -->\n```bash\nfalse\n```\n\n"
        "```bash\necho one; echo $((1 + 1)) >&2\n```\n\n```text\none\n2\n```\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doc_pages, "PAGES_FOLDER", tmp_path)
    doc_pages.follow(page)
    page.write_text(page.read_text().replace("0.667", "0.666"))
    doc_pages.follow(page)
    page.write_text(page.read_text().replace("0.666", "0.766"))
    with pytest.raises(AssertionError, match=r"0\.766 is shown"):
        doc_pages.follow(page)


@pytest.fixture(scope="session")
def followed(tmp_path_factory):
    """The folder that a page leaves: a fresh copy of the repository, followed once."""
    folders: dict[Path, Path] = {}

    def follow(page: Path) -> Path:
        if page not in folders:
            folder = tmp_path_factory.mktemp("followed") / "mmjax"
            before = doc_pages.after(page)
            if before:
                shutil.copytree(follow(before), folder)
            else:
                doc_pages.copy_repository(folder)
            doc_pages.follow_apart(page, folder)
            folders[page] = folder
        return folders[page]

    return follow


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_prints_what_it_shows(page, followed):
    followed(page)


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


def test_every_example_is_on_its_page():
    page = (DOCS / "pages" / "examples.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "launch" / "examples").glob("*.py")):
        assert f"--8<--\nlaunch/examples/{path.name}\n--8<--" in page, path.name
        assert f"\npython launch/examples/{path.name}\n" in page, path.name
