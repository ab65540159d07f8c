"""Who is let in when many come at once, and how soon the others are told."""

from __future__ import annotations

import asyncio

from in_process import JSON, is_problem, served

from mmjax.serve.config import EngineConfig, Limits, ServeConfig
from mmjax.serve.lane import Lane


def asks(app, heard, body=b'{"inputs": {"text": "slow"}}', path="/v1/predict"):
    """One request whose whole body is there, as an ASGI server hands it over."""
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    scope |= {"query_string": b"", "http_version": "1.1", "scheme": "http", "root_path": ""}
    sent = iter([] if body is None else [{"type": "http.request", "body": body}])

    async def receive():
        for message in sent:
            return message
        await asyncio.Event().wait()

    async def send(message):
        if message["type"] == "http.response.start":
            heard.append(message["status"])

    return app(scope, receive, send)


def test_a_burst_is_refused_before_the_accepted_are_worked_on():
    async def body(s):
        guard, heard = s.client._transport.app, []
        inner = guard._app

        async def noted(*args):
            heard.append("in")
            await inner(*args)

        guard._app = noted
        await asyncio.gather(*(asks(guard, heard) for _ in range(40)))
        came, free = list(heard), s.service.engine.refusal(8)
        return came, free, (await s.client.get("/metrics")).text

    engine = EngineConfig(max_queue=8)
    heard, free, metrics = served(body, ServeConfig(engine=engine))
    assert (heard.count(200), heard.count(429), heard.count("in")) == (8, 32, 8)
    assert heard.index("in") > max(i for i, one in enumerate(heard) if one == 429)
    assert free is None
    assert "mmjax_shed_seconds_count 32.0" in metrics.splitlines()
    assert 'mmjax_requests_total{route="/v1/predict",status="429"} 32.0' in metrics.splitlines()


def test_slow_bodies_keep_no_place_and_every_place_is_given_back():
    async def body(s):
        guard = s.client._transport.app
        slow = [asyncio.ensure_future(asks(guard, [], body=None)) for _ in range(9)]
        await asyncio.sleep(0.01)
        good = await s.predict(text="a")
        refused = [
            await s.client.post("/v2/models/vegetable/infer", json={}),
            await s.client.post("/v1/predict", content=b"x", headers={"content-type": "text/csv"}),
            await s.client.post("/v1/predict", content=b"{", headers=JSON),
            await s.predict(text="a", image={"url": "https://127.0.0.1/a.png"}),
        ]
        await asyncio.gather(*slow)
        return good, refused, s.service.engine.refusal(2)

    config = ServeConfig(engine=EngineConfig(max_queue=2), limits=Limits(body_s=0.2))
    good, refused, full = served(body, config)
    assert good.status_code == 200
    for one, status in zip(refused, (404, 415, 400, 400), strict=True):
        assert is_problem(one, status)
    assert full is None


def test_a_lane_calls_one_in_each_pass():
    async def main():
        lane, passes, done = Lane(), 0, []

        async def counts():
            nonlocal passes
            while len(done) < 3:
                passes += 1
                await asyncio.sleep(0)

        async def goes(name):
            await lane.turn()
            done.append((name, passes))

        counting = asyncio.ensure_future(counts())
        gone = asyncio.ensure_future(goes("gone"))
        others = [asyncio.ensure_future(goes(name)) for name in "abc"]
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(counting, *others)
        return done

    done = asyncio.run(main())
    assert [name for name, _ in done] == ["a", "b", "c"]
    assert len({number for _, number in done}) == 3
