"""TLS on a real socket, asked by Python's own client."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess

import pytest
from serving_process import Process

from mmjax.core.errors import ConfigError
from mmjax.serve.config import ServeConfig
from mmjax.serve.server import _tls

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    made = {}
    for name in ("own", "other"):
        paths = [str(folder / f"{name}-{kind}.pem") for kind in ("certificate", "key")]
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
                *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-out", paths[0], "-keyout", paths[1]),
            ],
            check=True,
            capture_output=True,
        )
        made[name] = paths
    return made


def test_a_server_speaks_tls_alone(files):
    certificate, key = files["own"]
    server = Process("--certificate", certificate, "--key", key)
    try:
        assert server.url.startswith("https://")
        server.wait_for("ready")
        trusted = ssl.create_default_context(cafile=certificate)
        client = http.client.HTTPSConnection("127.0.0.1", server.port, context=trusted, timeout=20)
        body = '{"inputs": {"text": "a"}}'
        client.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
        answer = client.getresponse()
        assert answer.status == 200
        assert "label" in json.loads(answer.read())["prediction"]["answer"]
        client.close()
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as bare:
            bare.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert not bare.recv(100).startswith(b"HTTP")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
    finally:
        server.end()


def test_files_that_do_not_go_together_are_one_error(files, tmp_path):
    (certificate, key), (_, other) = files["own"], files["other"]
    assert _tls(ServeConfig()) == {}
    (tmp_path / "empty.pem").write_text("")
    for pair in ((certificate, other), ("nowhere.pem", key), (str(tmp_path / "empty.pem"), key)):
        with pytest.raises(ConfigError, match="MMX-190"):
            _tls(ServeConfig(certificate=pair[0], key=pair[1]))
    with pytest.raises(ConfigError, match="MMX-190"):
        ServeConfig(certificate=certificate)
    with pytest.raises(ConfigError, match="MMX-190"):
        ServeConfig(key=key)
