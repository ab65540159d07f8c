"""A model and its variables, as methods ask them: scores of rows as their inputs change."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Bool, Float
from mmjax.explain import features as feature_lib
from mmjax.explain import scores as scores_lib
from mmjax.explain.features import Features, Parts
from mmjax.explain.looking import look, of_text
from mmjax.explain.scores import Choice, Score, Seen
from mmjax.explain.scores.base import Scale
from mmjax.models.base import Assembly
from mmjax.models.pretraining import Pretraining
from mmjax.parallel.mesh import traced_on
from mmjax.train.step import Prepares

Words = Sequence[tuple[str, tuple[int, ...]]]
"""The words of a text, and the places of each."""


@dataclasses.dataclass(frozen=True)
class Donors:
    """Other rows: what fused vectors and answers they have, and a batch of some of them."""

    vectors: Float[np.ndarray, "n d"]
    ids: Sequence[Any]
    answers: Sequence[str]
    """What each is labelled, or what the model says of it."""
    batch: Batch | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """What is explained. `kinds` and `facts` are those of the data's modalities, `of` the class
    (or what else has a name, see `scores`) that is asked about in every row, None for what the
    model says of each.

    `words` gives the places of each word of rows' texts by modality, `donors` other rows; both are
    asked when a method needs them. `columns` names a table's places.
    """

    module: Assembly | Pretraining
    variables: Any
    mesh: Mesh
    kinds: Mapping[str, str]
    facts: Mapping[str, Mapping[str, Any]]
    of: str | int | None = None
    columns: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    pixels: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    """The mean and deviation that pictures were normalised by, where they are known."""
    words: Callable[[Batch, str], Sequence[Words]] | None = None
    donors: Callable[[], Donors] | None = None
    _compiled: dict[Any, Callable[..., Any]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def modalities(self) -> tuple[str, ...]:
        """Those that the model encodes, in its order."""
        return tuple(self.module.encoders)

    @functools.cached_property
    def _asked(self) -> tuple[str | None, Any, str | int | None]:
        return scores_lib.part_of(self.module.task, self.of)

    @property
    def task(self) -> Any:
        """The task that is explained: of several one of them."""
        return self._asked[1]

    def answer_of(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """What that task says, of what is decoded of a row."""
        part = self._asked[0]
        return answer if part is None else answer.get(part, {})

    @functools.cached_property
    def score(self) -> Score:
        """What number of a row is explained. Raises ConfigError where there is none."""
        return scores_lib.of(self.task)

    @functools.cached_property
    def ready(self) -> Any:
        """The variables, with what an evaluation makes of them once."""
        if isinstance(self.module, Prepares):
            return {**self.variables, **self.module.prepare(self.variables)}
        return self.variables

    def apply(self, variables: Any, batch: Batch, **options: Any) -> Any:
        """The model in evaluation, traced; of one without a task, its vectors."""
        if isinstance(self.module, Pretraining):
            return self.module.apply(variables, batch, method=Pretraining.embed, **options)
        return self.module.apply(variables, batch, train=False, **options)

    def look(self, variables: Any, batch: Batch, *, write: bool = False) -> Seen:
        """What the model makes of a batch, traced."""
        return self.seen(lambda: self.apply(variables, batch), batch, write=write)

    def seen(self, apply: Callable[[], Any], batch: Batch, *, write: bool = False) -> Seen:
        """What `apply` makes of a batch, traced."""
        if isinstance(self.module, Pretraining):
            made = apply()
            return Seen(self.task, {n: made[n] for n in self.task.modalities}, made, batch)
        return look(apply, self.task, batch, part=self._asked[0], write=write)

    def choose(self, variables: Any, batch: Batch) -> tuple[Choice, Mapping[str, Array]]:
        """What is explained of each row, and all predictions, traced."""
        seen = self.look(variables, batch, write=True)
        predictions = {} if seen.whole is None else seen.whole.predictions
        return self.score.choose(seen, self._asked[2]), predictions

    def scores(
        self,
        variables: Any,
        batch: Batch,
        choice: Choice,
        given: Features | None = None,
        scale: Scale = "score",
    ) -> Float[Array, "b"]:
        """The score of each row, with other features if `given`; traced."""
        return self.scores_and_features(variables, batch, choice, given, scale)[0]

    def scores_and_features(
        self,
        variables: Any,
        batch: Batch,
        choice: Choice,
        given: Features | None = None,
        scale: Scale = "score",
    ) -> tuple[Float[Array, "b"], Features]:
        """As `scores`, with the features of the batch itself."""
        if self.score.row_by_row:
            return self._row_by_row(variables, batch, choice, given)
        seen, own = feature_lib.run_with(
            lambda changed: self.look(variables, changed), batch, given
        )
        return self.score.score(seen, choice, scale), self._kept(own)

    def _row_by_row(
        self, variables: Any, batch: Batch, ids: Choice, given: Features | None
    ) -> tuple[Float[Array, "b"], Features]:
        """Log-probabilities of texts: minus the summed loss of each row alone."""
        asked = of_text(batch, ids, self.task.target)

        def one(row: Batch, features: Features | None) -> tuple[Array, Features]:
            alone, more = jax.tree.map(lambda leaf: leaf[None], (row, features))
            seen, own = feature_lib.run_with(
                lambda changed: self.look(variables, changed), alone, more
            )
            told = self.score.score(seen, ids, "score")[0]
            return told, jax.tree.map(lambda leaf: leaf[0], self._kept(own))

        return jax.vmap(one)(jax.tree.map(jnp.asarray, asked), given)

    def _kept(self, own: Features) -> Features:
        return {name: own[name] for name in self.modalities if own.get(name)}

    def features(self, variables: Any, batch: Batch, choice: Choice) -> tuple[Features, Features]:
        """The features of a batch, and what stands for nothing of each; traced."""
        own = self.scores_and_features(variables, batch, choice)[1]
        return own, feature_lib.blank(batch, own, self.facts)

    def places(self, batch: Batch, values: Features) -> Parts:
        """One number a place of numbers like the features', 0 where nothing is."""
        found = {}
        for name, own in values.items():
            summed = feature_lib.places(batch, name, own)
            found[name] = jnp.where(feature_lib.valid(batch, name, summed), summed, 0)
        return found

    def mixed(
        self, batch: Batch, where: Mapping[str, Bool[Array, "b ..."]], yes: Features, no: Features
    ) -> Features:
        """`yes` at the places where `where`, `no` elsewhere; modalities that it lacks are `yes`."""
        return {
            name: feature_lib.chosen(batch, name, where[name], own, no[name])
            if name in where
            else own
            for name, own in yes.items()
        }

    def compiled(self, key: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, compiled once a key, for the mesh of the variables."""
        if key not in self._compiled:
            self._compiled[key] = jax.jit(traced_on(self.mesh, function))
        return self._compiled[key]

    def call(self, key: Any, function: Callable[..., Any], *args: Any) -> Any:
        """`function(variables, *args)`, compiled, its results on the host."""
        return jax.device_get(self.compiled(key, function)(self.ready, *args))

    def chosen(self, batch: Batch) -> tuple[Choice, Mapping[str, np.ndarray]]:
        """`choose`, on the host."""
        return self.call("choose", self.choose, batch)

    def scored(
        self, batch: Batch, choice: Choice, scale: Scale = "score"
    ) -> Float[np.ndarray, "b"]:
        """`scores` of the batch as it is, on the host."""
        function = functools.partial(self.scores, scale=scale)
        return self.call(("scores", scale), function, batch, choice)

    def without(self, batch: Batch, kept: Sequence[str]) -> Batch:
        """The batch with only these modalities present."""
        nothing = {n: np.zeros_like(np.asarray(p)) for n, p in batch.present.items()}
        present = {n: batch.present[n] if n in kept else nothing[n] for n in batch.present}
        return dataclasses.replace(batch, present=present)
