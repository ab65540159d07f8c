"""The frame of every page: its style, contents and sections."""

from __future__ import annotations

import importlib.resources
import string
from collections.abc import Sequence
from pathlib import Path

from mmjax.core.files import atomic
from mmjax.report.html import escape

Section = tuple[str, str, str | None]
"""Anchor, title and markup; without markup the section is left out."""


def frame(title: str, sections: Sequence[Section], *, folder: str = "", headline: str = "") -> str:
    """The page as text; `headline` is markup as well."""
    shown = [(name, heading, body) for name, heading, body in sections if body is not None]
    here = importlib.resources.files("mmjax.report")
    template = string.Template((here / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        style=(here / "page.css").read_text(encoding="utf-8"),
        folder=f"<p><code>{escape(folder)}</code></p>" if folder else "",
        headline=headline,
        navigation="".join(
            f'<li><a href="#{name}">{heading}</a></li>' for name, heading, _ in shown
        ),
        sections="".join(
            f'<section id="{name}" aria-labelledby="{name}-title">'
            f'<h2 id="{name}-title">{heading}</h2>{body}</section>'
            for name, heading, body in shown
        ),
    )


def write_page(path: str | Path, page: str) -> Path:
    """Writes a page, whole or not at all."""
    path = Path(path)
    with atomic(path) as file:
        file.write(page)
    return path
