"""The FastAPI front: the Open Inference Protocol v2, `/v1/predict`, metrics, pages for people."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from mmjax import __version__
from mmjax.core.errors import MMJaxError
from mmjax.export.program import Program, Result
from mmjax.serve import measures, pages, predicting, protocol, schemas
from mmjax.serve.bodies import ClientGone
from mmjax.serve.engine import Place
from mmjax.serve.errors import ServeError, status_of, told
from mmjax.serve.examples import Url
from mmjax.serve.fetching import fetch
from mmjax.serve.guard import ADMITTED, Admitted, Guard, headers_of
from mmjax.serve.service import Service

_LARGE = 1 << 18
"""Bodies from this size on are read by a thread, so that the loop stays free."""


def make_app(service: Service, *, starts: bool = False) -> Guard:
    """The application of a server, for any ASGI server.

    With `starts`, its lifespan starts the engine and drains it; otherwise its caller does.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.engine.start()
        watching = asyncio.create_task(service.watch_loop())
        yield
        watching.cancel()
        await service.drain()
        service.engine.close()

    app = FastAPI(
        lifespan=lifespan if starts else None,
        title="mmjax",
        version=__version__,
        description="A multimodal model behind the Open Inference Protocol v2.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    front = _Front(service)
    app.openapi = functools.partial(_document, app, front)  # type: ignore[method-assign]
    shown = {"/docs": pages.page("docs.html")}
    if service.config.page:
        shown["/"] = pages.page("page.html")
    _health(app, front)
    _models(app, front)
    _people(app, front, shown)
    app.add_exception_handler(HTTPException, _unknown)
    app.add_exception_handler(MMJaxError, _problem)
    app.add_exception_handler(ClientGone, _gone)
    return Guard(app, service, shown)


def _document(app: FastAPI, front: _Front) -> dict[str, Any]:
    """The OpenAPI document, with what is known of the model by now."""
    found = copy.deepcopy(FastAPI.openapi(app))
    for methods in found["paths"].values():
        for method in methods.values():
            # FastAPI adds a refusal of its own to every path with parameters.
            if method["responses"].get("422", {}).get("description") == "Validation Error":
                del method["responses"]["422"]
    schemas.of_program(found, None if front.engine.state == "loading" else front.engine.program)
    return found


class _Front:
    """What the paths share."""

    def __init__(self, service: Service):
        self.service = service
        self.engine = service.engine

    def program(self, model: str, version: str | None = None) -> Program:
        """The program, if it is the one that a path names."""
        program = self.engine.program
        if model != program.name:
            raise ServeError(805, f"no model '{model[:80]}'", fix=f"valid: {program.name}")
        if version not in (None, protocol.VERSION):
            raise ServeError(805, f"no version '{version[:80]}'", fix=f"valid: {protocol.VERSION}")
        return program

    async def predicted(
        self, request: Request, examples: list[dict[str, Any]], deadline_s: float | None
    ) -> list[Result | MMJaxError]:
        """Results of items; they are given up when the client goes."""
        place = _admitted(request).place
        await self.fetched(examples, place)
        work = self.engine.predict(examples, deadline_s=deadline_s, place=place)
        return await _unless_gone(request, work)

    async def fetched(self, examples: list[dict[str, Any]], place: Place) -> None:
        """Puts pictures in the place of their addresses; no place is kept for as long."""
        limits = self.service.config.limits
        for example in examples:
            for name, value in example.items():
                if isinstance(value, Url):
                    place.leave()
                    most = limits.max_body_bytes
                    example[name] = await asyncio.to_thread(fetch, value, limits, most=most)


def _health(app: FastAPI, front: _Front) -> None:
    alive = {"type": "object", "properties": {"live": {"type": "boolean"}}}
    ready = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    server = {"type": "object", "required": ["name", "version", "extensions"]}

    @app.get("/v2/health/live", responses=schemas.responses(503, ok=alive), tags=["health"])
    async def is_live() -> Response:
        return _json({"live": front.engine.live}, 200 if front.engine.live else 503)

    @app.get("/v2/health/ready", responses=schemas.responses(503, ok=ready), tags=["health"])
    async def is_ready() -> Response:
        is_it = front.service.ready
        state = "draining" if front.service.leaving else front.engine.state
        return _json({"ready": is_it, "state": state}, 200 if is_it else 503)

    @app.get("/v2", responses=schemas.responses(ok=server), tags=["server"])
    async def server_metadata() -> Response:
        extensions = list(protocol.EXTENSIONS)
        return _json({"name": "mmjax", "version": __version__, "extensions": extensions})


def _models(app: FastAPI, front: _Front) -> None:
    found = schemas.responses(404, 503, ok=schemas.METADATA)
    ready = schemas.responses(404, 503, ok={"type": "object", "required": ["name", "ready"]})
    listed = {"type": "object", "required": ["models"]}
    inferred = schemas.responses(
        *(404, 408, 413, 415, 422, 429, 500, 503, 504), ok=schemas.INFERRED
    )
    takes = schemas.body(application_json=schemas.INFER)

    @app.get("/v2/models", responses=schemas.responses(503, ok=listed), tags=["server"])
    async def models() -> Response:
        return _json({"models": [{"name": front.engine.program.name}]})

    @app.get("/v2/models/{model}", responses=found, tags=["model"])
    @app.get("/v2/models/{model}/versions/{version}", responses=found, tags=["model"])
    async def model_metadata(model: str, version: str | None = None) -> Response:
        found = protocol.metadata(front.program(model, version))
        found["parameters"]["filter"] = front.service.config.engine.filter
        return _json(found)

    @app.get("/v2/models/{model}/ready", responses=ready, tags=["model"])
    @app.get("/v2/models/{model}/versions/{version}/ready", responses=ready, tags=["model"])
    async def model_ready(model: str, version: str | None = None) -> Response:
        name, is_it = front.program(model, version).name, front.service.ready
        return _json({"name": name, "ready": is_it}, 200 if is_it else 503)

    @app.post(
        "/v2/models/{model}/infer", responses=inferred, openapi_extra=takes, tags=["inference"]
    )
    @app.post(
        "/v2/models/{model}/versions/{version}/infer",
        responses=inferred,
        openapi_extra=takes,
        tags=["inference"],
    )
    async def infer(request: Request, model: str, version: str | None = None) -> Response:
        program = front.program(model, version)
        length = request.headers.get("inference-header-content-length", "")
        # Clients of the protocol send its binary form as octets, and some say nothing of JSON.
        _check_type(request, "application/json", "application/octet-stream", "")
        body = _admitted(request).body
        limits = front.service.config.limits
        asked = await _read(len(body), protocol.read_request, program, body, length, limits)
        answers = await front.predicted(request, asked.examples, asked.deadline_s)
        results = [_result(answer) for answer in answers]
        answer, blobs = protocol.write_response(program, asked, results)
        head = _encoded(answer)
        if not blobs:
            return Response(head, media_type="application/json")
        sizes = {"inference-header-content-length": str(len(head))}
        return Response(
            b"".join([head, *blobs]), media_type="application/octet-stream", headers=sizes
        )


def _people(app: FastAPI, front: _Front, shown: Mapping[str, pages.Page]) -> None:
    takes = schemas.body(application_json=schemas.PREDICT, **{"multipart_form-data": schemas.FORM})
    predicted = schemas.responses(408, 413, 415, 422, 429, 500, 503, 504, ok=schemas.PREDICTED)
    predicted[200]["content"]["text/event-stream"] = {"schema": {"type": "string"}}

    @app.post("/v1/predict", responses=predicted, openapi_extra=takes, tags=["inference"])
    async def predict(request: Request) -> Response:
        program, limits = front.engine.program, front.service.config.limits
        kind = _check_type(request, "application/json", "multipart/form-data")
        body = _admitted(request).body
        if kind == "application/json":
            ask = await _read(len(body), predicting.read_json, program, body, limits)
        else:
            ask = await predicting.read_form(program, body, request.headers, limits)
        if ask.stream:
            await front.fetched(ask.examples, _admitted(request).place)
            return await _streamed(request, front, ask)
        answers = await front.predicted(request, ask.examples, ask.deadline_s)
        about = {"model": program.name, "request_id": request.scope["request_id"]}
        if not ask.many:
            result = _result(answers[0])
            return _json({**about, "prediction": predicting.said(program, result, ask)})
        said = [
            told(one) if isinstance(one, MMJaxError) else predicting.said(program, one, ask)
            for one in answers
        ]
        return _json({**about, "predictions": said})

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(front.service.measures.text(), media_type=measures.CONTENT_TYPE)

    for path, page in shown.items():
        app.add_api_route(path, _sends(page), include_in_schema=False)


def _sends(page: pages.Page) -> Callable[[], Coroutine[Any, Any, Response]]:
    async def send() -> Response:
        return Response(page.body, headers=page.headers)

    return send


async def _streamed(request: Request, front: _Front, ask: predicting.Ask) -> Response:
    """Server-sent events: `data: {"text": piece}`, at the end `event: done`, or `event: error`."""
    program = front.engine.program
    if not program.streams:
        raise ServeError(
            800, f"task '{program.task}' writes no text piece by piece", where="stream"
        )
    place = _admitted(request).place
    pieces = front.engine.stream(ask.examples[0], deadline_s=ask.deadline_s, place=place)
    # An error before the first piece still has a status of its own.
    first = await anext(pieces, None)

    async def events() -> AsyncIterator[bytes]:
        whole = []
        try:
            piece = first
            while piece is not None and not await request.is_disconnected():
                whole.append(piece)
                yield _event({"text": piece})
                piece = await anext(pieces, None)
            yield _event({"text": "".join(whole)}, "done")
        except MMJaxError as error:
            yield _event(told(error), "error")
        finally:
            await pieces.aclose()

    return StreamingResponse(events(), media_type="text/event-stream")


def _admitted(request: Request) -> Admitted:
    return request.scope[ADMITTED]


def _event(value: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + _encoded(value) + b"\n\n"


async def _read(size: int, read: Any, *args: Any) -> Any:
    return await asyncio.to_thread(read, *args) if size >= _LARGE else read(*args)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """What `work` gives; if the client goes before, it is cancelled, and ClientGone raised."""

    async def leaves() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(leaves())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


def _check_type(request: Request, *allowed: str) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in allowed:
        fix = " or ".join(filter(None, allowed))
        raise ServeError(809, f"content type '{kind[:80]}'", fix=fix)
    return kind


def _result(answer: Result | MMJaxError) -> Result:
    if isinstance(answer, MMJaxError):
        raise answer
    return answer


def _encoded(value: Any) -> bytes:
    return to_json(value, inf_nan_mode="null")


def _json(value: Any, status: int = 200) -> Response:
    return Response(_encoded(value), status, media_type="application/json")


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, MMJaxError)
    headers = headers_of(error)
    return Response(_encoded(told(error)), status_of(error), headers, "application/json")


async def _gone(request: Request, error: Exception) -> Response:
    """Nobody hears it; the status is for the log and the metrics."""
    return Response(status_code=499)


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.scope["path"][:80]
    if error.status_code == 405:
        known: MMJaxError = ServeError(806, f"{request.method[:20]} of '{path}'")
    else:
        known = ServeError(805, f"no path '{path}'", fix="/docs lists them")
    headers = {**(error.headers or {}), **headers_of(known)}
    return Response(_encoded(told(known)), error.status_code, headers, "application/json")
