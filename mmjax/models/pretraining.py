"""The pretraining assembly: encoders, a joint space, a fusion, and several objectives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Batch, Fused, ObjectiveOutput, Tokens
from mmjax.core.typing import Array, Dtype, Float
from mmjax.encoders.dual_tower import unit_length
from mmjax.encoders.fields import select
from mmjax.models.encoding import encode_views, hide
from mmjax.nn.dense import dense
from mmjax.objectives.base import Context, Encoded, Objective, Request
from mmjax.objectives.results import Results


class JointProjections(nn.Module, kw_only=True):
    """One dense layer a modality, to vectors of unit length in a space that all share."""

    width: int
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, modality: str, pooled: Float[Array, "b d"]) -> Float[Array, "b e"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        axes = ("embed", "joined")
        joined = dense(self.width, axes, use_bias=False, name=modality, **types)(pooled)
        return unit_length(joined)


class Pretraining(nn.Module, kw_only=True):
    """`{modality: arrays}` -> forwards of the encoders -> the weighted sum of the objectives.

    `encode` works row by row; `finish` sees all rows of the batch together. Every forward of an
    encoder is made once, whoever asks for it.
    """

    encoders: Mapping[str, nn.Module]
    objectives: Mapping[str, Objective]
    fusion: nn.Module | None = None
    joint: JointProjections | None = None
    batch_size: int = 0
    """Rows of a training batch, for what is told of a run that is stuck."""

    @property
    def task(self) -> Results:
        """What the trainer asks for metrics."""
        joined = tuple(self.encoders) if self.joint is not None else ()
        size = max(self.batch_size, 1)
        chances = {name: one.loss_of_chance(size) for name, one in self.objectives.items()}
        known = {name: chance for name, chance in chances.items() if chance}
        return Results(tuple(self.objectives), joined, known)

    @property
    def batch_coupled(self) -> bool:
        """Whether losses of micro-batches do not add up: rows see each other, or several
        objectives count different things."""
        return len(self.objectives) > 1 or any(o.batch_coupled for o in self.objectives.values())

    @property
    def uses_momentum(self) -> bool:
        """Whether a forward is made with the averaged parameters."""
        return any(request.momentum for request in self._requests().values())

    def _requests(self) -> dict[str, Request]:
        found: dict[str, Request] = {name: Request(name) for name in self.encoders}
        for objective in self.objectives.values():
            found |= objective.requests()
        return found

    def encode(self, batch: Batch, *, train: bool) -> dict[str, Encoded]:
        """Every forward that the objectives need; absent rows are masked."""
        keys = self._row_keys(batch)
        found = {}
        for index, (name, request) in enumerate(self._requests().items()):
            modality = request.modality
            fields: Mapping[str, Any] = select(
                self.encoders[modality], batch.inputs[modality], modality
            )
            labels: Mapping[str, Any] = {}
            if request.corrupt is not None:
                own = jax.vmap(lambda key, index=index: jax.random.fold_in(key, index))(keys)
                fields, labels = request.corrupt(fields, own)
            if request.momentum:
                tokens = self._averaged(
                    f"encoders_{modality}",
                    self.encoders[modality],
                    functools.partial(encode_views, fields=fields, train=False),
                )
            else:
                tokens = encode_views(self.encoders[modality], fields, train=train)
            present = jnp.asarray(batch.present[modality])
            found[name] = Encoded(hide(tokens, present), dict(labels))
        return found

    def _averaged(self, name: str, module: nn.Module, call: Callable[[Any], Any]) -> Any:
        """`call(module)` with the averaged parameters; before there are any, with its own.

        Nothing flows back.
        """
        average = self.variables.get("momentum")
        if not average:
            return jax.lax.stop_gradient(call(module))
        own = {kind: tree[name] for kind, tree in self.variables.items() if name in tree}
        variables = {**own, "params": average[name]}
        return jax.lax.stop_gradient(nn.apply(call, module.clone(parent=None))(variables))

    def _row_keys(self, batch: Batch) -> Array:
        """A random key a row, which depends on the row and the step, not on the batch around it."""
        rows = jnp.asarray(batch.row).astype(jnp.uint32)
        data = jnp.zeros(2, jnp.uint32)
        if self.has_rng("mask"):
            data = jax.random.bits(self.make_rng("mask"), (2,), jnp.uint32)
        key = jax.random.wrap_key_data(data, impl="threefry2x32")
        return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)

    def finish(
        self, encoded: Mapping[str, Encoded], batch: Batch, *, train: bool
    ) -> ObjectiveOutput:
        """The objectives of forwards that `encode` made.

        Metrics are named "objective/metric"; predictions hold the vectors of each modality in the
        joint space, 0 where it is absent. Batches weigh as many as their rows, or, where there is
        one objective, what it counts.
        """
        context = self._context(encoded, batch, train=train)
        progress = jnp.asarray(self.get_variable("clock", "progress", 1.0), jnp.float32)
        weight = context.rows().sum().astype(jnp.float32)
        loss = jnp.zeros((), jnp.float32)
        metrics: dict[str, Array] = {}
        predictions: dict[str, Array] = {}
        for name, objective in self.objectives.items():
            output = objective(context, train=train)
            loss += objective.factor(progress) * output.loss
            weight = output.weight if len(self.objectives) == 1 else weight
            metrics |= {f"{name}/{key}": value for key, value in output.metrics.items()}
            predictions |= {f"{name}/{key}": value for key, value in output.predictions.items()}
        if self.joint is not None:
            predictions |= {name: context.embed(name) for name in self.encoders}
        return ObjectiveOutput(loss, weight, metrics, predictions)

    def _context(self, encoded: Mapping[str, Encoded], batch: Batch, *, train: bool) -> Context:
        embedded: dict[str, Array] = {}
        requests = self._requests()

        def embed(name: str) -> Array:
            joint = self.joint
            if joint is None:
                raise TypeError("an objective embeds, but does not say that it uses_joint_space")
            if name not in embedded:
                tokens, modality = encoded[name].tokens, requests[name].modality
                here = tokens.mask.any(axis=1, keepdims=True)

                def project(space: Any) -> Array:
                    return space(modality, tokens.pooled)

                averaged = requests[name].momentum
                joined = self._averaged("joint", joint, project) if averaged else project(joint)
                embedded[name] = jnp.where(here, joined, 0)
            return embedded[name]

        def fuse(tokens: Mapping[str, Tokens]) -> Fused:
            if self.fusion is None:
                raise TypeError("an objective fuses, but does not say that it uses_fusion")
            return self.fusion(dict(tokens), train=train)

        def parameters(modality: str) -> Mapping[str, Any]:
            return nn.meta.unbox(self.variables["params"][f"encoders_{modality}"])

        return Context(batch, encoded, embed, fuse, tuple(self.encoders), parameters)

    def embed(self, batch: Batch) -> dict[str, Float[Array, "b e"]]:
        """Each modality's vectors in the joint space, else its summary; and `fused`, if it is."""
        encoded = self.encode(batch, train=False)
        context = self._context(encoded, batch, train=False)
        found = {
            name: encoded[name].tokens.pooled if self.joint is None else context.embed(name)
            for name in self.encoders
        }
        if self.fusion is not None:
            own = {name: encoded[name].tokens for name in self.encoders}
            found = {"fused": context.fuse(own).pooled, **found}
        return found

    def __call__(self, batch: Batch, *, train: bool) -> ObjectiveOutput:
        return self.finish(self.encode(batch, train=train), batch, train=train)
