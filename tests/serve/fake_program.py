"""A model in NumPy behind the protocol of servable programs, with faults on demand."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image

from mmjax.core.errors import ConfigError, DataError
from mmjax.export.program import Input, Output, Prepared, Result

LABELS = ("apple", "pear", "plum")
BUCKETS = (8, 16, 32)


class FakeProgram:
    """Three classes from the letters of a text, a picture's mean and a number.

    The texts "boom" and "nan" make the model raise and give NaN; "slow" takes a while.
    """

    name = "fruit"
    digest = "ab" * 32
    task = "classification"
    labels = LABELS
    metadata: Mapping[str, Any] = {"metrics": {"accuracy": 0.9}}
    batch_sizes = (1, 2, 4, 8)
    buckets = BUCKETS
    streams = True
    inputs = (
        Input("text", "text", False, ("words",), "a text", {"max_chars": 1000}),
        Input("image", "image", False, ("picture",), "a picture", {"max_pixels": 50_000_000}),
        Input("audio", "audio", False, ("sound",), "a sound", {"max_seconds": 10}),
        Input(
            "table",
            "table",
            False,
            ("weight", "place"),
            "columns",
            fields={
                "weight": {"kind": "number"},
                "place": {"kind": "category", "values": ["land", "sea"]},
            },
        ),
    )
    outputs = (
        Output("probabilities", "float32", (3,)),
        Output("modality_weights", "float32", (4,)),
    )

    def __init__(self, *, seconds: float = 0.0, warm_up_s: float = 0.0) -> None:
        self.compiles = 0
        self.batches: list[list[str]] = []
        self.seconds = seconds
        self._warm_up_s = warm_up_s
        self._weights = np.random.default_rng(0).normal(size=(3, 34)).astype(np.float32)

    def prepare(self, example: Mapping[str, Any], *, paths: bool = False) -> Prepared:
        text, image, table = (example.get(name) for name in ("text", "image", "table"))
        if text is not None and not isinstance(text, str):
            raise DataError(503, f"'{text}' is no text", where="text")
        if isinstance(image, bytes):
            try:
                opened = PIL.Image.open(io.BytesIO(image))
                opened.load()
            except Exception as error:
                raise DataError(403, "the picture is damaged", where="image") from error
            image = np.asarray(opened.convert("RGB"))
        weight = (table or {}).get("weight")
        if weight is not None and not isinstance(weight, (int, float)):
            raise DataError(521, f"'{weight}' is no number", where="weight")
        text = text if text is None else text[:32]
        length = next(size for size in BUCKETS if size >= len(text or ""))
        arrays = {"text": text, "image": image, "audio": example.get("audio"), "table": table}
        return Prepared(arrays, length, {"text": text}, size=len(text or ""), padded=length)

    def run(self, prepared: Sequence[Prepared]) -> list[Result]:
        texts = [one.arrays["text"] or "" for one in prepared]
        self.batches.append(texts)
        if len({one.bucket for one in prepared}) > 1 or len(texts) > self.batch_sizes[-1]:
            raise ConfigError(105, "items that do not go together")
        if self.seconds or "slow" in texts:
            time.sleep(self.seconds or 0.3)
        if "boom" in texts:
            raise RuntimeError("out of memory")
        return [self._result(one) for one in prepared]

    def _result(self, one: Prepared) -> Result:
        features = np.zeros(34, np.float32)
        codes = np.frombuffer((one.arrays["text"] or "").encode("utf-8")[:32], np.uint8)
        features[: len(codes)] = codes / 128
        if one.arrays["image"] is not None:
            features[32] = one.arrays["image"].mean() / 255
        features[33] = float((one.arrays["table"] or {}).get("weight") or 0.0) % 7
        logits = self._weights @ features
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        if one.arrays["text"] == "nan":
            chances[0] = np.nan
        there = np.array([value is not None for value in one.arrays.values()], np.float32)
        best = int(chances.argmax())
        answer = {
            "label": LABELS[best],
            "probability": float(chances[best]),
            "probabilities": dict(zip(LABELS, map(float, chances), strict=True)),
        }
        weights = there / max(1.0, there.sum())
        return Result({"probabilities": chances, "modality_weights": weights}, answer)

    def warm_up(self) -> None:
        time.sleep(self._warm_up_s)
        self.compiles += len(BUCKETS) * len(self.batch_sizes)

    def stream(self, prepared: Prepared) -> Iterator[str]:
        for word in (prepared.arrays["text"] or "").split():
            if word == "boom":
                raise RuntimeError("out of memory")
            yield word + " "


def png(value: int = 128, size: int = 4) -> bytes:
    """A grey picture as PNG."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (size, size), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()
