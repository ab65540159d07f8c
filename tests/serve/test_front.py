"""Who may ask the front, when, and what it tells of itself."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from fake_program import FakeProgram
from in_process import JSON, is_problem, served, text, until

from mmjax.core.errors import ConfigError
from mmjax.serve.app import make_app
from mmjax.serve.config import EngineConfig, Limits, ServeConfig
from mmjax.serve.logs import Lines
from mmjax.serve.service import Service

TOKEN = "correct-horse-battery"


def test_paths_methods_and_types_that_are_not_there():
    async def body(s):
        return (
            await s.client.get("/v3"),
            await s.client.get("/v2/models/vegetable"),
            await s.client.post("/v2/models/fruit/versions/2/infer", json={}),
            await s.client.get("/v1/predict"),
            await s.client.post("/v1/predict", content=b"x", headers={"content-type": "text/csv"}),
            await s.client.post(
                "/v1/predict", content=b"x", headers={**JSON, "content-encoding": "br"}
            ),
        )

    path, model, version, method, kind, encoding = served(body)
    assert is_problem(path, 404, 805)
    assert is_problem(model, 404, 805, "fruit")
    assert is_problem(version, 404, 805)
    assert is_problem(method, 405, 806)
    assert method.headers["allow"] == "POST"
    assert is_problem(kind, 415, 809)
    assert is_problem(encoding, 415, 809)


def test_nothing_but_health_without_a_token():
    paths = ("/v2", "/v2/models/fruit", "/metrics", "/docs", "/openapi.json", "/", "/nowhere")

    async def body(s):
        health = [await s.client.get(f"/v2/health/{name}") for name in ("live", "ready")]
        bare = [await s.client.get(path) for path in paths]
        wrong = [
            await s.client.get(path, headers={"authorization": header})
            for path in paths
            for header in ("Bearer wrong", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}é".encode())
        ]
        query = await s.client.get(f"/v2?token={TOKEN}&access_token={TOKEN}")
        right = await s.client.get("/v2", headers={"authorization": f"Bearer {TOKEN}"})
        return health, bare, [*wrong, query], right

    health, bare, wrong, right = served(body, ServeConfig(tokens=("another-token-0123", TOKEN)))
    assert [one.status_code for one in health] == [200, 200]
    assert {one.status_code for one in bare + wrong} == {401}
    assert right.status_code == 200
    assert bare[0].headers["www-authenticate"].startswith("Bearer")
    shown = [bare[3], bare[5]]
    assert all("Token" in one.text or "token" in one.text for one in shown), "they ask for it"
    assert all(is_problem(one, 401, 803) for one in bare if one not in shown)


def test_a_server_for_others_needs_a_token():
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        with pytest.raises(ConfigError, match="MMX-188"):
            ServeConfig(host=host)
    with pytest.raises(ConfigError, match="16 characters"):
        ServeConfig(tokens=("short",))
    ServeConfig(host="0.0.0.0", tokens=(TOKEN,))


def test_pages_of_other_sites_are_refused():
    async def body(s):
        rebound = await s.client.get("/v2", headers={"host": "evil.example"})
        crossed = await s.client.get("/v2", headers={"origin": "https://evil.example"})
        own = await s.client.get("/v2", headers={"origin": "http://localhost:8080"})
        return rebound, crossed, own

    rebound, crossed, own = served(body)
    assert is_problem(rebound, 403, 804)
    assert is_problem(crossed, 403, 804)
    assert own.status_code == 200


def test_loading_and_draining_are_live_and_not_ready():
    async def body(s):
        early = [await s.client.get(f"/v2/health/{name}") for name in ("live", "ready")]
        early += [await s.client.get("/v2/models/fruit"), await s.predict(text="a")]
        await s.service.engine.start()
        ready = await s.client.get("/v2/health/ready")
        asked = [asyncio.ensure_future(s.predict(text="slow")) for _ in range(5)]
        await until(lambda: s.service.engine.active == 5)
        draining = asyncio.ensure_future(s.service.drain())
        await asyncio.sleep(0)
        late = [await s.client.get("/v2/health/ready"), await s.predict(text="late")]
        done = await asyncio.gather(*asked)
        return early, ready, late, done, await draining

    early, ready, late, done, drained = served(body, start=False)
    assert [one.status_code for one in early] == [200, 503, 503, 503]
    assert early[3].headers["retry-after"] == "5"
    assert ready.status_code == 200
    assert [one.status_code for one in late] == [503, 503]
    assert late[0].headers["connection"] == "close"
    assert [one.status_code for one in done] == [200] * 5
    assert drained is True


def test_a_full_queue_is_429_before_the_body_is_read():
    async def body(s):
        engine = s.service.engine
        asked = [asyncio.ensure_future(s.predict(text="slow")) for _ in range(2)]
        await until(lambda: [len(one) for one in engine.program.batches] == [2])
        waiting = [asyncio.ensure_future(s.predict(text="a")) for _ in range(2)]
        await until(lambda: engine.waiting == 2)
        shed = await s.client.post("/v1/predict", content=b"not read", headers=JSON)
        health = await s.client.get("/v2/health/live")
        metrics = (await s.client.get("/metrics")).text
        await asyncio.gather(*asked, *waiting)
        return shed, health, metrics

    config = ServeConfig(engine=EngineConfig(max_queue=2, max_batch=2))
    shed, health, metrics = served(body, config, program=FakeProgram(seconds=1.0))
    assert is_problem(shed, 429, 811)
    assert int(shed.headers["retry-after"]) >= 1
    assert health.status_code == 200
    assert 'mmjax_shed_total{reason="queue"} 1.0' in metrics
    assert "mmjax_queue_items 2.0" in metrics


def test_a_late_answer_is_504():
    async def body(s):
        ask = {"inputs": {"text": "slow"}, "timeout_ms": 50}
        return await s.client.post("/v1/predict", json=ask)

    assert is_problem(served(body), 504, 813)


def test_a_client_that_goes_is_not_computed():
    async def body(s):
        first = asyncio.ensure_future(s.predict(text="slow"))
        await asyncio.sleep(0.05)
        messages = [
            {"type": "http.request", "body": b'{"inputs": {"text": "gone"}}'},
            {"type": "http.disconnect"},
        ]
        sent = []

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": headers}
        scope |= {"query_string": b"", "http_version": "1.1", "scheme": "http", "root_path": ""}
        await s.client._transport.app(scope, receive, send)
        await first
        return sent, s.service.engine.program.batches, s.service.in_flight

    sent, batches, in_flight = served(body)
    assert [text for batch in batches for text in batch] == ["slow"]
    assert sent[0]["status"] == 499
    assert in_flight == 0


def test_metrics_logs_and_ids_tell_of_requests():
    async def body(s):
        await s.infer(text("a", "b", "c"))
        given = await s.client.get("/v2", headers={"x-request-id": "mine-1"})
        forged = await s.client.get("/v2", headers={"x-request-id": 'a"b'})
        await s.client.get("/v2/secret?password=1")
        return given, forged, (await s.client.get("/metrics")).text, s.log.getvalue()

    given, forged, metrics, log = served(body)
    assert given.headers["x-request-id"] == "mine-1"
    assert len(forged.headers["x-request-id"]) == 32
    route = 'route="/v2/models/{model}/infer",status="200"'
    for line in (
        f"mmjax_requests_total{{{route}}} 1.0",
        "mmjax_batch_size_sum 3.0",
        'mmjax_rows_total{what="padding"} 1.0',
        'mmjax_tokens_total{what="real"} 3.0',
        'mmjax_tokens_total{what="padding"} 29.0',
        'mmjax_stage_seconds_count{stage="queue"} 3.0',
        "mmjax_compiles_total 12.0",
        "mmjax_ready 1.0",
        "mmjax_queue_items 0.0",
    ):
        assert line in metrics.splitlines()
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["id"] for line in lines if line["id"] == "mine-1"]
    assert lines[-1]["status"] == 200
    assert lines[-2]["code"] == "MMX-805"
    assert "password" not in log


def test_the_page_and_the_docs_load_nothing():
    async def body(s):
        return [await s.client.get(path) for path in ("/", "/docs", "/openapi.json")]

    page, docs, document = served(body)
    for one in (page, docs):
        assert one.headers["content-security-policy"].startswith("default-src 'none'")
        assert "http://" not in one.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in one.text
    paths = document.json()["paths"]
    assert {"/v1/predict", "/v2", "/v2/models/{model}/infer", "/v2/health/ready"} <= set(paths)
    known = document.json()["components"]["schemas"]
    assert known["Model"]["enum"] == ["fruit"]
    assert set(known["Item"]["properties"]) == {"text", "image", "audio", "table"}
    assert "Validation Error" not in document.text


def test_there_need_not_be_a_page():
    async def body(s):
        return await s.client.get("/")

    assert is_problem(served(body, ServeConfig(page=False)), 404, 805)


def test_an_item_over_the_body_limit():
    async def body(s):
        small = await s.predict(text="a" * 900)
        large = await s.predict(text="a" * 2000)
        bomb = gzip.compress(b" " * 10_000_000)
        headers = {**JSON, "content-encoding": "gzip"}
        squeezed = await s.client.post("/v1/predict", content=bomb, headers=headers)
        return small, large, squeezed

    config = ServeConfig(limits=Limits(max_body_bytes=1000))
    small, large, squeezed = served(body, config)
    assert small.status_code == 200
    assert is_problem(large, 413, 808)
    assert is_problem(squeezed, 413, 808)
    assert large.headers["connection"] == squeezed.headers["connection"] == "close"


def test_an_asgi_server_may_start_and_end_it():

    service = Service(FakeProgram, ServeConfig(), lines=Lines(rate=0.0, burst=0))
    states, given = [], ["startup", "shutdown"]

    async def receive():
        states.append(service.engine.state)
        return {"type": f"lifespan.{given.pop(0)}"}

    async def send(message):
        assert message["type"].endswith("complete"), message

    scope = {"type": "lifespan", "state": {}}
    asyncio.run(make_app(service, starts=True)(scope, receive, send))
    assert [*states, service.engine.state] == ["loading", "ready", "stopped"]
