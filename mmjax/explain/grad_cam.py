"""Where a convolutional encoder sees what it says."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Float
from mmjax.explain import probes
from mmjax.explain.base import PartMethod
from mmjax.explain.features import Parts, valid
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject
from mmjax.explain.tokens import shape_of
from mmjax.nn.convolution import Conv3D

_KINDS = ("image", "audio", "sequence", "volume", "video")
_STAGE = re.compile(r"stage_\d+_norm$")


def grad_cam(
    maps: Float[Array, "b ... c"], slopes: Float[Array, "b ... c"]
) -> Float[Array, "b ..."]:
    """max(0, sum over channels of the channel's mean gradient times its map) (Selvaraju et al.
    2017, equations 1 and 2).
    """
    axes = tuple(range(1, maps.ndim - 1))
    weights = slopes.mean(axis=axes, keepdims=True)
    return jnp.maximum((weights * maps).sum(axis=-1), 0)


@dataclasses.dataclass(frozen=True)
class GradCam(PartMethod):
    """Grad-CAM (Selvaraju et al. 2017) at the last map of each convolutional encoder.

    `layer` is a pattern for the path of the module whose output is looked at, in which the last is
    taken; empty is the norm of the last stage where modules are so called (what it adds up later
    passes through it), else the last that puts out a map.
    """

    layer: str = ""

    about: ClassVar[str] = (
        "the last maps of a convolutional encoder, each weighted by its gradient: where it sees "
        "what speaks for the score"
    )
    signed: ClassVar[bool] = False
    add_up: ClassVar[bool] = False

    def refuses(self, subject: Subject, batch: Batch) -> str | None:
        if self._last(subject, subject.ready, batch):
            return None
        return "no convolutional encoder: 'integrated_gradients' and 'occlusion' fit any model"

    def attribute(self, subject: Subject, variables: Any, batch: Batch, choice: Choice) -> Parts:
        last = self._last(subject, variables, batch)

        def wanted(module: nn.Module) -> str | None:
            return "output" if module.path in last.values() else None

        maps, slopes, _ = probes.gradients(subject, variables, batch, choice, wanted)
        found = {}
        for name, path in last.items():
            seen = self.weighed(maps[path], slopes[path])
            spaced = _placed(seen, batch.row_mask.shape[0], shape_of(batch, name))
            found[name] = jnp.where(valid(batch, name, spaced), spaced, 0)
        return found

    def weighed(
        self, maps: Float[Array, "b ... c"], slopes: Float[Array, "b ... c"]
    ) -> Float[Array, "b ..."]:
        """One number a place of the map, of its channels and of the score's gradient there."""
        return grad_cam(maps, slopes)

    def _last(self, subject: Subject, variables: Any, batch: Batch) -> dict[str, probes.Path]:
        """The path of the module whose output is looked at, by modality."""
        order: list[probes.Path] = []
        convolves: set[str] = set()

        def wanted(module: nn.Module) -> str | None:
            path = module.path
            if isinstance(module, nn.DenseGeneral) or len(path) < 2:
                return None
            if subject.kinds.get(path[0].removeprefix("encoders_")) not in _KINDS:
                return None
            if isinstance(module, nn.Conv | Conv3D) and module.name != "patches":
                convolves.add(path[0])
            order.append(path)
            return "output"

        def sown(variables: Any) -> Any:
            found = probes.run(subject, variables, batch, wanted).sown
            return {path: one for path, one in found.items() if path[-1] == probes.KEY}

        shapes = jax.eval_shape(sown, variables)
        rows, last = batch.row_mask.shape[0], {}
        for name in subject.modalities:
            found = []
            for path in dict.fromkeys(order):
                leaves = shapes.get((*path, probes.KEY), ())
                if path[0] == f"encoders_{name}" and path[0] in convolves and len(leaves) == 1:
                    whole = len(leaves[0].shape) >= 3 and not leaves[0].shape[0] % rows
                    found += [path] if whole else []
            asked = [path for path in found if self.layer and re.search(self.layer, "/".join(path))]
            stages = [path for path in found if _STAGE.match(path[-1])]
            grids = [path for path in found if _is_map(shapes[*path, probes.KEY][0], batch, name)]
            chosen = asked or stages or grids
            if chosen:
                # A block that the last module is part of ends after it.
                around = [p for p in chosen if chosen[-1][: len(p)] == p]
                last[name] = chosen[-1] if asked else min(around, key=len)
        return last


def _is_map(leaf: Any, batch: Batch, name: str) -> bool:
    """Whether an output still has the axes of the input, and channels."""
    shape, rows = shape_of(batch, name), batch.row_mask.shape[0]
    axes = len(leaf.shape) - 2
    over_time = len(shape) == 2 and axes == 1
    views = leaf.shape[0] // rows
    return axes == len(shape) - (views > 1) or over_time


def _placed(
    seen: Float[Array, "r ..."], rows: int, shape: tuple[int, ...]
) -> Float[Array, "b ..."]:
    """A coarse map at the places of the input; of several pictures or frames, each its own."""
    views = seen.shape[0] // rows
    if views > 1:
        seen = seen.reshape(rows, views, *seen.shape[1:])
    seen = seen.reshape(*seen.shape, *[1] * (len(shape) + 1 - seen.ndim))
    kept = tuple(
        size if coarse > 1 else coarse for size, coarse in zip(shape, seen.shape[1:], strict=True)
    )
    whole = jax.image.resize(seen, (rows, *kept), "linear")
    return jnp.broadcast_to(whole, (rows, *shape))
