"""What a search found, as a sheet of pictures."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmjax.report.figures import PAPER
from mmjax.writers.console import printable

_ACROSS, _INCHES, _LONGEST = 5, 1.7, 28


def sheet(
    pictures: Sequence[np.ndarray | None],
    captions: Sequence[str],
    *,
    title: str,
    query: np.ndarray | None = None,
) -> bytes:
    """A PNG with the pictures (uint8 [h w], [h w 1] or [h w 3]) in rows of five, `query` first.

    What has no picture is its caption on an empty field.
    """
    cells = list(zip(pictures, captions, strict=True))
    if query is not None:
        cells.insert(0, (query, "query"))
    across = min(_ACROSS, len(cells))
    down = math.ceil(len(cells) / across)
    figure = Figure(
        (across * _INCHES, down * (_INCHES + 0.35) + 0.4), facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(figure)
    settings: dict[Any, Any] = {"font.family": "sans-serif", "text.parse_math": False}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.suptitle(_cut(title, 3 * _LONGEST), color=PAPER.ink, fontsize=11)
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for one in axes:
            one.set_axis_off()
        for one, (picture, caption) in zip(axes, cells, strict=False):
            one.set_title(_cut(caption, _LONGEST), color=PAPER.muted, fontsize=8)
            if picture is not None:
                plain = picture[..., 0] if picture.shape[2:] == (1,) else picture
                one.imshow(plain, cmap="gray" if plain.ndim == 2 else None, vmin=0, vmax=255)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def _cut(text: str, length: int) -> str:
    plain = " ".join(printable(text).split())
    return plain if len(plain) <= length else plain[: length - 1] + "…"
