"""One model behind three servers: this package's, LitServe's, and a bare FastAPI handler's.

    python -m benchmarks.serving_model mmjax --port 9000
    python -m benchmarks.serving_model fastapi --port 9000
    python -m benchmarks.serving_litserve --port 9000

A text's words are hashed into a vector, which goes through layers of 2048 x 2048. Its weights do
not fit a processor's cache, so that a batch of 32 costs little more than one row: what large models
are like, at a size that two cores can bear.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.core.errors import DataError
from mmjax.export.program import Input, Output, Prepared, Result

WIDTH, CLASSES = 2048, 10
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


class Layers:
    """A `Program` of dense layers in JAX."""

    name = "layers"
    digest = "0" * 64
    task = "classification"
    labels = tuple(map(str, range(CLASSES)))
    metadata: Mapping[str, Any] = {}
    batch_sizes = BATCH_SIZES
    buckets = (0,)
    streams = False
    inputs = (Input("text", "text", True, ("text",), "a text"),)
    outputs = (Output("probabilities", "float32", (CLASSES,)),)

    def __init__(self, depth: int):
        import jax
        import jax.numpy as jnp

        keys = jax.random.split(jax.random.key(0), depth)
        layers = [jax.random.normal(key, (WIDTH, WIDTH)) / WIDTH**0.5 for key in keys]
        self._weights = [*layers, jax.random.normal(keys[0], (WIDTH, CLASSES))]
        self._get = jax.device_get
        self._compiled: dict[int, Any] = {}
        self._jit = jax.jit

        def forward(weights: list[Any], x: Any) -> Any:
            for weight in weights[:-1]:
                x = jnp.tanh(x @ weight)
            return jax.nn.softmax(x @ weights[-1])

        self._forward = forward

    @property
    def compiles(self) -> int:
        return len(self._compiled)

    def prepare(self, example: Mapping[str, Any], *, paths: bool = False) -> Prepared:
        text = example["text"]
        if not isinstance(text, str):
            raise DataError(503, f"'{text}' is no text")
        vector = np.zeros(WIDTH, np.float32)
        for word in text.split():
            vector[zlib.crc32(word.encode()) % WIDTH] += 1
        return Prepared({"text": vector}, 0, {"text": text})

    def run(self, prepared: Sequence[Prepared]) -> list[Result]:
        size = next(size for size in BATCH_SIZES if size >= len(prepared))
        x = np.zeros((size, WIDTH), np.float32)
        for row, one in zip(x, prepared, strict=False):
            row[:] = one.arrays["text"]
        found = self._get(self._program(size)(self._weights, x))[: len(prepared)]
        return [Result({"probabilities": row}, {"label": str(row.argmax())}) for row in found]

    def warm_up(self) -> None:
        for size in BATCH_SIZES:
            self._program(size)

    def stream(self, prepared: Prepared) -> Iterator[str]:
        yield ""

    def _program(self, size: int) -> Any:
        if size not in self._compiled:
            x = np.zeros((size, WIDTH), np.float32)
            self._compiled[size] = self._jit(self._forward).lower(self._weights, x).compile()
        return self._compiled[size]

    def answer(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """What the servers beside this package's call."""
        return [dict(one.answer) for one in self.run([self.prepare({"text": t}) for t in texts])]


def _mmjax(args: argparse.Namespace) -> int:
    from mmjax.serve.config import EngineConfig, ServeConfig
    from mmjax.serve.server import serve

    engine = EngineConfig(
        max_batch=args.max_batch, max_queue=args.max_queue, max_delay_ms=args.max_delay_ms
    )
    config = ServeConfig(port=args.port, engine=engine)
    return serve(lambda: Layers(args.depth), config)


def _fastapi(args: argparse.Namespace) -> int:
    import fastapi
    import uvicorn

    model = Layers(args.depth)
    model.warm_up()
    app = fastapi.FastAPI()

    @app.post("/v1/predict")
    def predict(ask: dict[str, Any]) -> dict[str, Any]:
        return {"prediction": {"answer": model.answer([ask["inputs"]["text"]])[0]}}

    uvicorn.run(app, host="127.0.0.1", port=args.port, log_level="error", access_log=False)
    return 0


def options(description: str | None) -> argparse.ArgumentParser:
    """Those of every server."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--max-queue", type=int, default=256)
    parser.add_argument("--max-delay-ms", type=float, default=2.0)
    return parser


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("server", choices=("mmjax", "fastapi"))
    args = parser.parse_args()
    return {"mmjax": _mmjax, "fastapi": _fastapi}[args.server](args)


if __name__ == "__main__":
    sys.exit(main())
