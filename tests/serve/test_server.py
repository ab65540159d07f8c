"""A real server on a real socket: it starts, closes slow clients, and ends without losing any."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time

import httpx
import pytest
from serving_process import Process

from mmjax.core.errors import ConfigError
from mmjax.serve.ports import free_port
from mmjax.serve.supervisor import supervise


@pytest.fixture
def server():
    process = Process("--seconds", "0.15", "--warm-up", "0.4")
    yield process
    process.end()


def ends_within(client, seconds):
    """What a socket hears until the server closes it."""
    client.settimeout(seconds)
    heard = b""
    while piece := client.recv(4096):
        heard += piece
    return heard


def test_a_server_from_its_start_to_its_end(server):
    health = f"{server.url}/v2/health"
    assert httpx.get(f"{health}/live").status_code == 200
    assert httpx.get(f"{health}/ready").status_code == 503
    server.wait_for("ready")
    assert httpx.get(f"{health}/ready").status_code == 200

    body = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    slow = {
        "headers": b"GET /v2 HTTP/1.1\r\nHo",
        "body": body + b"Content-Length: 50\r\n\r\n{",
        "idle": b"",
    }
    clients = {}
    for name, sent in slow.items():
        clients[name] = socket.create_connection(("127.0.0.1", server.port))
        clients[name].sendall(sent)

    found = []

    def ask(number):
        answer = httpx.post(
            f"{server.url}/v1/predict", json={"inputs": {"text": f"t{number}"}}, timeout=10
        )
        found.append(answer.status_code)

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for one in asking:
        one.start()
    heard = {name: ends_within(client, 5) for name, client in clients.items()}
    assert heard["headers"] == heard["idle"] == b""
    assert b"408" in heard["body"].splitlines()[0]
    assert b"MMX-807" in heard["body"]
    for one in asking:
        one.join()
    assert found == [200] * 20

    found.clear()
    asking = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for one in asking:
        one.start()
    ends = time.monotonic() + 5
    while httpx.get(f"{server.url}/metrics").text.count("mmjax_active_requests 20.0") == 0:
        assert time.monotonic() < ends
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("draining")
    assert httpx.get(f"{health}/ready").status_code == 503
    for one in asking:
        one.join()
    assert found == [200] * 20
    assert server.process.wait(10) == 0
    assert server.wait_for("drained")["in_flight"] >= 0


def test_a_dead_server_is_started_again(tmp_path):
    """It dies of signals and of surprises, and is not started again after an end of its own."""
    script = tmp_path / "dies.py"
    script.write_text(
        "import os, pathlib, signal, sys\n"
        "lives = pathlib.Path(sys.argv[1])\n"
        "count = int(lives.read_text() or 0) + 1 if lives.exists() else 1\n"
        "lives.write_text(str(count))\n"
        "if count == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "if count == 2: sys.exit(1)\n"
        "sys.exit(int(sys.argv[2]))\n"
    )
    for code in (0, 2):
        lives = tmp_path / f"lives{code}"
        assert supervise([sys.executable, str(script), str(lives), str(code)]) == code
        assert lives.read_text() == "3"


def test_a_port_that_is_taken_is_told():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="MMX-187"),
    ):
        free_port("127.0.0.1", taken.getsockname()[1])
    assert free_port("127.0.0.1", 0) > 0
