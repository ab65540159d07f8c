"""A model of text and picture with a twin in torch: BERT's encoder, two convolutions, concat."""

from __future__ import annotations

import einops
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Batch, Tokens
from mmjax.encoders.text_transformer import TextTransformer
from mmjax.fusion.concat import Concat
from mmjax.models.multimodal import Multimodal
from mmjax.tasks.classification import Classification

VOCABULARY, LENGTH, WIDTH, HEADS, DEPTH, HIDDEN = 20, 6, 8, 2, 2, 12
SIDE, CHANNELS, LABELS = 6, (4, 5), 3


class TwoConvolutions(nn.Module):
    """Two 3 x 3 convolutions with ReLU; `pooled` is the mean of the last map."""

    @nn.compact
    def __call__(self, pixel_values, *, train: bool) -> Tokens:
        values = jnp.asarray(pixel_values)
        for index, channels in enumerate(CHANNELS):
            values = nn.relu(nn.Conv(channels, (3, 3), name=f"conv_{index}")(values))
        tokens = einops.rearrange(values, "b h w c -> b (h w) c")
        return Tokens(tokens, jnp.ones(tokens.shape[:2], bool), tokens.mean(axis=1))


def model() -> Multimodal:
    text = TextTransformer(
        vocab_size=VOCABULARY,
        max_length=LENGTH,
        width=WIDTH,
        depth=DEPTH,
        heads=HEADS,
        mlp_dim=HIDDEN,
        dropout=0.0,
        attention_dropout=0.0,
    )
    return Multimodal(
        encoders={"text": text, "image": TwoConvolutions()},
        task=Classification(num_labels=LABELS, label_names=("a", "b", "c")),
        fusion=Concat(width=7),
    )


def batch(ids, mask, pixels) -> Batch:
    rows = len(ids)
    return Batch(
        inputs={
            "text": {"input_ids": ids, "attention_mask": mask},
            "image": {"pixel_values": pixels},
        },
        present={"text": jnp.ones(rows, bool), "image": jnp.ones(rows, bool)},
        targets={},
        row_mask=jnp.ones(rows, bool),
        row=jnp.arange(rows),
    )
