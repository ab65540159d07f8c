"""What is asked in every form of the front, well and badly, and what is answered."""

from __future__ import annotations

import base64
import gzip
import json
import struct

import numpy as np
import pytest
from fake_program import LABELS, FakeProgram, png
from in_process import JSON, is_problem, served, text


def expected(**example):
    fake = FakeProgram()
    return fake.run([fake.prepare(example)])[0].arrays["probabilities"]


def test_the_protocol_tells_of_server_and_model():
    async def body(s):
        paths = ("/v2", "/v2/models/fruit", "/v2/models/fruit/versions/1")
        return [(await s.client.get(path)).json() for path in paths]

    server, model, version = served(body)
    assert server["name"] == "mmjax"
    assert "binary_tensor_data" in server["extensions"]
    assert model == version
    assert [one["name"] for one in model["inputs"]] == ["text", "image", "audio", "weight", "place"]
    assert model["inputs"][3] == {"name": "weight", "datatype": "FP64", "shape": [-1]}
    assert model["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}
    assert model["parameters"]["digest"] == FakeProgram.digest


def test_rows_of_tensors_are_answered_in_their_order():
    async def body(s):
        picture = base64.b64encode(png()).decode()
        image = {"name": "image", "shape": [2], "datatype": "BYTES", "data": [picture, ""]}
        weight = {"name": "weight", "shape": [2, 1], "datatype": "FP64", "data": [[1.5], [2]]}
        return (await s.infer(text("apple", "pear"), image, weight, id="7")).json()

    found = served(body)
    assert (found["id"], found["model_name"], found["model_version"]) == ("7", "fruit", "1")
    outputs = {one["name"]: one for one in found["outputs"]}
    chances = np.reshape(outputs["probabilities"]["data"], outputs["probabilities"]["shape"])
    first = expected(text="apple", image=png(), table={"weight": 1.5})
    second = expected(text="pear", table={"weight": 2})
    np.testing.assert_allclose(chances, [first, second], rtol=1e-6)
    answers = [json.loads(one) for one in outputs["answer"]["data"]]
    assert [one["label"] for one in answers] == [LABELS[row.argmax()] for row in chances]


def test_binary_data_go_both_ways():
    picture = np.full((1, 4, 4, 3), 9, np.uint8)
    word = b"pear"
    raw = struct.pack("<I", len(word)) + word + picture.tobytes()
    head = {
        "inputs": [
            {
                "name": "text",
                "shape": [1],
                "datatype": "BYTES",
                "parameters": {"binary_data_size": 8},
            },
            {
                "name": "image",
                "shape": [1, 4, 4, 3],
                "datatype": "UINT8",
                "parameters": {"binary_data_size": 48},
            },
        ],
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
    }

    async def body(s):
        start = json.dumps(head).encode()
        headers = {"inference-header-content-length": str(len(start))}
        octets = {"content-type": "application/octet-stream"}
        whole = gzip.compress(start + raw)
        squeezed = {**headers, **octets, "content-encoding": "gzip"}
        return [
            await s.client.post("/v2/models/fruit/infer", content=content, headers=with_)
            for content, with_ in (
                (start + raw, {**headers, **octets}),
                (whole, squeezed),
                (start + raw[:-1], headers),
                (start + raw, {"inference-header-content-length": "x"}),
                (start + raw + b"more", headers),
            )
        ]

    found, again, *refused = served(body)
    size = int(found.headers["inference-header-content-length"])
    said = json.loads(found.content[:size])
    assert said["outputs"][0]["parameters"] == {"binary_data_size": 12}
    fake = FakeProgram()
    (right,) = fake.run([fake.prepare({"text": "pear", "image": picture[0]})])
    np.testing.assert_array_equal(
        np.frombuffer(found.content[size:], np.float32), right.arrays["probabilities"]
    )
    assert again.content == found.content
    assert all(is_problem(one, 400) for one in refused)


BAD_TENSORS = {
    "more data than the shape": [text("a", "b", shape=[1])],
    "less data than the shape": [text("a", shape=[2])],
    "a negative size": [text("a", shape=[-1])],
    "an enormous size": [text("a", shape=[10**12])],
    "no shape": [{"name": "text", "datatype": "BYTES", "data": ["a"]}],
    "no data": [{"name": "text", "shape": [1], "datatype": "BYTES"}],
    "no such datatype": [text("a", datatype="STRING")],
    "numbers for a text": [text(1, datatype="FP32")],
    "a number among texts": [text("a", 3)],
    "texts for a number": [{"name": "weight", "shape": [1], "datatype": "FP64", "data": ["1"]}],
    "beyond its type": [{"name": "weight", "shape": [1], "datatype": "INT8", "data": [1000]}],
    "infinity": [{"name": "weight", "shape": [1], "datatype": "FP32", "data": [1e300]}],
    "twice": [text("a"), text("a")],
    "no such input": [{**text("a"), "name": "txt"}],
    "another number of items": [text("a", "b"), {**text("a"), "name": "place"}],
    "no items": [text()],
    "nothing": [],
    "no base64": [{**text("%%%"), "name": "image"}],
}


@pytest.mark.parametrize("inputs", BAD_TENSORS.values(), ids=BAD_TENSORS.keys())
def test_bad_tensors_are_400_and_named(inputs):
    async def body(s):
        return await s.infer(*inputs)

    answer = served(body)
    assert is_problem(answer, 400)
    assert "input" in answer.json()["error"]


def test_many_items_and_a_missing_file():
    async def body(s):
        return await s.infer(text(*"ab" * 40)), await s.infer({**text(""), "name": "image"})

    many, missing = served(body)
    assert is_problem(many, 413, 808, "80 items")
    assert is_problem(missing, 400, 800, "without any input")


BAD_BODIES = {
    "empty": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "not UTF-8": b'{"inputs": "\xff"}',
    "not a number": b'{"inputs": [{"name": "text", "shape": [NaN]}]}',
    "half a character": b'{"inputs": {"text": "\\ud800"}}',
    "no field": b'{"input": []}',
    "inputs are a number": b'{"inputs": 3}',
}


@pytest.mark.parametrize("content", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_bad_bodies_are_400(content):
    async def body(s):
        paths = ("/v2/models/fruit/infer", "/v1/predict")
        return [await s.client.post(path, content=content, headers=JSON) for path in paths]

    for answer in served(body):
        assert is_problem(answer, 400, 800)


def test_people_ask_in_json():
    picture = base64.b64encode(png()).decode()
    asks = [
        {"inputs": {"text": "apple", "image": picture}},
        {"inputs": {"words": "apple", "picture": "data:image/png;base64," + picture}},
        {"inputs": {"text": "apple", "image": {"base64": picture}, "audio": None}},
    ]

    async def body(s):
        same = [(await s.client.post("/v1/predict", json=ask)).json() for ask in asks]
        many = {"instances": [{"text": "a"}, {"image": "AAAA"}, {"table": {"weight": 3}}]}
        return same, (await s.client.post("/v1/predict", json=many)).json()["predictions"]

    same, many = served(body)
    right = expected(text="apple", image=png())
    for found in same:
        answer = found["prediction"]["answer"]
        np.testing.assert_allclose(list(answer["probabilities"].values()), right, rtol=1e-6)
        weights = found["prediction"]["modality_weights"]
        assert weights == {"text": 0.5, "image": 0.5, "audio": 0.0, "table": 0.0}
    assert many[0]["answer"]["label"] in LABELS
    assert many[1] == {"error": many[1]["error"], "code": "MMX-403"}
    assert many[2]["answer"]["probability"] == pytest.approx(expected(table={"weight": 3}).max())


@pytest.mark.parametrize(
    ("inputs", "status", "code", "said"),
    [
        ({"colour": 1}, 400, 800, "no input 'colour'"),
        ({}, 400, 800, "without any input"),
        ({"text": 3}, 400, 800, "a number is no text"),
        ({"table": 3}, 400, 800, "an object of columns"),
        ({"table": {"height": 3}}, 400, 800, "no column 'height'"),
        ({"table": {"weight": "x"}}, 422, 521, "no number"),
        ({"image": 3}, 400, 800, "a number is no file"),
        ({"image": "%%"}, 400, 802, "base64"),
        ({"image": "AAAA"}, 422, 403, "damaged"),
        ({"image": {"url": "https://example.org/a.png"}}, 400, 810, "not fetched"),
        ({"text": "boom"}, 500, 814, "the model failed"),
        ({"text": "nan"}, 500, 815, "not finite"),
    ],
)
def test_bad_items_are_told(inputs, status, code, said):
    async def body(s):
        return await s.predict(**inputs)

    assert is_problem(served(body), status, code, said)


def test_people_ask_with_forms():
    async def body(s):
        files = {"image": ("a.png", png(), "image/png"), "audio": ("a.wav", b"RIFF", "audio/wav")}
        data = {"text": "apple", "weight": "1.5"}
        good = await s.client.post("/v1/predict", data=data, files=files)
        kind = {"content-type": "multipart/form-data"}
        bad = await s.client.post("/v1/predict", content=b"--x", headers=kind)
        cut = {"content-type": "multipart/form-data; boundary=x"}
        torn = await s.client.post("/v1/predict", content=b"--x\r\nContent-", headers=cut)
        twice = await s.client.post("/v1/predict", files=[("text", b"a"), ("text", b"b")])
        return good.json(), bad, torn, twice

    found, bad, torn, twice = served(body)
    right = expected(text="apple", image=png(), table={"weight": 1.5})
    answer = found["prediction"]["answer"]["probabilities"]
    np.testing.assert_allclose(list(answer.values()), right, rtol=1e-6)
    for refused in (bad, torn, twice):
        assert is_problem(refused, 400, 800)


def test_texts_are_streamed():
    async def body(s):
        async def asked(words, **rest):
            ask = {"inputs": {"text": words}, "stream": True, **rest}
            return await s.client.post("/v1/predict", json=ask)

        return await asked("one two"), await asked("one boom"), await asked("boom")

    good, half, bad = served(body)
    assert good.headers["content-type"].startswith("text/event-stream")
    events = [line for line in good.text.splitlines() if line]
    assert events[:2] == ['data: {"text":"one "}', 'data: {"text":"two "}']
    assert events[2:] == ["event: done", 'data: {"text":"one two "}']
    assert "event: error" in half.text
    assert "MMX-814" in half.text
    assert is_problem(bad, 500, 814)
