"""A server on one machine: the front on granian within one event loop, and how it starts and ends.

Granian closes clients whose headers come too slowly and those that idle; bodies have a deadline of
`bodies.py`. The server listens before the model is there, so that live is told from ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import ssl
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from mmjax.core.errors import ConfigError, MMJaxError
from mmjax.export.program import Program
from mmjax.serve.app import make_app
from mmjax.serve.config import ServeConfig
from mmjax.serve.logs import Handler
from mmjax.serve.ports import free_port
from mmjax.serve.service import Service

log = logging.getLogger(__name__)

_CONNECTIONS = 4096
_HEADER_BYTES = 1 << 16
_SAME_SIGNAL_S = 1.0
_QUIET_S = 0.3
"""The listener closes when no request has come for so long, so that none is cut off on its way."""
_MOST_QUIET_S = 3.0
"""It closes after so long in any case."""

_SWITCH_S = 0.0005
_COLLECT = (10_000, 10, 10)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""As malloc.h has them."""
_LARGE_BYTES = 1 << 20


def serve(
    load: Callable[[], Program],
    config: ServeConfig,
    *,
    told: Callable[[str], None] = lambda url: None,
) -> int:
    """Serves until SIGTERM or SIGINT; `told` is called with the address once it is ready.

    Returns 0 after every accepted request was answered, 75 if some were cut short. Raises what
    loading raises, and ConfigError if the address cannot be listened on.
    """
    service = Service(load, config)
    _log_to(service)
    # A thread that wants to run waits so long for one that does. With Python's own 5 ms the loop,
    # beside threads that prepare and compute, came late to what it should refuse at once: 99 % of
    # refusals within 79 ms, and with this within 54 ms (medians of 3, 80 layers, 2 cores).
    sys.setswitchinterval(_SWITCH_S)
    _bound_heap()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_Process(service, told).run())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is there (it is not for Windows), or asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _bound_heap() -> None:
    """Has glibc give large pieces back as soon as they are free.

    By itself it raises the size from which it does as larger pieces come and go, so that pictures
    leave holes in a heap that only grows: 68 MB in 20,000 mutated requests, so 38 MB.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        libc = ctypes.CDLL(None)
        for setting in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            libc.mallopt(setting, _LARGE_BYTES)


def _spare_collector() -> None:
    """Takes what is loaded, which stays for good, out of the collector's way.

    The modules and the program are some hundred thousand objects; looking through them again every
    few hundred requests took a sixth of the loop's time and stopped it for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)


def _log_to(service: Service) -> None:
    """Everything that libraries log goes the same way as the requests, which never blocks."""
    logging.basicConfig(level=logging.WARNING, handlers=[Handler(service.lines)], force=True)
    logging.captureWarnings(True)
    # Every other filter remembers the texts that it has seen, which clients can make up.
    warnings.simplefilter("always")


class _Process:
    def __init__(self, service: Service, told: Callable[[str], None]):
        self._service = service
        self._told = told
        self._asked = asyncio.Event()
        self._first = 0.0

    async def run(self) -> int:
        service, config = self._service, self._service.config
        port = free_port(config.host, config.port)
        scheme = "http" if config.certificate is None else "https"
        url = f"{scheme}://{f'[{config.host}]' if ':' in config.host else config.host}:{port}"
        listener = Server(
            make_app(service),
            address=config.host,
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(
                header_read_timeout=int(config.limits.header_s * 1000),
                max_buffer_size=_HEADER_BYTES,
            ),
            websockets=False,
            backlog=1024,
            backpressure=_CONNECTIONS,
            log_enabled=False,
            **_tls(config),
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        serving = asyncio.create_task(listener.serve())
        starting = asyncio.create_task(service.engine.start())
        asked = asyncio.create_task(self._asked.wait())
        watching = asyncio.create_task(service.watch_loop())
        try:
            await _listens(config.host, port, serving)
            service.lines.write("listening", urgent=True, url=url)
            await asyncio.wait({serving, starting, asked}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                raise ConfigError(187, f"{url} is not listened on: {serving.exception()}")
            if starting.done():
                await starting
                _spare_collector()
                program = service.engine.program
                about = {"model": program.name, "digest": program.digest}
                service.lines.write("ready", urgent=True, url=url, **about)
                self._told(url)
                await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
            whole = await service.drain()
            await self._quiet()
            return 0 if whole else 75
        except MMJaxError as error:
            service.lines.write("failed", urgent=True, error=str(error))
            raise
        finally:
            asked.cancel()
            watching.cancel()
            listener.stop()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(serving, 2.0)
            service.engine.close()

    async def _quiet(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(_QUIET_S)
        while loop.time() - began < _MOST_QUIET_S:
            if loop.time() - self._service.asked_at >= _QUIET_S and not self._service.in_flight:
                return
            await asyncio.sleep(0.02)

    def _on_signal(self) -> None:
        now = asyncio.get_running_loop().time()
        self._first = self._first or now
        self._service.leaving = True
        self._asked.set()
        # A signal to a group may come twice; one that comes later is meant.
        if now - self._first > _SAME_SIGNAL_S:
            self._service.lines.write("stopped at once", urgent=True)
            os._exit(143)


def _tls(config: ServeConfig) -> dict[str, Any]:
    """What the listener is told of TLS; raises ConfigError for files that do not go together."""
    if config.certificate is None or config.key is None:
        return {}
    certificate, key = Path(config.certificate), Path(config.key)
    try:
        # A key with a password would be asked for at the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            certificate, key, password=""
        )
    except OSError as error:
        said = error.strerror or str(error)
        raise ConfigError(
            190,
            f"TLS cannot begin: {said}",
            where=f"{certificate}, {key}",
            fix="a certificate and its key as PEM, the key without a password",
        ) from error
    return {
        "ssl_cert": certificate,
        "ssl_key": key,
        "ssl_protocol_min": SSLProtocols.tls12,
    }


async def _listens(host: str, port: int, serving: asyncio.Task) -> None:
    """Comes back when the address takes connections, or its server has ended."""
    # A wildcard address is reached through loopback.
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(reached, port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return
