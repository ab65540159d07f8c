"""The parts of `serving.py` that do harm: signals, slow clients, mutated requests, tools."""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import io
import json
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import PIL.Image

from benchmarks.serving_processes import Server, running, serving

_TOO_SLOW_S = 20.0


def slow(args: argparse.Namespace) -> dict[str, Any]:
    """200 clients with slow headers and 200 with slow bodies, while others are served."""
    with running("serving_model", "mmjax", "--depth", "2") as server:
        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        kinds = {
            "slow_headers": b"GET /v2 HTTP/1.1\r\nHost: local",
            "slow_bodies": head + b"Content-Length: 1000\r\n\r\n{",
        }
        return asyncio.run(_slow(server, kinds))


async def _slow(server: Server, kinds: dict[str, bytes]) -> dict[str, Any]:
    closed: dict[str, list[float]] = {name: [] for name in kinds}

    async def lingers(name: str, sent: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        began = time.monotonic()
        writer.write(sent)
        last = sent[-1:]
        try:
            while time.monotonic() - began < _TOO_SLOW_S:
                try:
                    if not await asyncio.wait_for(reader.read(4096), 0.5):
                        break
                except TimeoutError:
                    # A byte now and then, as such clients do to look alive.
                    writer.write(last)
            else:
                return
        except OSError:
            pass
        finally:
            writer.close()
        closed[name].append(time.monotonic() - began)

    tasks = [
        asyncio.create_task(lingers(name, sent)) for name, sent in kinds.items() for _ in range(200)
    ]
    good: list[tuple[int, float]] = []

    async def asks() -> None:
        while any(not task.done() for task in tasks):
            began = time.monotonic()
            status, _ = await asyncio.to_thread(server.ask)
            good.append((status, time.monotonic() - began))

    await asyncio.gather(*(asks() for _ in range(4)), *tasks)
    return {
        **{f"{name}_closed": len(found) for name, found in closed.items()},
        **{
            f"{name}_longest_s": round(max(found, default=float("nan")), 1)
            for name, found in closed.items()
        },
        "good_requests": len(good),
        "good_failed": sum(status != 200 for status, _ in good),
        "good_p99_ms": round(1000 * float(np.quantile([s for _, s in good], 0.99)), 1),
    }


def fuzz(args: argparse.Namespace) -> dict[str, Any]:
    """Mutated requests with a fixed seed: what the statuses were, and the memory after them."""
    rng = random.Random(0)
    with serving(args.folder, "--max-delay-ms", "0") as server:
        name = json.loads(server.get("/v2/models")[1])["models"][0]["name"]
        tensors = json.loads(server.get(f"/v2/models/{name}")[1])["inputs"]
        statuses: Counter[int] = Counter()
        bad: list[str] = []
        memory: list[float] = []
        for start in range(0, args.requests, 100):
            if start % 1000 == 0:
                memory.append(server.memory_mb())
            requests = [_mutated(rng, name, tensors) for _ in range(100)]
            with ThreadPoolExecutor(4) as threads:
                found = list(threads.map(lambda one: _send(server, one), requests))
            statuses.update(found)
            wrong = [pair for pair in zip(found, requests, strict=True) if pair[0] >= 500]
            bad += [f"{status} {request[:300]!r}" for status, request in wrong[: 20 - len(bad)]]
        memory.append(server.memory_mb())
        alive = server.process.poll() is None
        good = server.ask("GET", "/v2/health/ready", None, {})[0]
        log = server.log()
    return {
        "requests": args.requests,
        "statuses": {str(one): count for one, count in sorted(statuses.items())},
        "from_500": sum(count for status, count in statuses.items() if status >= 500),
        "examples_from_500": bad,
        "closed_without_answer": statuses.get(0, 0),
        "memory_mb": [round(one) for one in memory],
        # What is allocated once is there after the first thousand.
        "memory_growth_mb": round(memory[-1] - memory[min(1, len(memory) - 1)], 1),
        "alive": alive,
        "ready_afterwards": good == 200,
        "tracebacks_in_log": log.count("Traceback"),
    }


_SPLICES = (b"\0", b"\xff\xfe", b'"', b"{", b"]", b"NaN", b"1e999", b"-1", b"\\ud800", b"\r\n")
_WORDS: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    2**70,
    "",
    "a" * 5000,
    [],
    {},
    [[[]]],
    "\u202e",
)


