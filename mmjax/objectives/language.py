"""What objectives that guess tokens share: facts of the vocabulary, a head, and sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.data.dataset import Dataset
from mmjax.metrics.language import unigram
from mmjax.nn.lm_head import LMHead
from mmjax.objectives.base import Context, Objective, output, require_modalities


class LanguageObjective(Objective, kw_only=True):
    """Guesses tokens of one modality, by the cross-entropy over its vocabulary.

    A `tied` head has the encoder's table of words as its last layer. Sums: `accuracy_sum`, and
    `tokens`, which are those that were guessed; the perplexity is exp of the loss.
    """

    modality: str = "text"
    tied: bool = True

    batch_coupled: ClassVar[bool] = False

    def check(self, encoders: Mapping[str, nn.Module]) -> None:
        require_modalities([self.modality], tuple(encoders), "objectives.modality")
        self.known("vocab_size")

    def known(self, fact: str, fix: str = "") -> Any:
        """A fact of the modality. Raises ConfigError if it has none, which `fix` helps."""
        found = self.modality_facts.get(self.modality, {}).get(fact)
        if found is None:
            raise ConfigError(
                109,
                f"a {type(self).__name__} of '{self.modality}', which has no {fact}",
                where=f"data.modalities.{self.modality}",
                fix=fix or "name a modality of text in objectives.modality",
            )
        return found

    def chances(self, fields: Mapping[str, ArrayLike]) -> Float[np.ndarray, "b n"]:
        """How likely each token of a batch is to be guessed: all that are valid, here."""
        return np.asarray(fields["attention_mask"], np.float64)

    def baseline(
        self, data: Dataset, split: str = "test", *, train_split: str = "train"
    ) -> dict[str, float]:
        """`metrics.unigram` of the tokens of a split that it may have to guess.

        To be set beside the perplexity and the accuracy of a run on these rows.
        """
        counts = {name: np.zeros(self.known("vocab_size")) for name in (train_split, split)}
        for name, found in counts.items():
            with data.only(self.modality).loader(name, train=False) as loader:
                for batch in loader:
                    fields = batch.inputs[self.modality]
                    np.add.at(found, np.asarray(fields["input_ids"]), self.chances(fields))
        return unigram(counts[train_split], counts[split])

    def guess(
        self,
        context: Context,
        hidden: Float[Array, "b n d"],
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"],
        *,
        transform: bool,
        use_bias: bool,
    ) -> ObjectiveOutput:
        """The mean loss of `ids` where `mask` is True; called in a compact method."""
        vocab_size = self.known("vocab_size")
        table = None
        if self.tied:
            table = word_table(context.parameters(self.modality), vocab_size, self.modality)
            if not transform and table.shape[1] != hidden.shape[-1]:
                raise ConfigError(
                    109,
                    f"a tied head wants states of width {table.shape[1]}, as the encoder's words "
                    f"have, not {hidden.shape[-1]}",
                    where="objectives.tied",
                    fix="tied=False, or the same width",
                )
        head = LMHead(
            vocab_size=vocab_size,
            transform=transform,
            use_bias=use_bias,
            name="head",
            **self.types(),
        )
        losses, right = head.losses(hidden, ids, table)
        sums = {
            "accuracy_sum": jnp.sum(right & mask).astype(jnp.float32),
            "tokens": mask.sum().astype(jnp.float32),
        }
        return output(losses, mask, sums)


def word_table(
    parameters: Mapping[str, Any], vocab_size: int, modality: str
) -> Float[Array, "v d"]:
    """The encoder's embedding of `vocab_size` words.

    Raises ConfigError if it has none, or has more words than the data.
    """
    leaves = jax.tree_util.tree_leaves_with_path(parameters)
    names = [[str(getattr(key, "key", key)) for key in path] for path, _ in leaves]
    tables = [
        leaf
        for name, (_, leaf) in zip(names, leaves, strict=True)
        if len(name) > 1 and name[-1] == "embedding" and name[-2] in ("words", "subwords")
    ]
    if len(tables) != 1 or tables[0].ndim != 2 or tables[0].shape[0] < vocab_size:
        raise ConfigError(
            109,
            f"the encoder of '{modality}' has no single table of {vocab_size} words to tie to",
            where="objectives.tied",
            fix="tied=False",
        )
    return tables[0][:vocab_size]
