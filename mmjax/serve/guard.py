"""What every request passes first: who may ask, whether there is room, and what is told of it."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from pydantic_core import to_json
from starlette.datastructures import Headers, MutableHeaders

from mmjax.core.errors import MMJaxError
from mmjax.serve.bodies import ClientGone
from mmjax.serve.config import is_loopback
from mmjax.serve.engine import Place
from mmjax.serve.errors import ServeError, code_of, status_of, told
from mmjax.serve.pages import Page
from mmjax.serve.service import Service

Scope = MutableMapping[str, Any]
Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]

HEALTH = ("/v2/health/live", "/v2/health/ready")
PREDICT = re.compile(r"/v1/predict|/v2/models/[^/]+(/versions/[^/]+)?/infer")

ADMITTED = "mmjax.admitted"
"""Where a scope has what came in with its request."""

_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
_SMALL = 1 << 16


@dataclasses.dataclass(frozen=True)
class Admitted:
    """A request that passed the door: its body, and its place of the queue."""

    body: bytes
    place: Place


class Guard:
    """An ASGI application around another; it answers for what is refused, never with a stack."""

    def __init__(self, app: Any, service: Service, pages: Mapping[str, Page]):
        self._app = app
        self._service = service
        self._pages = pages
        self._hosts = {*service.config.hosts, service.config.host, "localhost", "127.0.0.1", "::1"}
        self._local = is_loopback(service.config.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service, headers = self._service, Headers(scope=scope)
        answer = _Answer(send, _request_id(headers), closes=service.leaving)
        scope["request_id"] = answer.id
        began = time.perf_counter()
        service.in_flight += 1
        service.asked_at = asyncio.get_running_loop().time()
        error: Exception | None = None
        try:
            refused = self._refused(scope, headers)
            if refused is not None:
                await self._refuse(refused, scope, headers, answer)
            elif _predicts(scope):
                await self._enter(scope, headers, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except asyncio.CancelledError:
            answer.status = answer.status or 499
            raise
        except Exception as raised:
            error = raised
            if not answer.status:
                await respond(answer, ServeError(816, "the server failed"))
        finally:
            service.in_flight -= 1
            self._tell(scope, answer, time.perf_counter() - began, error)

    def _refused(self, scope: Scope, headers: Headers) -> MMJaxError | None:
        config, path = self._service.config, scope["path"]
        if path in HEALTH:
            return None
        if config.tokens:
            if not (path == "/metrics" and config.open_metrics):
                kind, _, token = headers.get("authorization", "").partition(" ")
                if kind.lower() != "bearer" or not self._service.knows(token.strip()):
                    return ServeError(803, "no valid token", fix="Authorization: Bearer TOKEN")
        elif self._local:
            refused = self._of_another_site(headers)
            if refused is not None:
                return refused
        return self._full() if _predicts(scope) else None

    def _full(self) -> MMJaxError | None:
        full = self._service.engine.refusal()
        if full is not None:
            self._service.measures.shed("queue" if full.code == 811 else "state", 1)
        return full

    async def _enter(
        self, scope: Scope, headers: Headers, receive: Receive, answer: _Answer
    ) -> None:
        """Reads the body before a place of the queue is kept, since a slow client may hold none."""
        service, began = self._service, time.perf_counter()
        try:
            body = await service.bodies.read(receive, headers)
        except MMJaxError as error:
            await respond(answer, error)
            return
        except ClientGone:
            # Nobody hears it; the status is for the log and the metrics.
            await answer({"type": "http.response.start", "status": 499, "headers": []})
            await answer({"type": "http.response.body"})
            return
        service.measures.stage("read", time.perf_counter() - began)
        full = self._full()
        if full is not None:
            await respond(answer, full)
            return
        place = service.engine.place()
        scope[ADMITTED] = Admitted(body, place)
        try:
            await service.entering.turn()
            await self._app(scope, receive, answer)
        finally:
            place.leave()

    def _of_another_site(self, headers: Headers) -> MMJaxError | None:
        """A browser lets any page ask a server on this machine; such requests name their page."""
        host = _host(headers.get("host", ""))
        if host not in self._hosts:
            return ServeError(804, f"host '{host[:80]}' is not this server's", fix="--host-name")
        origin = headers.get("origin")
        if origin is not None and _host(origin.partition("://")[2]) not in self._hosts:
            return ServeError(804, "the request comes from another site's page")
        return None

    async def _refuse(
        self, refused: MMJaxError, scope: Scope, headers: Headers, answer: _Answer
    ) -> None:
        length = headers.get("content-length", "0")
        answer.closes |= not length.isdigit() or int(length[:12]) > _SMALL
        # Pages hold nothing secret, and ask for the token that all else needs.
        shows = refused.code == 803 and scope["method"] == "GET"
        await respond(answer, refused, page=self._pages.get(scope["path"]) if shows else None)

    def _tell(self, scope: Scope, answer: _Answer, took: float, error: Exception | None) -> None:
        measures = self._service.measures
        route = getattr(scope.get("route"), "path_format", None) or _route(scope)
        measures.requests.labels(route, answer.status).inc()
        measures.request_seconds.labels(route).observe(took)
        if answer.status == 429:
            measures.shed_seconds.observe(took)
        fields: dict[str, Any] = {"code": answer.code} if answer.code else {}
        if error is not None:
            fields["exception"] = f"{type(error).__name__}: {error}"
        if scope["path"] in HEALTH and error is None:
            return
        self._service.lines.write(
            "request",
            urgent=error is not None,
            id=answer.id,
            method=scope["method"],
            path=scope["path"],
            status=answer.status,
            ms=round(took * 1000, 2),
            **fields,
        )


class _Answer:
    """Sends an answer, with the request's id, and remembers its status."""

    def __init__(self, send: Send, request_id: str, *, closes: bool):
        self._send = send
        self.id = request_id
        self.closes = closes
        self.status = 0
        self.code = ""

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.id
            headers["x-content-type-options"] = "nosniff"
            self.code = headers.get("x-mmjax-code", "")
            # A body that was too large or too slow is not read to its end.
            if self.closes or self.status in (408, 413):
                headers["connection"] = "close"
        await self._send(message)


def _predicts(scope: Scope) -> bool:
    return scope["method"] == "POST" and PREDICT.fullmatch(scope["path"]) is not None


def _route(scope: Scope) -> str:
    """What the metrics call the path of a request that no route has seen."""
    if not _predicts(scope):
        return "other"
    return "/v1/predict" if scope["path"].startswith("/v1") else "/v2/models/{model}/infer"


def headers_of(error: MMJaxError) -> dict[str, str]:
    """The headers that go with an error."""
    found = {"x-mmjax-code": code_of(error)}
    if getattr(error, "retry_after", None):
        found["retry-after"] = str(error.retry_after)  # type: ignore[attr-defined]
    if error.code == 803:
        found["www-authenticate"] = 'Bearer realm="mmjax"'
    return found


async def respond(send: Send, error: MMJaxError, *, page: Page | None = None) -> None:
    """Answers with an error as JSON, or with a page under the error's status."""
    body = to_json(told(error)) if page is None else page.body
    kind = {"content-type": "application/json"} if page is None else page.headers
    headers = {**kind, "content-length": str(len(body)), **headers_of(error)}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status_of(error), "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


def _host(value: str) -> str:
    """The host of `host:port`, in lower case, an IPv6 address without its brackets."""
    value = value.partition("/")[0].lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0]
