"""What the objectives share that guess a text word by word, seeing other modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import ObjectiveOutput, Tokens
from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.nn.dense import Activation
from mmjax.nn.stack import Remat
from mmjax.nn.text_decoder import CausalDecoder
from mmjax.objectives.base import Context, output, require_modalities
from mmjax.objectives.language import LanguageObjective


class Decoding(LanguageObjective, kw_only=True):
    """A decoder of the text `modality` that sees the modality `source`, or all others fused.

    What it sees are the tokens that `source`'s encoder made, or, where `source` is None, the
    model's fusion of all modalities from which the text is hidden. Rows count that have the text
    and something to see. Of a row, every token counts that stands behind another one; with
    `learned_start` the first one does too. The loss is the mean over tokens, with labels smoothed
    by `label_smoothing` as torch's `cross_entropy` does.
    """

    source: str | None = "image"
    width: int = 256
    depth: int = 2
    heads: int = 4
    mlp_dim: int = 1024
    activation: Activation = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    learned_start: bool = False
    """Whether a learned vector stands before the words: for tokenizers that begin texts with no
    token of their own, such as GPT-2's and T5's."""
    label_smoothing: float = 0.0
    scan: bool = False
    remat: Remat = "none"

    batch_coupled: ClassVar[bool] = False

    @property
    def uses_fusion(self) -> bool:  # type: ignore[override]
        return self.source is None

    def check(self, encoders: Mapping[str, nn.Module]) -> None:
        """The text gives its words alone, so it needs no encoder."""
        self.known("vocab_size")
        if self.source is not None:
            others = [name for name in encoders if name != self.modality]
            require_modalities([self.source], others, "objectives.source")

    def decoder(self, *, cross_attention: bool, learned_start: bool) -> CausalDecoder:
        """To be called in a compact method, once."""
        return CausalDecoder(
            vocab_size=self.known("vocab_size"),
            max_length=self.known("max_length"),
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            mlp_dim=self.mlp_dim,
            activation=self.activation,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            cross_attention=cross_attention,
            tied=self.tied,
            learned_start=learned_start,
            scan=self.scan,
            remat=self.remat,
            name="decoder",
            **self.types(),
        )

    def words(self, context: Context) -> tuple[Int[Array, "b n"], Bool[Array, "b n"]]:
        """The ids of the text and which of them are no padding."""
        batch, fields = context.batch, context.batch.inputs[self.modality]
        here = jnp.asarray(batch.row_mask) & jnp.asarray(batch.present[self.modality])
        mask = jnp.asarray(fields["attention_mask"], bool)
        return jnp.asarray(fields["input_ids"]), mask & here[:, None]

    def seen(self, context: Context) -> Tokens:
        """The tokens of `source`, or of the fusion of all modalities but the text."""
        if self.source is not None:
            return context.tokens(self.source)
        tokens = {name: context.tokens(name) for name in context.modalities}
        if self.modality not in tokens:
            fused = context.fuse(tokens)
            return Tokens(fused.values, fused.mask, fused.pooled)
        tokens[self.modality] = jax.tree.map(jnp.zeros_like, tokens[self.modality])
        fused = context.fuse(tokens)
        start, stop = fused.spans[self.modality]
        values, mask = (
            jnp.concatenate([x[:, :start], x[:, stop:]], axis=1) for x in (fused.values, fused.mask)
        )
        return Tokens(values, mask, fused.pooled)


def behind(
    ids: Int[Array, "b n"], counts: Bool[Array, "b n"], *, learned_start: bool
) -> tuple[Int[Array, "b _"], Bool[Array, "b _"]]:
    """For each place of the decoder, the token behind it and whether that counts."""
    if not learned_start:
        ids, counts = ids[:, 1:], counts[:, 1:]
    return jnp.pad(ids, ((0, 0), (0, 1))), jnp.pad(counts, ((0, 0), (0, 1)))


def token_output(
    losses: Float[Array, "b n"],
    right: Bool[Array, "b n"],
    counts: Bool[Array, "b n"],
    *,
    label_smoothing: float,
) -> ObjectiveOutput:
    """The mean of the losses of the tokens that count, with the sums of accuracy and tokens.

    `tokens`, which a perplexity is told by, is left out where smoothing makes of the loss another
    thing than the logarithm of one.
    """
    sums = {"accuracy_sum": (right & counts).sum().astype(jnp.float32)}
    if label_smoothing == 0.0:
        sums["tokens"] = counts.sum().astype(jnp.float32)
    return output(losses, counts, sums)
