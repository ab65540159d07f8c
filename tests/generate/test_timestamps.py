"""Whisper's rules for times, against those of transformers spelled out row by row."""

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.generate.state import Limits, Progress
from mmjax.generate.timestamps import Timestamps

FIRST, SILENT, END, V = 12, 11, 10, 20
RULES = Timestamps(first=FIRST, no_timestamps=SILENT, end=END, latest=3)
PROMPT = [10, 3]
TEXTS = [[], [13], [13, 4], [13, 4, 15], [13, 4, 15, 15], [13, 4, 15, 15, 2], [14, 2, 2]]


def by_hand(text, logits):
    """OpenAI's `ApplyTimestampRules` for one row."""
    scores = logits.astype(np.float64).copy()
    scores[SILENT] = -np.inf
    was = len(text) >= 1 and text[-1] >= FIRST
    before = len(text) < 2 or text[-2] >= FIRST
    if was and before:
        scores[FIRST:] = -np.inf
    elif was:
        scores[:END] = -np.inf
    times = [token for token in text if token >= FIRST]
    if times:
        scores[FIRST : times[-1] if was and not before else times[-1] + 1] = -np.inf
    if not text:
        scores[:FIRST] = -np.inf
        scores[FIRST + 4 :] = -np.inf
    sums = np.exp(scores)
    if sums[FIRST:].sum() > sums[:FIRST].max():
        scores[:FIRST] = -np.inf
    return scores


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: "-".join(map(str, text)) or "none")
def test_rules_are_those_of_whisper(text):
    state = np.random.RandomState(len(text))
    rows = 4
    logits = state.standard_normal((rows, V)).astype(np.float32)
    logits[0, :END] += 4.0
    tokens = np.full((rows, 10), 1)
    slot = len(PROMPT) + len(text)
    tokens[:, :slot] = PROMPT + text
    limits = Limits(*(jnp.full(rows, one) for one in (len(PROMPT), 8, 0)))
    progress = Progress(
        jnp.asarray(tokens),
        jnp.ones(tokens.shape, bool),
        jnp.asarray(slot),
        jnp.asarray(len(text)),
        limits,
    )
    ours = RULES(progress, jnp.asarray(logits))
    wanted = np.stack([by_hand(text, row) for row in logits])
    np.testing.assert_allclose(
        np.where(np.isinf(ours), -1e9, ours), np.where(np.isinf(wanted), -1e9, wanted), atol=1e-6
    )
