"""Bodies, tensors, addresses and log lines at their limits."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import os
import socket
import tracemalloc
import zlib

import numpy as np
import pytest

from mmjax.serve import fetching, tensors
from mmjax.serve.bodies import Bodies, ClientGone
from mmjax.serve.config import Limits
from mmjax.serve.errors import ServeError
from mmjax.serve.logs import Handler, Lines


def read(pieces, limits=None, **headers):
    """The body of pieces (a number is a pause in seconds, None a client that goes)."""
    messages = list(pieces)

    async def receive():
        while isinstance(messages[0], float):
            await asyncio.sleep(messages.pop(0))
        piece = messages.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(messages)}

    async def main():
        bodies = Bodies(limits or Limits(max_body_bytes=1000))
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await bodies.read(receive, named)
        finally:
            assert bodies.held == 0

    return asyncio.run(main())


def refused(code, *args, **headers):
    with pytest.raises(ServeError) as error:
        read(*args, **headers)
    return error.value.code == code


def test_bodies_come_whole_in_any_pieces():
    body = os.urandom(600) + b"a" * 400
    assert read([body[:1], body[1:700], b"", body[700:]]) == body
    for encoding, squeezed in (
        ("gzip", gzip.compress(body)),
        ("GZIP", gzip.compress(body[:500]) + gzip.compress(body[500:])),
        ("deflate", zlib.compress(body)),
        ("identity", body),
    ):
        pieces = [squeezed[i : i + 97] for i in range(0, len(squeezed), 97)]
        assert read(pieces, content_encoding=encoding) == body
        assert read([squeezed], content_encoding=encoding) == body


def test_bodies_over_a_limit_are_not_kept():
    assert refused(808, [b"a" * 1001])
    assert refused(808, [b"a" * 500] * 3)
    assert refused(808, [b""], content_length="1001")
    assert refused(808, [b""], content_length="9" * 60)
    assert refused(808, [gzip.compress(b"a" * 1001)], content_encoding="gzip")
    assert refused(811, [b"a" * 900], Limits(max_buffered_bytes=800))
    bomb = gzip.compress(b"\0" * 50_000_000, 9)
    tracemalloc.start()
    assert refused(808, [bomb], content_encoding="gzip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def test_damaged_slow_and_left_bodies():
    whole = gzip.compress(b"a" * 100)
    assert refused(800, [whole[:-9]], content_encoding="gzip")
    assert refused(800, [b"nothing of the kind"], content_encoding="gzip")
    assert refused(809, [b"a"], content_encoding="br")
    assert refused(807, [b"a", 5.0, b"b"], Limits(body_s=0.1))
    with pytest.raises(ClientGone):
        read([b"a", None])


@pytest.mark.parametrize("datatype", tensors.DTYPES)
def test_tensors_are_the_same_as_json_and_as_bytes(datatype):
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(tensors.DTYPES[datatype])
    again = tensors.from_json(array.tolist(), datatype, (2, 3), "x")
    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype
    flat = tensors.from_json(tensors.to_json(array), datatype, (2, 3), "x")
    np.testing.assert_array_equal(flat, array)
    raw = tensors.from_bytes(memoryview(tensors.to_bytes(array)), datatype, (2, 3), "x")
    np.testing.assert_array_equal(raw, array)
    assert tensors.datatype_of(array.dtype.str) == datatype


def test_rows_of_other_lengths_are_padded():
    stacked = tensors.stacked([np.ones((2, 1)), np.ones((1, 3))])
    assert stacked.tolist() == [[[1, 0, 0], [1, 0, 0]], [[1, 1, 1], [0, 0, 0]]]


PRIVATE = (
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "::1", "::", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
    *("224.0.0.1", "ff02::1", "255.255.255.255", "2002:7f00:1::", "192.0.2.1", "2130706433", "x"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address):
    assert not fetching.is_public(address)


def test_public_addresses_are():
    assert all(map(fetching.is_public, ("93.184.216.34", "2606:2800:220:1::", "8.8.8.8")))


@pytest.mark.parametrize(
    "url",
    [
        "http://pictures.example/a.png",
        "https://other.example/a.png",
        "https://pictures.example.evil.example/a.png",
        "https://user@pictures.example/a.png",
        "https://pictures.example:444/a.png",
        "https://pictures.example:x/a.png",
        "https://127.0.0.1/a.png",
        "https://[::1/a.png",
        "https://pictures.example/a b",
        "https://pictures.example/a\r\nHost: x",
        "file:///etc/passwd",
        "",
    ],
)
def test_only_plain_https_of_listed_hosts(url):
    limits = Limits(image_hosts=("pictures.example",))
    with pytest.raises(ServeError, match="MMX-810"):
        fetching.target(url, limits, lambda host: ["93.184.216.34"])


def test_a_host_is_resolved_once_and_all_its_addresses_are_public():
    limits = Limits(image_hosts=("pictures.example",))
    url = "https://Pictures.Example/a.png?b=c#d"
    asked = []

    def resolve(host):
        asked.append(host)
        return ["93.184.216.34"]

    found = fetching.target(url, limits, resolve)
    assert found == ("pictures.example", "93.184.216.34", "/a.png?b=c")
    assert asked == ["pictures.example"]
    for answers in ([], ["93.184.216.34", "10.0.0.1"], ["::ffff:169.254.169.254"]):
        with pytest.raises(ServeError, match="no public address"):
            fetching.target(url, limits, lambda host, found=answers: found)

    def unknown(host):
        raise socket.gaierror(-2, "unknown")

    with pytest.raises(ServeError, match="not known"):
        fetching.target(url, limits, unknown)


def test_log_lines_have_a_rate_and_are_counted():
    now, stream, dropped = [0.0], io.StringIO(), []
    lines = Lines(
        rate=2.0, burst=3, stream=stream, clock=lambda: now[0], dropped=lambda: dropped.append(1)
    )
    for index in range(10):
        lines.write("request", index=index)
    lines.write("ready", urgent=True, text='a"\n\x1b[31m' + "b" * 9000)
    now[0] = 1.0
    lines.write("request", index=10)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [one.get("index") for one in found] == [0, 1, 2, None, 10]
    assert found[3]["dropped_lines"] == len(dropped) == 7
    assert "dropped_lines" not in found[4]
    assert len(stream.getvalue().splitlines()[3]) < 1000


def test_a_log_that_nobody_reads_holds_nothing_up():
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "w") as stream:
            dropped = []
            lines = Lines(rate=1e6, burst=10**6, stream=stream, dropped=lambda: dropped.append(1))
            logger = logging.Logger("x")
            logger.addHandler(Handler(lines))
            for _ in range(2000):
                logger.warning("a" * 100)
                lines.write("request", text="a" * 100)
            assert len(dropped) > 1000
    finally:
        os.close(reader)
