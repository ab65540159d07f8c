"""A real server on a real socket: it starts, closes slow clients, and ends without losing any."""

from __future__ import annotations

import http.client
import signal
import socket
import sys
import threading

import pytest
from serving_process import Process

from mmjax.core.errors import ConfigError
from mmjax.serve.ports import free_port
from mmjax.serve.supervisor import supervise


@pytest.fixture
def server():
    process = Process("--seconds", "0.3", "--warm-up", "1.0")
    yield process
    process.end()


def ends_within(client, seconds):
    """What a socket hears until the server closes it."""
    client.settimeout(seconds)
    heard = b""
    while piece := client.recv(4096):
        heard += piece
    return heard


def ask(server, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def ask_at_once(server, count):
    """Threads that ask, and the list that their statuses go into; 0 for one that was cut off."""
    found = []

    def one(number):
        body = f'{{"inputs": {{"text": "t{number}"}}}}'
        try:
            found.append(ask(server, "POST", "/v1/predict", body)[0])
        except ConnectionRefusedError:
            found.append(503)
        except OSError:
            found.append(0)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads, found


def test_a_server_from_its_start_to_its_end(server):
    assert ask(server, "GET", "/v2/health/live")[0] == 200
    assert ask(server, "GET", "/v2/health/ready")[0] == 503
    server.wait_for("ready")
    assert ask(server, "GET", "/v2/health/ready")[0] == 200

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
    threads, found = ask_at_once(server, 10)
    heard = {name: ends_within(client, 20) for name, client in clients.items()}
    assert heard["headers"] == heard["idle"] == b""
    assert b"408" in heard["body"].splitlines()[0]
    assert b"MMX-807" in heard["body"]
    for thread in threads:
        thread.join()
    assert found == [200] * 10

    threads, found = ask_at_once(server, 20)
    while "mmjax_active_requests 0.0" in ask(server, "GET", "/metrics")[1] and len(found) < 20:
        pass
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert set(found) <= {200, 503}
    assert 200 in found
    assert server.process.wait(20) == 0
    assert server.wait_for("drained")["in_flight"] == 0


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


def test_after_a_hangup_a_server_is_started_again(tmp_path):
    lives = tmp_path / "lives"
    script = tmp_path / "serves.py"
    script.write_text(
        "import os, pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "lives = pathlib.Path(sys.argv[1])\n"
        "lives.write_text((lives.read_text() if lives.exists() else '') + 'x')\n"
        "os.kill(os.getppid(), signal.SIGHUP if len(lives.read_text()) == 1 else signal.SIGTERM)\n"
        "time.sleep(20)\n"
    )
    assert supervise([sys.executable, str(script), str(lives)]) == 0
    assert lives.read_text() == "xx"


def test_a_port_that_is_taken_is_told():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="MMX-187"),
    ):
        free_port("127.0.0.1", taken.getsockname()[1])
    assert free_port("127.0.0.1", 0) > 0
