"""Rows shown as cards: what went in, what came out, what was true."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from mmjax.core.typing import Float, Int
from mmjax.report.contents import Example
from mmjax.report.html import escape

_MOST_PIXELS = 320
_MOST_TEXT = 400


def choose_examples(
    probabilities: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, "n"],
    *,
    wrong: int = 12,
    right: int = 6,
    seed: int = 0,
) -> np.ndarray:
    """Row indices for a report: the most confident mistakes, then right rows drawn at random."""
    predictions = np.argmax(probabilities, axis=1)
    mistakes = np.flatnonzero(predictions != labels)
    surest = mistakes[np.argsort(-probabilities.max(axis=1)[mistakes], kind="stable")][:wrong]
    hits = np.flatnonzero(predictions == labels)
    drawn = np.random.default_rng(seed).permutation(hits)[:right]
    return np.concatenate([surest, drawn])


def data_uri(image: np.ndarray) -> str:
    """A PNG data URI of a uint8 image, shrunk to at most 320 pixels a side."""
    plain = image[..., 0] if image.shape[2:] == (1,) else image
    picture = Image.fromarray(np.ascontiguousarray(plain))
    picture.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def cards(examples: Sequence[Example]) -> str:
    """Wrong rows, surest first, then right ones, then those without a label; groups as given."""
    wrong = sorted((e for e in examples if e.correct is False), key=lambda e: -(e.probability or 0))
    right = [e for e in examples if e.correct]
    unknown = [e for e in examples if e.correct is None and not e.group]
    groups = {"Wrong": wrong, "Right": right, "Without a label": unknown}
    for example in examples:
        if example.group:
            groups.setdefault(example.group, []).append(example)
    return "".join(
        f'<h3>{escape(title)} <span class="count">{len(chosen)}</span></h3>'
        f'<div class="cards">{"".join(map(_card, chosen))}</div>'
        for title, chosen in groups.items()
        if chosen
    )


def _card(example: Example) -> str:
    state = {True: "right", False: "wrong", None: "unknown"}[example.correct]
    images = "".join(picture(name, image) for name, image in example.images.items())
    fields = "".join(
        f'<p class="field" dir="auto"><span>{escape(name)}</span> {escape(shortened(value))}</p>'
        for name, value in example.fields.items()
    )
    likeliest = list(example.top)
    if not likeliest and example.probability is not None:
        likeliest = [(example.prediction, example.probability)]
    true = {example.label, *example.labels}
    top = "".join(
        f'<li class="{"is-label" if name in true else "other"}">'
        f"<span>{escape(name)}</span><b>{probability:.2f}</b>"
        f'<i style="width:{100 * min(max(probability, 0), 1):.1f}%"></i></li>'
        for name, probability in likeliest
    )
    truth = ""
    if example.label is not None and not example.correct:
        truth = f'<p class="truth"><span>true</span> {escape(shortened(example.label))}</p>'
    identifier = f" · {escape(shortened(example.id))}" if example.id else ""
    mark = {True: "✓", False: "✗", None: "" if example.group else "?"}[example.correct]
    answer = f'<span class="mark">{mark}</span> {escape(shortened(example.prediction))}'
    return (
        f'<article class="card {state}">'
        f'<div class="pictures">{images}</div>{fields}'
        f'<p class="answer">{answer}</p>'
        f'{truth}<ol class="top">{top}</ol>'
        f'<p class="row">row {example.row}{identifier}</p></article>'
    )


def picture(name: str, image: np.ndarray) -> str:
    """An `<img>` of a uint8 image, small ones enlarged without smoothing."""
    size = "small" if max(image.shape[:2]) <= 64 else "large"
    shown = escape(name)
    return f'<img class="{size}" src="{data_uri(image)}" alt="{shown}" title="{shown}">'


def shortened(value: object, most: int = _MOST_TEXT) -> str:
    """The text of a value, cut where it is long."""
    text = str(value)
    return text if len(text) <= most else text[:most] + " …"
