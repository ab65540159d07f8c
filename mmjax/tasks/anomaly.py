"""Anomaly detection: what is normal is learnt from normal rows, and scored against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Bool, Dtype, Float
from mmjax.nn.pooling import masked_mean
from mmjax.objectives.contrastive import clip_loss
from mmjax.objectives.vicreg import vicreg_loss
from mmjax.tasks import normal_memory, spheres
from mmjax.tasks.anomaly_heads import (
    Autoencoder,
    Joint,
    Predictors,
    Scaler,
    Sphere,
    require_several,
)
from mmjax.tasks.anomaly_scores import AnomalyScores, given
from mmjax.tasks.losses import require

Method = Literal["svdd", "reconstruction", "disagreement", "nearest", "mahalanobis"]
Loss = Literal["own", "svdd", "reconstruction", "disagreement", "none"]

FUSED = "fused"
"""The part of a row that is all of its modalities together."""

_REMEMBERING = ("nearest", "mahalanobis")


class Anomaly(AnomalyScores, kw_only=True):
    """How far a row is from what is normal, by `method`, in all and in each modality.

    Rows are taken for normal unless the target, if there is one, says otherwise: a label other than
    `normal`. Those are left out of the loss and of all that is learnt, and evaluation asks whether
    they are found. A modality's vector is the mean of its tokens, `fused` the fusion's `pooled`;
    both are brought to mean 0 and deviation 1 by the first training batch. A score of

    - "svdd" is the squared distance to the centre of a sphere (Deep SVDD, Ruff et al. 2018), which
      is the mean of the first batch as the network first maps it, no channel of it within 0.1 of 0.
      With `boundary="soft"` the loss is their equation 3, in which a share `nu` of rows may lie
      outside, after `warmup` of the run; from the score the squared radius is taken away;
    - "reconstruction" is the mean squared error of each modality's vector, made again from `width`
      numbers that the fused vector is put into;
    - "disagreement" is that of each vector as the others predict it, or with `agreement="cosine"`
      one minus the mean cosine to the others in a joint space that InfoNCE has made. It wants
      `model.fusion=side_by_side`: in other fusions a modality's tokens hold something of the rest;
    - "nearest" is the distance to the `neighbours` nearest vectors of a bank of at most
      `memory_size` (PatchCore, Roth et al. 2022); with `of="tokens"` that of a modality's token
      that is furthest off;
    - "mahalanobis" is the distance to the mean vector in units of the spread (as PaDiM, Defard et
      al. 2021, of tokens without their places).

    Bank and mean are made of the training rows once the run is trained (`learn`). `loss` is that of
    training: the method's own, another's, or none for encoders that are used as they are; the last
    two methods have none of their own. It reaches encoders and fusion with `train_features` alone,
    since it is smallest where they give the same vector for all rows; what then keeps them apart is
    `variance_weight` times a hinge on the deviation of each channel (Bardes et al. 2022, equation
    1; Chong et al. 2020 have such a guard for Deep SVDD). `relative_distance`, a metric of "svdd",
    is the mean squared distance over the squared length of the centre: near 0 all has collapsed.
    """

    method: Method = "reconstruction"
    loss: Loss = "own"
    width: int = 16
    """Of the sphere's, the bottleneck's or the joint space."""
    hidden: int = 64
    """Of the networks' one hidden layer; 0 for none."""
    boundary: Literal["hard", "soft"] = "hard"
    nu: float = 0.1
    warmup: float = 0.1
    agreement: Literal["predict", "cosine"] = "predict"
    temperature: float = 0.1
    of: Literal["pooled", "tokens"] = "pooled"
    memory_size: int = 1000
    neighbours: int = 1
    shrinkage: float = 0.01
    train_features: bool = False
    variance_weight: float = 1.0
    memory: Mapping[str, Any] = given()
    """What `learn` made of the training rows, by part."""
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @property
    def learns(self) -> bool:
        """Whether `learn` must see the training rows once the run is trained."""
        return self.method in _REMEMBERING

    @property
    def trained_by(self) -> str:
        """The loss of training."""
        if self.loss != "own":
            return self.loss
        return "none" if self.method in _REMEMBERING else self.method

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Any:
        """`here` and `valid` say which parts and tokens are there; the rest is by what is used."""
        self._check()
        names = sorted(fused.spans)
        values, masks = {}, {}
        for name in names:
            start, stop = fused.spans[name]
            values[name], masks[name] = fused.values[:, start:stop], fused.mask[:, start:stop]
        raw = {name: masked_mean(values[name], masks[name]) for name in names}
        here = {name: masks[name].any(axis=1) for name in names}
        raw[FUSED], here[FUSED] = fused.pooled, fused.mask.any(axis=1)
        if train and not self.train_features:
            raw, values = jax.lax.stop_gradient((raw, values))
        vectors = {
            part: Scaler(name=f"{part}_scale")(one[:, None], here[part][:, None], train=train)[:, 0]
            for part, one in raw.items()
        }
        outputs: dict[str, Any] = {"here": here, "raw": raw}
        alone = {name: vectors[name] for name in names}
        if "svdd" in (self.method, self.trained_by):
            outputs["svdd"] = self._embedded(vectors)
        if "reconstruction" in (self.method, self.trained_by):
            again = Autoencoder(
                hidden=self.hidden, width=self.width, name="autoencoder", **self._types()
            )(vectors[FUSED], alone)
            outputs["reconstruction"] = _errors(again, alone, train=train)
        if "disagreement" in (self.method, self.trained_by):
            require_several(names)
            there = {name: here[name] for name in names}
            outputs |= self._disagreement(alone, there, train=train)
        if self.learns:
            outputs["vectors"] = {part: one[:, None] for part, one in vectors.items()}
            outputs["valid"] = {part: one[:, None] for part, one in here.items()}
            if self.of == "tokens":
                outputs["valid"] = masks
                outputs["vectors"] = {
                    name: Scaler(name=f"{name}_token_scale")(one, masks[name], train=train)
                    for name, one in values.items()
                }
        return outputs

    def _types(self) -> dict[str, Dtype]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    def _check(self) -> None:
        if self.label_names and self.normal not in self.label_names:
            raise ConfigError(
                109,
                f"no label '{self.normal}'",
                where="task.normal",
                fix=nearest(self.normal, self.label_names),
            )
        rate, nu, few = self.false_alarm_rate, self.nu, min(self.neighbours, self.memory_size)
        require("false_alarm_rate", 0 <= rate < 1, rate, "a share from 0 to below 1")
        require("nu", 0 < nu <= 1, nu, "a share above 0")
        require("memory_size and neighbours", few >= 1, few, "1 or more")
        require("width", self.width >= 1, self.width, "1 or more")
        share = self.shrinkage
        require("shrinkage", 0 < share <= 1, share, "a share above 0")

    def _embedded(self, vectors: Mapping[str, Array]) -> dict[str, Array]:
        found = {}
        for part, one in vectors.items():
            sphere = Sphere(
                hidden=self.hidden, width=self.width, name=f"{part}_sphere", **self._types()
            )
            found[part] = sphere(one)
            spheres.declare(self, part, self.width)
        return found

    def _disagreement(
        self, vectors: Mapping[str, Array], here: Mapping[str, Array], *, train: bool
    ) -> dict[str, Any]:
        several = sum(one.astype(jnp.int32) for one in here.values()) > 1
        both = {name: one & several for name, one in here.items()}
        if self.agreement == "predict":
            heads = Predictors(hidden=self.hidden, name="predictors", **self._types())
            errors = _errors(heads(vectors, here), vectors, train=train)
            return {"disagreement": errors, "comparable": both}
        joint = Joint(hidden=self.hidden, width=self.width, name="joint", **self._types())(vectors)
        scores = {}
        for name, one in joint.items():
            total = count = jnp.zeros(len(one), jnp.float32)
            for other, its in joint.items():
                if other != name:
                    there = here[other].astype(jnp.float32)
                    total, count = total + there * jnp.sum(one * its, axis=-1), count + there
            scores[name] = 1 - total / jnp.maximum(count, 1.0)
        return {"disagreement": scores, "comparable": both, "joint": joint}

    def output(self, outputs: Any, batch: Batch) -> TaskOutput:
        """Loss, sums, and of each part a score, NaN where a row lacks it."""
        here = outputs["here"]
        rows = jnp.asarray(batch.row_mask) & self._normal_rows(batch)
        for part, one in outputs.get("svdd", {}).items():
            spheres.settle(
                self,
                part,
                one,
                rows & here[part],
                boundary=self.boundary,
                nu=self.nu,
                warmup=self.warmup,
            )
        weight = rows.sum().astype(jnp.float32)
        loss = self._loss(outputs, rows, weight)
        scores = self._scores(outputs)
        judged = outputs.get("comparable", here) if self.method == "disagreement" else here
        predictions = {
            f"score/{part}": jnp.where(judged[part], one.astype(jnp.float32), jnp.nan)
            for part, one in scores.items()
        }
        if self.learns and not self.memory:
            predictions |= {f"vectors/{part}": one for part, one in outputs["vectors"].items()}
            predictions |= {f"valid/{part}": one for part, one in outputs["valid"].items()}
        sums = {"rows": weight}
        for part, one in scores.items():
            own = rows & judged[part]
            sums[f"score_sum_of_{part}"] = jnp.sum(jnp.where(own, one, 0.0))
            sums[f"rows_of_{part}"] = own.sum().astype(jnp.float32)
        if self.method == "svdd":
            counts = {part: rows & one for part, one in here.items()}
            sums["relative_distance"] = spheres.relative_distance(self, outputs["svdd"], counts)
        return TaskOutput(loss, weight, sums, predictions)

    def _normal_rows(self, batch: Batch) -> Bool[Array, "b"]:
        if self.target not in batch.targets:
            return jnp.ones(len(batch.row_mask), bool)
        return jnp.asarray(batch.targets[self.target]) == self.label_names.index(self.normal)

    def _loss(
        self, outputs: dict[str, Any], rows: Bool[Array, "b"], weight: Float[Array, ""]
    ) -> Float[Array, ""]:
        """The mean over rows of the mean over parts."""
        kind, here = self.trained_by, outputs["here"]
        loss = jnp.zeros((), jnp.float32)
        if kind == "disagreement" and self.agreement == "cosine":
            loss = self._contrast(outputs["joint"], here, rows)
        elif kind != "none":
            terms = outputs[kind]
            if kind == "svdd":
                terms = spheres.losses(self, terms, boundary=self.boundary, nu=self.nu)
            counts = outputs.get("comparable", here) if kind == "disagreement" else here
            parts = [jnp.where(counts[part] & rows, one, 0.0) for part, one in terms.items()]
            loss = sum(one.sum() for one in parts) / len(parts) / jnp.maximum(weight, 1e-9)
        if self.train_features and self.variance_weight:
            loss += self.variance_weight * self._hinge(outputs["raw"], here, rows)
        return loss

    def _contrast(
        self,
        joint: Mapping[str, Float[Array, "b e"]],
        here: Mapping[str, Bool[Array, "b"]],
        rows: Bool[Array, "b"],
    ) -> Float[Array, ""]:
        names = sorted(joint)
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        losses = [
            clip_loss(joint[a], joint[b], 1 / self.temperature, mask=rows & here[a] & here[b])
            for a, b in pairs
        ]
        return jnp.stack(losses).mean()

    def _hinge(
        self,
        raw: Mapping[str, Float[Array, "b _"]],
        here: Mapping[str, Bool[Array, "b"]],
        rows: Bool[Array, "b"],
    ) -> Float[Array, ""]:
        hinges = [
            vicreg_loss(
                one, one, invariance=0.0, variance=1.0, covariance=0.0, mask=rows & here[part]
            )
            for part, one in raw.items()
        ]
        return jnp.stack(hinges).mean()

    def _scores(self, outputs: dict[str, Any]) -> dict[str, Float[Array, "b"]]:
        if self.method == "svdd":
            of_rows = spheres.outside if self.boundary == "soft" else spheres.distances
            return of_rows(self, outputs["svdd"])
        if not self.learns:
            return outputs[self.method]
        vectors, valid = outputs["vectors"], outputs["valid"]
        if not self.memory:
            return {part: jnp.zeros(len(one), jnp.float32) for part, one in vectors.items()}
        known = {
            part: {name: normal_memory.unpacked(one) for name, one in kept.items()}
            for part, kept in self.memory.items()
        }
        if self.method == "mahalanobis":
            return {
                part: normal_memory.mahalanobis(vectors[part], valid[part], **kept)
                for part, kept in known.items()
            }
        return {
            part: normal_memory.nearest_distance(
                vectors[part], valid[part], kept["bank"], neighbours=self.neighbours
            )
            for part, kept in known.items()
        }

    def learn(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Of the training rows, what a method remembers of the normal ones: a fact.

        Raises DataError where they have no modality at all.
        """
        normal = ~self.anomalous(targets, len(next(iter(predictions.values()))))
        memory: dict[str, Any] = {}
        for name in sorted(predictions):
            kind, _, part = name.partition("/")
            if kind != "vectors":
                continue
            valid = np.asarray(predictions[f"valid/{part}"], bool) & normal[:, None]
            vectors = normal_memory.thinned(np.asarray(predictions[name], np.float32)[valid])
            if not len(vectors):
                raise DataError(
                    501, f"no normal training row has '{part}'", fix="leave the modality out"
                )
            if self.method == "mahalanobis":
                mean, whitening = normal_memory.gaussian(vectors, self.shrinkage)
                found = {"mean": mean, "whitening": whitening}
            else:
                found = {"bank": vectors[normal_memory.coreset(vectors, self.memory_size)]}
            memory[part] = {key: normal_memory.packed(value) for key, value in found.items()}
        return {"memory": memory}


def _errors(
    guesses: Mapping[str, Float[Array, "b _"]],
    truths: Mapping[str, Float[Array, "b _"]],
    *,
    train: bool,
) -> dict[str, Float[Array, "b"]]:
    """Mean squared errors; in training what was to be guessed gives no gradient."""
    known = jax.lax.stop_gradient(truths) if train else truths
    return {
        name: jnp.square(guess.astype(jnp.float32) - known[name].astype(jnp.float32)).mean(axis=-1)
        for name, guess in guesses.items()
    }