def _mutated(rng: random.Random, name: str, tensors: list[dict[str, Any]]) -> bytes:
    """One raw request, somewhat wrong; some are right."""
    path, body, kind = rng.choice((_infer, _predict, _form))(rng, name, tensors)
    headers = {"Host": "localhost", "Content-Type": kind}
    method = rng.choice(("POST",) * 60 + ("GET", "PUT", "DELETE", "PATCH"))
    if rng.random() < 0.3:
        data = bytearray(body)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(data) + 1)
            if rng.random() < 0.5:
                data[place : place + rng.randint(0, 8)] = rng.choice(_SPLICES)
            elif data:
                data[place % len(data)] = rng.randrange(256)
        body = bytes(data)
    if rng.random() < 0.1:
        headers["Content-Encoding"] = rng.choice(("gzip", "deflate", "br", "identity", "zip"))
        if rng.random() < 0.6:
            body = gzip.compress(body)
            body = body if rng.random() < 0.5 else body[: rng.randrange(len(body))]
    if rng.random() < 0.1:
        headers["Inference-Header-Content-Length"] = rng.choice(("0", "5", "-1", "x", "9" * 30, ""))
    if rng.random() < 0.1:
        headers["Content-Type"] = rng.choice(("", "text/plain", "multipart/form-data", "é", kind))
    if rng.random() < 0.05:
        path = rng.choice(("/", "//", "/v2/..", "/v2/models/%00/infer", path + "?a=%ff", "/v1"))
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body


def _infer(rng: random.Random, name: str, tensors: list[dict[str, Any]]) -> tuple[str, bytes, str]:
    inputs = []
    rows = rng.randint(1, 3)
    for tensor in rng.sample(tensors, rng.randint(1, len(tensors))):
        data = [_value(rng, tensor) for _ in range(rows)]
        one = {"name": tensor["name"], "shape": [rows], "datatype": tensor["datatype"]}
        inputs.append({**one, "data": data})
        if rng.random() < 0.4:
            inputs[-1][rng.choice([*inputs[-1], "parameters"])] = rng.choice(_WORDS)
    request = {"inputs": inputs, "id": "x"}
    if rng.random() < 0.2:
        request[rng.choice(("id", "parameters", "outputs", "inputs", "other"))] = rng.choice(_WORDS)
    body = json.dumps(request).encode()
    return f"/v2/models/{name}/infer", body, "application/json"


def _predict(
    rng: random.Random, name: str, tensors: list[dict[str, Any]]
) -> tuple[str, bytes, str]:
    item = {tensor["name"]: _value(rng, tensor) for tensor in tensors if rng.random() < 0.6}
    if item and rng.random() < 0.3:
        item[rng.choice(list(item))] = rng.choice((*_WORDS, {"url": "https://127.0.0.1/a"}))
    request: dict[str, Any] = {"inputs": item}
    if rng.random() < 0.3:
        request = {"instances": [item, item]}
    if rng.random() < 0.2:
        request[rng.choice(("timeout_ms", "stream", "arrays", "other"))] = rng.choice(_WORDS)
    return "/v1/predict", json.dumps(request).encode(), "application/json"


def _form(rng: random.Random, name: str, tensors: list[dict[str, Any]]) -> tuple[str, bytes, str]:
    parts = []
    for tensor in tensors:
        value = _value(rng, tensor)
        file = ""
        raw = str(value).encode("utf-8", "replace")
        if tensor["name"] != "text" and rng.random() < 0.7:
            file, raw = '; filename="a"', _picture(rng)
        head = f'--b\r\nContent-Disposition: form-data; name="{tensor["name"]}"{file}\r\n\r\n'
        parts.append(head.encode() + raw + b"\r\n")
    return "/v1/predict", b"".join(parts) + b"--b--\r\n", "multipart/form-data; boundary=b"


