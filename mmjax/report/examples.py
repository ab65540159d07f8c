"""Rows shown as cards: what went in, what came out, what was true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjax.core.typing import Float, Int
from mmjax.report.contents import Example, Explained
from mmjax.report.html import escape
from mmjax.report.pictures import data_uri, png_uri, wav_uri

_MOST_TEXT = 400


def choose_examples(
    probabilities: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, "n"],
    *,
    wrong: int = 12,
    right: int = 6,
    seed: int = 0,
) -> np.ndarray:
    """Row indices for a report: mistakes by their loss, then right rows drawn at random."""
    predictions = np.argmax(probabilities, axis=1)
    mistakes = np.flatnonzero(predictions != labels)
    given = probabilities[mistakes, np.asarray(labels)[mistakes]]
    worst = mistakes[np.argsort(given, kind="stable")][:wrong]
    hits = np.flatnonzero(predictions == labels)
    drawn = np.random.default_rng(seed).permutation(hits)[:right]
    return np.concatenate([worst, drawn])


def cards(examples: Sequence[Example]) -> str:
    """Wrong rows by their loss, then right ones, then those without a label; groups as given."""
    wrong = sorted((e for e in examples if e.correct is False), key=_badness, reverse=True)
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


def _badness(example: Example) -> float:
    if example.loss is not None:
        return example.loss
    return example.probability or 0.0


def _card(example: Example) -> str:
    state = {True: "right", False: "wrong", None: "unknown"}[example.correct]
    images = "".join(
        picture(f"{name} of row {example.row}", image) for name, image in example.images.items()
    )
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
    named = example.id and str(example.id) != str(example.row)
    identifier = f" · {escape(shortened(example.id))}" if named else ""
    loss = "" if example.loss is None else f" · loss {example.loss:.2f}"
    sounds = "".join(
        f'<audio controls preload="none" src="{wav_uri(data)}" aria-label="{escape(name)} of row '
        f'{example.row}"></audio>'
        for name, data in example.sounds.items()
    )
    explained = "".join(map(_explained, example.explanations))
    answer = f"{_mark(example)} {escape(shortened(example.prediction))}"
    return (
        f'<article class="card {state}" aria-label="row {example.row}">'
        f'<div class="pictures">{images}</div>{sounds}{fields}'
        f'<p class="answer">{answer}</p>'
        f'{truth}<ol class="top">{top}</ol>{explained}'
        f'<p class="row">row {example.row}{identifier}{loss}</p></article>'
    )


def _mark(example: Example) -> str:
    """Whether it is right, as a sign that is read out as a word."""
    signs = {True: ("✓", "right"), False: ("✗", "wrong"), None: ("?", "without a label")}
    sign, said = signs[example.correct]
    if example.correct is None and example.group:
        return ""
    return f'<span class="mark" role="img" aria-label="{said}">{sign}</span>'


def _explained(one: Explained) -> str:
    shown = escape(one.method)
    drawn = ""
    if one.picture:
        drawn = f'<img src="{png_uri(one.picture)}" alt="{shown}: {escape(one.said)}">'
    said = f"<p>{escape(one.said)}</p>" if one.said else ""
    return f'<details class="explained"><summary>{shown}</summary>{drawn}{said}</details>'


def picture(name: str, image: np.ndarray) -> str:
    """An `<img>` of a uint8 image, small ones enlarged without smoothing."""
    size = "small" if max(image.shape[:2]) <= 64 else "large"
    shown = escape(name)
    return f'<img class="{size}" src="{data_uri(image)}" alt="{shown}" title="{shown}">'


def shortened(value: object, most: int = _MOST_TEXT) -> str:
    """The text of a value, cut where it is long."""
    text = str(value)
    return text if len(text) <= most else text[:most] + " …"
