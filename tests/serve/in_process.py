"""A served fake model within the test's process, asked through ASGI."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from fake_program import FakeProgram

from mmjax.serve.app import make_app
from mmjax.serve.config import ServeConfig
from mmjax.serve.logs import Lines
from mmjax.serve.service import Service

JSON = {"content-type": "application/json"}


class Served:
    def __init__(self, service: Service, client: httpx.AsyncClient, log: io.StringIO):
        self.service, self.client, self.log = service, client, log

    async def infer(self, *inputs: dict[str, Any], **rest: Any) -> httpx.Response:
        body = {"inputs": list(inputs), **rest}
        return await self.client.post("/v2/models/fruit/infer", json=body)

    async def predict(self, **inputs: Any) -> httpx.Response:
        return await self.client.post("/v1/predict", json={"inputs": inputs})


def served(
    body: Callable[[Served], Awaitable[Any]],
    config: ServeConfig | None = None,
    *,
    program: FakeProgram | None = None,
    start: bool = True,
) -> Any:
    """What `body(served)` gives."""

    async def main() -> Any:
        log = io.StringIO()
        service = Service(
            lambda: program or FakeProgram(),
            config or ServeConfig(),
            lines=Lines(rate=1000.0, burst=1000, stream=log),
        )
        if start:
            await service.engine.start()
        transport = httpx.ASGITransport(make_app(service), raise_app_exceptions=False)
        base = "http://localhost"
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            try:
                return await body(Served(service, client, log))
            finally:
                service.engine.close()

    return asyncio.run(main())


async def until(true: Callable[[], bool]) -> None:
    """Comes back when something is true, within ten seconds."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.002)


def is_problem(answer, status, code=None, said=""):
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert set(told) == {"error", "code"}
    assert code is None or told["code"] == f"MMX-{code}", told
    assert said in told["error"]
    assert "\n" not in told["error"]
    assert "Traceback" not in answer.text
    return True


def text(*values, **changes):
    """A tensor of texts, as the protocol has it."""
    return {
        "name": "text",
        "shape": [len(values)],
        "datatype": "BYTES",
        "data": [*values],
    } | changes
