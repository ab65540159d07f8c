"""Pictures by address: https from listed hosts alone, at an address of theirs that is public.

A host is resolved once, every address of it must be public, and the one that is connected to is the
one that was checked; redirects are not followed.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable

from mmjax.serve.config import Limits
from mmjax.serve.errors import ServeError

Resolve = Callable[[str], list[str]]

_PIECE = 1 << 16


def addresses_of(host: str) -> list[str]:
    """Every address of a host."""
    found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in found})


def is_public(address: str) -> bool:
    """Whether an address is one of the open net: not private, local, shared, mapped or reserved."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo or (None, None))[1]
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return parsed.is_global and not parsed.is_multicast


def target(url: str, limits: Limits, resolve: Resolve = addresses_of) -> tuple[str, str, str]:
    """Host, checked address and path of a picture's address; raises ServeError 810."""
    if not limits.image_hosts:
        raise ServeError(810, "addresses are not fetched here", fix="send the picture as base64")
    try:
        parts = urllib.parse.urlsplit(url)
        port, host = parts.port, (parts.hostname or "").rstrip(".")
    except ValueError as error:
        raise ServeError(810, "no address", fix="https://HOST/PATH") from error
    plain = url.isascii() and url.isprintable() and " " not in url
    if (
        parts.scheme != "https"
        or port not in (None, 443)
        or parts.username is not None
        or not plain
    ):
        raise ServeError(810, "no plain https address", fix="https://HOST/PATH, without a user")
    if host not in limits.image_hosts:
        listed = ", ".join(limits.image_hosts)
        raise ServeError(810, f"host '{host[:80]}' is not allowed", fix=f"allowed: {listed}")
    try:
        found = resolve(host)
    except OSError as error:
        raise ServeError(810, f"host '{host[:80]}' is not known", fix="check its name") from error
    if not found or not all(map(is_public, found)):
        raise ServeError(810, f"host '{host[:80]}' has no public address", fix="send base64")
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    return host, found[0], path


def fetch(url: str, limits: Limits, *, most: int, resolve: Resolve = addresses_of) -> bytes:
    """The bytes behind an address, `most` at most, within `limits.fetch_s` seconds."""
    ends = time.monotonic() + limits.fetch_s
    host, address, path = target(url, limits, resolve)
    connection = _Pinned(host, address, limits.fetch_s)
    try:
        connection.request("GET", path, headers={"Accept": "image/*", "User-Agent": "mmjax"})
        response = connection.getresponse()
        if response.status != 200:
            raise ServeError(
                810, f"the host answered {response.status}", fix="give its last address"
            )
        pieces, size = [], 0
        while piece := response.read1(_PIECE):
            size += len(piece)
            if size > most or time.monotonic() > ends:
                raise ServeError(810, "the picture is too large, or comes too slowly")
            pieces.append(piece)
        return b"".join(pieces)
    except (OSError, http.client.HTTPException) as error:
        raise ServeError(810, f"fetching failed: {type(error).__name__}") from error
    finally:
        connection.close()


class _Pinned(http.client.HTTPSConnection):
    """Connects to one address, and asks for the certificate of the host."""

    def __init__(self, host: str, address: str, seconds: float):
        self._tls = ssl.create_default_context()
        super().__init__(host, 443, timeout=seconds, context=self._tls)
        self._address = address

    def connect(self) -> None:
        plain = socket.create_connection((self._address, 443), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
