"""Batches of pictures mixed with themselves, and their labels in the same shares.

Both are `f(pixels, labels, rng, ...) -> (pixels, labels)`: float [b h w c] (or [b t h w c] for
mixup) and one-hot or soft labels [b v]. Rows that `row_mask` leaves out stay as they are.
"""

from __future__ import annotations

import numpy as np

from mmjax.core.typing import Bool, Float, Int

Labels = Float[np.ndarray, "b v"]


def one_hot(labels: Int[np.ndarray, "b"], count: int) -> Labels:
    """float32 rows that are 1 at the label."""
    return np.eye(count, dtype=np.float32)[labels]


def mixup(
    pixels: Float[np.ndarray, "b ..."],
    labels: Labels,
    rng: np.random.Generator,
    *,
    alpha: float = 0.2,
    row_mask: Bool[np.ndarray, "b"] | None = None,
) -> tuple[Float[np.ndarray, "b ..."], Labels]:
    """Each row x becomes s x + (1 - s) y, y another row and s drawn from Beta(alpha, alpha)
    (Zhang et al. 2018, equation 1); a share of its own for each row.
    """
    partner, share = _partners(len(pixels), rng, alpha, row_mask)
    of_pixels = share.reshape(-1, *([1] * (pixels.ndim - 1)))
    mixed = of_pixels * pixels + (1 - of_pixels) * pixels[partner]
    return mixed, _mixed_labels(labels, partner, share)


def cutmix(
    pixels: Float[np.ndarray, "b h w c"],
    labels: Labels,
    rng: np.random.Generator,
    *,
    alpha: float = 1.0,
    row_mask: Bool[np.ndarray, "b"] | None = None,
) -> tuple[Float[np.ndarray, "b h w c"], Labels]:
    """In each row a box is replaced by that of another row; labels are mixed by the area kept.

    The box has the picture's aspect, 1 - s of its area with s drawn from Beta(alpha, alpha), and
    its centre anywhere, so that some of it may fall outside (Yun et al. 2019, equation 2).
    """
    b, h, w, _ = pixels.shape
    partner, share = _partners(b, rng, alpha, row_mask)
    middle = rng.random((b, 2)) * (h, w)
    half = np.sqrt(1 - share)[:, None] * (h, w) / 2
    first = np.rint(middle - half).clip(0, (h, w)).astype(int)
    stop = np.rint(middle + half).clip(0, (h, w)).astype(int)
    mixed = pixels.copy()
    for i, ((top, left), (bottom, right)) in enumerate(zip(first, stop, strict=True)):
        if partner[i] != i:
            mixed[i, top:bottom, left:right] = pixels[partner[i], top:bottom, left:right]
    kept = 1 - (stop - first).prod(axis=1) / (h * w)
    return mixed, _mixed_labels(labels, partner, kept.astype(np.float32))


def _partners(
    count: int, rng: np.random.Generator, alpha: float, row_mask: Bool[np.ndarray, "b"] | None
) -> tuple[Int[np.ndarray, "b"], Float[np.ndarray, "b"]]:
    """The row that each is mixed with, and the share that it keeps."""
    rows = np.arange(count) if row_mask is None else np.flatnonzero(row_mask)
    partner = np.arange(count)
    partner[rows] = rng.permutation(rows)
    share = np.ones(count, np.float32)
    share[rows] = rng.beta(alpha, alpha, len(rows))
    return partner, share


def _mixed_labels(
    labels: Labels, partner: Int[np.ndarray, "b"], share: Float[np.ndarray, "b"]
) -> Labels:
    return share[:, None] * labels + (1 - share[:, None]) * labels[partner]
