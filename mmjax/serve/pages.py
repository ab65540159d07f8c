"""The pages for people: files of this folder, with a policy that lets them load nothing else."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from pathlib import Path

_HERE = Path(__file__).parent
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.S)


@dataclasses.dataclass(frozen=True)
class Page:
    """A page and the headers that it is sent with."""

    body: bytes
    headers: dict[str, str]


def page(name: str) -> Page:
    """`page.html` or `docs.html`; a browser runs no script on it but the one that it has."""
    text = (_HERE / name).read_text(encoding="utf-8")
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in _SCRIPT.findall(text)
    )
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self' blob: data:; media-src blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    return Page(text.encode(), headers)
