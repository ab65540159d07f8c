"""What the tables of decoder-only language models have in common: with the head, and without."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mmjax import encoders
from mmjax.core.registry import Spec
from mmjax.pretrained.family import Family, Names, text_inputs
from mmjax.pretrained.rules import Table, dense

_HEADS = (r"score\..*", r"classifier\..*", r"qa_outputs\..*", r"multiple_choice_head\..*")


@dataclasses.dataclass(frozen=True)
class Causal:
    """A model type: `lm` loads it with its head as `Decoded`, `encoder` without it as `Tokens`."""

    model_type: str
    options: Callable[[Any], dict[str, Any]]
    table: Callable[[Any], Table]
    """Of the base class, without `prefix`."""
    base: str
    """The base class, and that with the head."""
    with_head: str
    words: str
    """The table of words, which the head may be."""
    prefix: str = "transformer."
    head: str = "lm_head"
    head_bias: bool = False
    ignored: tuple[str, ...] = ()

    @property
    def lm(self) -> Family:
        return Family(
            spec=self._spec,
            table=self._whole,
            inputs=text_inputs,
            saved_as=self.with_head,
            registry=encoders.decoders,
            prefix=self.prefix,
            left_out=_HEADS,
            ignored=(*Family.ignored, *self.ignored),
            aliases=self._tied,
            parts={"encoder": f"{self.model_type}_encoder"},
        )

    @property
    def encoder(self) -> Family:
        return Family(
            spec=lambda config, names: Spec("causal_encoder", **self.options(config)),
            table=self.table,
            inputs=text_inputs,
            saved_as=self.base,
            prefix=self.prefix,
            ignored=(*Family.ignored, *self.ignored),
        )

    def _spec(self, config: Any, names: Names) -> Spec:
        tied = config.tie_word_embeddings
        return Spec("causal_lm", **self.options(config), tied=tied, head_bias=self.head_bias)

    def _whole(self, config: Any) -> Table:
        base = [
            dataclasses.replace(leaf, theirs=f"{self.prefix}{leaf.theirs}")
            for leaf in self.table(config)
        ]
        if config.tie_word_embeddings:
            return base
        return [*base, *dense(self.head, "head", bias=self.head_bias)]

    def _tied(self, config: Any) -> Mapping[str, str]:
        if not config.tie_word_embeddings:
            return {}
        return {f"{self.head}.weight": f"{self.prefix}{self.words}.weight"}


def layers(block: Callable[[str, str], Table], theirs: str, depth: int) -> Table:
    """`block(theirs, ours)` of every layer."""
    return [leaf for i in range(depth) for leaf in block(f"{theirs}.{i}", f"stack/layer_{i}")]
