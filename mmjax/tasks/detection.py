"""Objects in a picture: where they are, and what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Dtype, Float
from mmjax.metrics.detection import detection
from mmjax.nn.boxes import to_corners
from mmjax.nn.dense import dense
from mmjax.nn.pooling import masked_mean
from mmjax.tasks.answers.boxes import Boxes
from mmjax.tasks.base import Task, unlabelled
from mmjax.tasks.losses import require
from mmjax.tasks.object_queries import Anchors, ObjectQueries, grid_of
from mmjax.tasks.open_classes import NameVectors, OpenClasses
from mmjax.tasks.set_losses import Objects, set_loss, set_sums

Outputs = dict[str, Array]


class Detection(Task, kw_only=True):
    """A set of boxes, each with a label or none (DETR, Carion et al. 2020).

    `queries` learned vectors attend to each other and to the tokens of the modality `image` in
    `Fused`, into which a fusion may have brought others, and become a box and the logits of the
    classes and of "no object" (`object_queries.ObjectQueries`); with `anchors="tokens"` the tokens
    themselves do, in place of `queries`. The encoder must keep the tokens of a grid, as `vit`,
    `swin`, `convnext`, `resnet` and `image_cnn` do.

    `classes` says what logits are made of: "linear", a dense layer; "names", the likeness of a box
    to the words of each label name, so that other names can be asked for later; or "text", its
    likeness to the row's own text, the modality `text`, for targets of one name, the boxes of what
    the text says (`open_classes.OpenClasses`).

    Boxes and objects are matched by the least cost: `costs` times -p(label), L1 and -GIoU. The loss
    is `weights` times cross-entropy, where "no object" weighs `eos`, L1, and 1 - GIoU; with
    `auxiliary` that of every layer of the decoder in training, each matched by itself. With
    `average="boxes"`, as in DETR, the cross-entropy is a mean over the weights of all queries of a
    batch, the rest over its objects, and the loss counts by objects; with "rows" both are means
    within each row, so that batches of any size add up exactly. Crowds count nowhere.

    Predictions are `boxes` float32 `[b q 4]`: left, top, right and bottom as shares of the
    picture's width and height; `scores` `[b q]`, the probability of the likeliest class, and
    `labels` int32 `[b q]`, which it is. What is decoded has a score of `threshold` or more.
    """

    target: str = "boxes"
    image: str = "image"
    text: str = "text"
    classes: Literal["linear", "names", "text"] = "linear"
    joint: int = 64
    """Dimensions of the space in which boxes are compared with words."""
    queries: int = 32
    anchors: Anchors = "grid"
    grid: tuple[int, ...] = ()
    """Rows and columns of the picture's tokens; () for the largest square."""
    depth: int = 3
    heads: int = 4
    mlp_dim: int = 256
    dropout: float = 0.0
    auxiliary: bool = True
    eos: float = 0.1
    costs: tuple[float, float, float] = (1.0, 5.0, 2.0)
    weights: tuple[float, float, float] = (1.0, 5.0, 2.0)
    average: Literal["boxes", "rows"] = "boxes"
    threshold: float = 0.5
    box_names: tuple[str, ...] = fact(())
    most_boxes: int = fact(1)
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    headline: ClassVar[tuple[str, ...]] = ("ap50", "ap", "matched_iou")

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Outputs:  # type: ignore[override]
        """`logits` `[layers b q c+1]` and `boxes` `[layers b q 4]`; in training of all layers."""
        self._check(fused)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        start, stop = fused.spans[self.image]
        decoder = ObjectQueries(
            queries=self.queries,
            depth=self.depth,
            anchors=self.anchors,
            each_layer=train and self.auxiliary,
            heads=self.heads,
            mlp_dim=self.mlp_dim,
            dropout=self.dropout,
            mlp_dropout=self.dropout,
            attention_dropout=self.dropout,
            name="decoder",
            **types,
        )
        grid = grid_of(stop - start, self.grid, "task.grid")
        count = grid[0] * grid[1] if self.anchors == "tokens" else self.queries
        fits = count >= self.most_boxes
        require("queries", fits, count, f"as many as a row has boxes, {self.most_boxes}, or more")
        found = decoder(fused.values[:, start:stop], fused.mask[:, start:stop], grid, train=train)
        return {"logits": self._logits(found.values, fused), "boxes": found.boxes}

    def _logits(self, values: Float[Array, "layers b q d"], fused: Fused) -> Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if self.classes == "linear":
            count = len(self.box_names) + 1
            return dense(count, ("embed", "labels"), name="classes", **types)(values)
        if self.classes == "names":
            table = NameVectors(width=self.joint, name="names", **types)
            texts = table(self.box_names)[None]
        else:
            start, stop = fused.spans[self.text]
            mask = fused.mask[:, start:stop]
            texts = masked_mean(fused.values[:, start:stop], mask)[:, None]
        return OpenClasses(joint=self.joint, name="classes", **types)(values, texts)

    def _check(self, fused: Fused) -> None:
        require("eos", self.eos > 0, self.eos, "above 0")
        require("depth", self.depth >= 1, self.depth, "1 or more")
        named = [("image", self.image)] + [("text", self.text)] * (self.classes == "text")
        for setting, name in named:
            if name not in fused.spans:
                raise ConfigError(
                    109,
                    f"the task reads the tokens of '{name}', which the model does not have",
                    where=f"task.{setting}",
                    fix=nearest(name, fused.spans),
                )
        count = len(self.box_names)
        if not count or (self.classes == "text" and count != 1):
            raise ConfigError(
                109,
                f"classes='{self.classes}' of boxes with {count} names",
                where="task.classes",
                fix="a target of kind boxes; of one name, where the row's text says what to find",
            )

    def output(self, outputs: Outputs, batch: Batch) -> TaskOutput:  # type: ignore[override]
        """Loss, sums and predictions of what the head made."""
        logits = outputs["logits"].astype(jnp.float32)
        boxes = outputs["boxes"].astype(jnp.float32)
        chances = jax.nn.softmax(logits[-1])[..., :-1]
        predictions = {
            "boxes": jnp.clip(to_corners(boxes[-1]), 0.0, 1.0),
            "scores": chances.max(axis=-1),
            "labels": jnp.argmax(chances, axis=-1).astype(jnp.int32),
        }
        if self.target not in batch.targets:
            return unlabelled(predictions)
        target = jnp.asarray(batch.targets[self.target])
        rows = jnp.asarray(batch.row_mask).astype(jnp.float32)
        labels = target[..., 4].astype(jnp.int32)
        objects = Objects(target[..., :4], labels, (labels >= 0) & (target[..., 5] == 0))
        sums = set_sums(
            logits,
            boxes,
            objects,
            rows,
            eos=self.eos,
            costs=self.costs,
            weights=self.weights,
        )
        count = (objects.here & (rows > 0)[:, None]).sum().astype(jnp.float32)
        if self.average == "boxes":
            loss = set_loss(sums, count, self.weights)
            weight = jnp.where(rows.sum() > 0, jnp.maximum(count, 1.0), 0.0)
        else:
            weight = rows.sum()
            loss = jnp.sum(jnp.where(rows > 0, sums.row_loss.sum(axis=0), 0.0))
            loss = loss / jnp.maximum(weight, 1.0)
        parts = {name: getattr(sums, name)[-1] for name in sums._fields if name != "row_loss"}
        return TaskOutput(loss, weight, {**parts, "objects": count}, predictions)

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """Of the last layer: what the loss is made of, and the `matched_iou` and
        `matched_accuracy` of the boxes that answer for an object.
        """
        values = {name: float(value) for name, value in sums.items()}
        objects, weight = values["objects"], values["class_weight"]

        def share(name: str, whole: float) -> float:
            return values[name] / whole if whole else float("nan")

        return {
            "cross_entropy_loss": share("cross_entropy", weight),
            "l1_loss": share("distance", objects),
            "giou_loss": share("one_minus_giou", objects),
            "matched_iou": share("iou", objects),
            "matched_accuracy": share("right", objects),
        }

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Every metric of `mmjax.metrics.detection` over all rows."""
        truth = np.asarray(targets[self.target], np.float64)
        # Only the product of the sides matters: overlaps are the same in any unit.
        whole = truth[:, 0, 7]
        known = bool(len(whole)) and bool((whole > 0).all())
        units = np.sqrt(whole) if known else np.ones(len(whole))
        found = [
            {
                "boxes": np.asarray(predictions["boxes"][row], np.float64) * unit,
                "scores": predictions["scores"][row],
                "labels": predictions["labels"][row],
            }
            for row, unit in enumerate(units)
        ]
        true = []
        for row, unit in zip(truth, units, strict=True):
            here = row[row[:, 4] >= 0]
            sides = here[:, 2:4] / 2
            corners = np.concatenate([here[:, :2] - sides, here[:, :2] + sides], axis=1)
            area = {"area": here[:, 6]} if known else {}
            true.append(
                {
                    "boxes": corners * unit,
                    "labels": here[:, 4].astype(int),
                    "crowd": here[:, 5] > 0,
                    **area,
                }
            )
        return detection(found, true, label_names=self.box_names, areas=known)

    def answers(self) -> Boxes:
        return Boxes(self.box_names, self.threshold)
