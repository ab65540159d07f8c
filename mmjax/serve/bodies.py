"""A request's body under limits: of bytes once decompressed, of time, and of all bodies held."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from mmjax.serve.config import Limits
from mmjax.serve.errors import ServeError, retry

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_PIECE = 1 << 20
_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""What zlib calls the formats of content encodings; `deflate` is zlib's own."""


class ClientGone(Exception):
    """The client closed the connection, so there is nobody to answer."""


class Bodies:
    """Reads bodies, and knows how many bytes of them are held."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self.held = 0

    async def read(self, receive: Receive, headers: Any) -> bytes:
        """The whole body, decompressed. `headers` is a mapping with lower-case names.

        Raises ServeError 807 if it comes too slowly, 808 if it is too large, 809 if its encoding is
        not read, 800 if it is damaged, 811 if too many bytes are held; ClientGone.
        """
        most = self._limits.max_body_bytes
        announced = headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced[:20]) > most:
            raise _too_large(most)
        encoding = headers.get("content-encoding", "identity").strip().lower() or "identity"
        if encoding != "identity" and encoding not in _WINDOW:
            raise ServeError(809, f"content encoding '{encoding[:40]}'", fix="gzip, deflate, none")
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(self._limits.body_s):
                inflate = None if encoding == "identity" else _Inflate(_WINDOW[encoding])
                await self._collect(receive, inflate, pieces, most)
        except TimeoutError:
            seconds = f"{self._limits.body_s:g} s"
            raise ServeError(807, f"the body took longer than {seconds}", fix="send it") from None
        finally:
            self.held -= sum(map(len, pieces))
        return b"".join(pieces)

    async def _collect(
        self, receive: Receive, inflate: _Inflate | None, pieces: list[bytes], most: int
    ) -> None:
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            sent = message.get("body", b"")
            for piece in [sent] if inflate is None else inflate(sent):
                size += len(piece)
                if size > most:
                    raise _too_large(most)
                if self.held + len(piece) > self._limits.max_buffered_bytes:
                    raise retry(811, "too many bodies are being read", 1)
                self.held += len(piece)
                pieces.append(piece)
            if not message.get("more_body", False):
                if inflate is not None and not inflate.whole:
                    raise _damaged()
                return


class _Inflate:
    """Decompresses in pieces, so that no more than one of them is there beyond the limit."""

    def __init__(self, window: int):
        self._window = window
        self._stream = zlib.decompressobj(window)

    @property
    def whole(self) -> bool:
        return self._stream.eof

    def __call__(self, sent: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece = self._stream.decompress(sent, _PIECE)
            except zlib.error as error:
                raise _damaged() from error
            yield piece
            sent = self._stream.unconsumed_tail
            if self._stream.eof and self._stream.unused_data:
                # gzip allows several members one after the other.
                sent = self._stream.unused_data
                self._stream = zlib.decompressobj(self._window)
            elif not sent and len(piece) < _PIECE:
                return


def _too_large(most: int) -> ServeError:
    return ServeError(808, f"the body is over the limit of {most} bytes", fix="send less")


def _damaged() -> ServeError:
    return ServeError(800, "the compressed body is damaged", fix="send it again")
