"""The pages of `.docs`, followed word for word: their blocks run in order, and what they print is
compared with what is shown.

Blocks of bash and Python run as a reader would run them, in one folder, Python in one session that
shows the last value of a block as a notebook does. A block of text behind one is its output.
There `...` stands for anything, a line of it alone for any lines; numbers with a point agree to the
digits that are shown, or within the tolerance of a comment before the block, which readers do not
see; spaces and the lines of tables are not compared. Comments in a page's source:

    <!-- after: start.md -->     the page goes on in the folder that this one leaves
    <!-- not run: reason -->     the next block is shown alone
    <!-- within 0.2 -->          how far the numbers of the next output may be off
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from package_files import ROOT

PAGES_FOLDER = ROOT / ".docs" / "pages"
PAGES = sorted(PAGES_FOLDER.rglob("*.md"))
SNIPPET = re.compile(r'--8<--(?: "|\n)(.*?)(?:"|\n--8<--)')
_BLOCK = re.compile(r"(?:<!-- (not run|within):? (.*?) -->\n+)?^```(\w*)\n(.*?)^```", re.M | re.S)
_AFTER = re.compile(r"<!-- after: (\S+) -->")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*\.\d+(?:e[-+]?\d+)?(?!\w|\.\d)")
_ANY_NUMBER = r"([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)"


@dataclasses.dataclass(frozen=True)
class Block:
    language: str
    text: str
    reason: str = ""
    """Why it is not run."""
    printed: str | None = None
    within: float | None = None

    @property
    def runs(self) -> bool:
        return not self.reason and not SNIPPET.search(self.text)


def name_of(page: Path) -> str:
    return str(page.relative_to(PAGES_FOLDER))


def prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def after(page: Path) -> Path | None:
    """The page whose folder this one goes on in."""
    found = _AFTER.search(page.read_text(encoding="utf-8"))
    return PAGES_FOLDER / found[1] if found else None


def blocks(page: Path) -> list[Block]:
    """The blocks of bash and Python, each with the output that stands behind it."""
    found: list[Block] = []
    for mark, said, language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "text":
            within = float(said) if mark == "within" else None
            found[-1] = dataclasses.replace(found[-1], printed=text, within=within)
        else:
            found.append(Block(language, text, said if mark == "not run" else ""))
    return found


def _plain(text: str) -> list[str]:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line.strip("─━-| ")]


def _pattern(expected: list[str]) -> tuple[str, list[str]]:
    """A regular expression of the expected lines, and the numbers that its groups stand for."""
    numbers: list[str] = []

    def escape(text: str) -> str:
        parts, end = [], 0
        for one in _NUMBER.finditer(text):
            parts += [re.escape(text[end : one.start()]), _ANY_NUMBER]
            numbers.append(one[0])
            end = one.end()
        return "".join([*parts, re.escape(text[end:])])

    made = ""
    for line in expected:
        if line == "...":
            made += r"(?:.*\n)*?"
        else:
            made += r"[^\n]*?".join(escape(part) for part in line.split("...")) + r"\n"
    return made, numbers


def difference(printed: str, expected: str, within: float | None = None) -> str:
    """Why `printed` is not what a page shows; empty if it is."""
    lines = _plain(printed)
    pattern, numbers = _pattern(_plain(expected))
    found = re.fullmatch(pattern, "".join(f"{line}\n" for line in lines))
    both = "\n".join(["shown:", expected, "printed:", *lines])
    if not found:
        return both
    for shown, got in zip(numbers, found.groups(), strict=True):
        digits = len(shown.partition("e")[0].partition(".")[2])
        scale = 10.0 ** int(shown.partition("e")[2] or 0)
        allowed = 10.0**-digits * scale * 1.01 if within is None else within
        if abs(_value(shown) - _value(got)) > allowed:
            return f"{shown} is shown, {got} was printed\n{both}"
    return ""


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def execute(text: str, namespace: dict[str, Any]) -> str:
    """What a block of Python prints, and the value of its last expression."""
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(tree, "<page>", "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<page>", "eval"), namespace)
            if value is not None:
                print(repr(value), file=out)
    return out.getvalue()


def environment(folder: Path) -> dict[str, str]:
    """A reader's: nothing of the tests', and the package of the folder itself."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "MMJAX_", "PYTEST"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return kept | {"PATH": path, "PYTHONPATH": str(folder), "COLUMNS": "100"}


def copy_repository(folder: Path) -> None:
    """A fresh clone with what is not committed yet."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def follow(page: Path) -> None:
    """Runs a page in this process and folder; raises where it prints what is not shown."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if not block.runs:
            continue
        first = block.text.partition("\n")[0]
        if first.startswith("# file: "):
            Path(first.removeprefix("# file: ")).write_text(block.text, encoding="utf-8")
            continue
        if block.language == "python":
            printed = execute(block.text, namespace)
        else:
            done = subprocess.run(
                ["bash", "-ec", block.text],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            printed = done.stdout
            assert done.returncode == 0, f"{block.text}{printed}"
        if block.printed is not None:
            wrong = difference(printed, block.printed, block.within)
            assert not wrong, f"{name_of(page)}: {block.text}{wrong}"


def follow_apart(page: Path, folder: Path) -> None:
    """The same in a process of its own: what a page registers is its own."""
    code = (
        "import os, sys, pathlib; sys.path[:0] = [os.getcwd(), sys.argv[2]]\n"
        "import doc_pages; doc_pages.follow(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(page), str(Path(__file__).parent)],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-8000:]