def _value(rng: random.Random, tensor: dict[str, Any]) -> Any:
    if rng.random() < 0.1:
        return rng.choice(_WORDS)
    if tensor["datatype"] != "BYTES":
        return rng.choice((1, -3.5, 1e10, 0))
    if tensor["name"] in ("text", "words"):
        return rng.choice(("red apple", "", "a" * 3000, "\u0000x", "مرحبا", "\U0001f34e", " "))
    return base64.b64encode(_picture(rng)).decode()


def _picture(rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    size = rng.choice(((8, 8), (1, 1), (1, 300), (64, 48)))
    picture = PIL.Image.new(rng.choice(("RGB", "L", "RGBA", "P")), size)
    picture.save(buffer, rng.choice(("PNG", "GIF")))
    data = bytearray(buffer.getvalue())
    if rng.random() < 0.5:
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data if rng.random() < 0.8 else data[: rng.randrange(len(data))])


def _send(server: Server, request: bytes) -> int:
    """The status of the answer; 0 if the server closed without one."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        try:
            client.sendall(request)
            heard = b""
            while piece := client.recv(65536):
                heard += piece
        except ConnectionError:
            pass
    found = re.match(rb"HTTP/1.1 (\d{3})", heard)
    return int(found[1]) if found else 0


def schema(args: argparse.Namespace) -> dict[str, Any]:
    """Schemathesis on the OpenAPI document of a running server."""
    with serving(args.folder, "--no-restart") as server:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
        # Whether a body fits a model is not all in its schema, so what fits may be refused.
        command += ["--exclude-checks", "positive_data_acceptance", "--max-examples", "50"]
        done = subprocess.run(
            [*command, "--seed", "1", "--no-color"], capture_output=True, text=True, check=False
        )
    said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    summary = next((i for i, line in enumerate(said) if "SUMMARY" in line), 0)
    failures = next((i for i, line in enumerate(said) if "FAILURES" in line), summary)
    return {
        "exit_code": done.returncode,
        "failures": said[failures : min(summary, failures + 40)] if failures < summary else [],
        "summary": said[summary:],
    }


def triton(args: argparse.Namespace) -> dict[str, Any]:
    """`tritonclient[http]` in all its ways, the answers beside those of `/v1/predict`."""
    import tritonclient.http as client

    with serving(args.folder, "--no-restart") as server:
        triton_client = client.InferenceServerClient(f"127.0.0.1:{server.port}")
        name = json.loads(server.get("/v2/models")[1])["models"][0]["name"]
        checks = {
            "live": triton_client.is_server_live(),
            "ready": triton_client.is_server_ready(),
            "model_ready": triton_client.is_model_ready(name),
            "version": triton_client.get_server_metadata()["version"] != "",
            "metadata": triton_client.get_model_metadata(name)["name"] == name,
        }
        texts = ["a small red apple", "a flag"]
        right = []
        for text in texts:
            body = json.dumps({"inputs": {"text": text}, "arrays": True}).encode()
            said = json.loads(server.ask(body=body)[1])["prediction"]
            right.append(said["arrays"]["probabilities"]["data"])
        for binary in (True, False):
            for squeezed in (None, "gzip", "deflate"):
                tensor = client.InferInput("text", [2], "BYTES")
                tensor.set_data_from_numpy(np.array(texts, object), binary_data=binary)
                wanted = client.InferRequestedOutput("probabilities", binary_data=binary)
                found = triton_client.infer(
                    name,
                    [tensor],
                    outputs=[wanted],
                    request_compression_algorithm=squeezed,
                    request_id="1",
                ).as_numpy("probabilities")
                same = bool(np.abs(found - np.array(right, np.float32)).max() < 1e-6)
                checks[f"infer {'binary' if binary else 'json'} {squeezed or 'plain'}"] = same
        try:
            triton_client.infer("nothing", [tensor])
            checks["unknown model"] = False
        except client.InferenceServerException as error:
            checks["unknown model"] = "MMX-805" in str(error) or "no model" in str(error)
    return {"checks": checks, "all": all(checks.values())}
