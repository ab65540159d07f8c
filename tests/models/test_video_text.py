"""Contrastive and matching objectives of texts with videos and sounds, with their encoders."""

import jax
import numpy as np
import pytest
import reference
from scipy.special import log_softmax

from mmjax import encoders, fusion, objectives
from mmjax.core.types import Batch
from mmjax.models.pretraining import JointProjections, Pretraining

ROWS = 6
RNG = np.random.default_rng(0)
BLOCKS = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 16}
HERE = {
    "text": np.array([1, 1, 1, 1, 1, 0], bool),
    "video": np.array([1, 1, 0, 1, 1, 0], bool),
    "audio": np.array([1, 0, 1, 1, 1, 0], bool),
}
"""Each row but the last, which is padding, has two modalities at least."""


def make_batch(hidden=0.0):
    """Videos of 2 to 4 frames, sounds of 4 to 8; absent rows hold `hidden`."""
    rng = np.random.default_rng(1)
    lengths = {"text": [4, 2, 3, 4, 1, 4], "video": [4, 3, 4, 2, 4, 4], "audio": [8, 8, 4, 6, 8, 8]}
    longest = {"text": 4, "video": 4, "audio": 8}
    mask = {
        name: (np.arange(longest[name]) < np.array(one)[:, None]) & HERE[name][:, None]
        for name, one in lengths.items()
    }
    videos = rng.standard_normal((ROWS, 4, 4, 4, 3))
    sounds = rng.standard_normal((ROWS, 8, 4))
    gone = {name: ~here for name, here in HERE.items()}
    videos[gone["video"]], sounds[gone["audio"]] = hidden, hidden
    return Batch(
        inputs={
            "text": {
                "input_ids": rng.integers(1, 9, (ROWS, 4)).astype(np.int32),
                "attention_mask": mask["text"],
            },
            "video": {"pixel_values": videos.astype(np.float32), "frame_mask": mask["video"]},
            "audio": {
                "input_features": sounds.astype(np.float32),
                "attention_mask": mask["audio"],
            },
        },
        present=HERE,
        targets={},
        row_mask=np.arange(ROWS) < ROWS - 1,
        row=np.array([0, 1, 2, 3, 4, -1], np.int32),
    )


MODULE = Pretraining(
    encoders={
        "text": encoders.build("text_transformer", vocab_size=9, max_length=4, **BLOCKS),
        "video": encoders.build(
            "video_transformer", frames=4, image_size=4, tubelet=2, patch=2, **BLOCKS
        ),
        "audio": encoders.build(
            "spectrogram_transformer",
            max_frames=8,
            mel_bins=4,
            patch=2,
            frequency_stride=2,
            time_stride=2,
            **BLOCKS,
        ),
    },
    objectives={
        "video_text": objectives.build("contrastive", modalities=("text", "video")),
        "video_matching": objectives.build("matching", pair=("text", "video")),
        "audio_text": objectives.build("contrastive", modalities=("text", "audio")),
        "audio_matching": objectives.build("matching", pair=("text", "audio")),
    },
    fusion=fusion.build("cross_attention", width=8, heads=2, mlp_dim=16, queries=("text",)),
    joint=JointProjections(width=4),
)

PARAMS = reference.random_variables(MODULE, make_batch(), train=False)["params"]


@pytest.fixture(scope="module")
def results():
    """Output and gradients, with nothing and with something where rows are absent."""

    @jax.jit
    def run(params, batch):
        def loss(params):
            output = MODULE.apply({"params": params}, batch, train=False)
            return output.loss, output

        return jax.grad(loss, has_aux=True)(params)

    return [jax.device_get(run(PARAMS, make_batch(hidden))) for hidden in (0.0, 3.0)]


@pytest.mark.slow
@pytest.mark.parametrize("other", ["video", "audio"])
def test_pairs_are_those_that_are_there(results, other):
    _, output = results[0]
    both = HERE["text"] & HERE[other]
    text, theirs = (output.predictions[name][both] for name in ("text", other))
    scale = np.exp(np.float64(PARAMS[f"objectives_{other}_text"]["logit_scale"]))
    logits = scale * np.float64(text) @ np.float64(theirs).T
    expected = -np.mean([np.diag(log_softmax(logits, axis=axis)) for axis in (0, 1)])
    sums = output.metrics
    found = sums[f"{other}_text/loss_sum"] / sums[f"{other}_text/count"]
    assert float(found) == pytest.approx(expected, rel=1e-5)
    # Each pair, and a wrong partner on either side.
    assert int(sums[f"{other}_matching/count"]) == 3 * both.sum()


def test_every_part_learns(results):
    grads, _ = results[0]
    for name in ("text", "video", "audio"):
        assert max(np.abs(g).max() for g in jax.tree.leaves(grads[f"encoders_{name}"])) > 1e-4
        assert np.abs(grads["joint"][name]["kernel"]).max() > 1e-4
    for name in ("video", "audio"):
        assert np.abs(grads[f"objectives_{name}_matching"]["head"]["kernel"]).max() > 1e-4


def test_absent_videos_and_sounds_change_nothing(results):
    (grads, output), (others, other) = results
    assert float(output.loss) == float(other.loss)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), grads, others)
