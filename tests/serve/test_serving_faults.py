"""A real server under faults, for longer."""

from __future__ import annotations

import http.client
import signal
import threading
import time

import pytest
from serving_process import Process

pytestmark = pytest.mark.slow


def ask(port, text="a"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        body = f'{{"inputs": {{"text": "{text}"}}}}'
        connection.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def test_a_log_that_nobody_reads_does_not_stop_a_server():
    server = Process("--log-lines", "1000000")
    try:
        server.wait_for("ready")
        # From here on nobody reads what it writes, and a pipe holds 64 KiB.
        assert [ask(server.port) for _ in range(1500)] == [200] * 1500
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
    finally:
        server.end()


def test_nothing_that_was_sent_is_lost_at_the_end():
    for round_ in range(5):
        server = Process("--seconds", "0.02")
        try:
            server.wait_for("ready")
            statuses = []

            def asks(server=server, statuses=statuses):
                while True:
                    try:
                        statuses.append(ask(server.port))
                    except ConnectionRefusedError:
                        return
                    except OSError:
                        statuses.append(0)
                    if statuses[-1] != 200:
                        return

            threads = [threading.Thread(target=asks) for _ in range(16)]
            for thread in threads:
                thread.start()
            time.sleep(0.5 + 0.1 * round_)
            server.process.send_signal(signal.SIGTERM)
            for thread in threads:
                thread.join()
            assert set(statuses) == {200, 503}
            assert statuses.count(503) <= 16
            assert server.process.wait(20) == 0
        finally:
            server.end()
