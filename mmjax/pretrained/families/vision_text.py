"""VisionTextDualEncoder: any vision and text families that are known, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmjax import encoders
from mmjax.core.errors import WeightsError, nearest
from mmjax.core.registry import Spec
from mmjax.pretrained import FAMILIES, find
from mmjax.pretrained.families.clip import below
from mmjax.pretrained.family import Family, Inputs, Names
from mmjax.pretrained.rules import Table, dense, param

SIDES = {"vision": "visual_projection", "text": "text_projection"}


def inner(config: Any) -> Family:
    """The family of a side's own config. Raises WeightsError unless it is an encoder's."""
    name = config.model_type
    if name in FAMILIES and find(name).registry is encoders.registry:
        return find(name)
    known = [one for one in FAMILIES if find(one).registry is encoders.registry]
    raise WeightsError(
        652,
        f"model_type {name!r} is no known encoder",
        where="config.json",
        fix=nearest(name, known),
    )


def _sides(config: Any) -> dict[str, tuple[Any, Family]]:
    configs = {side: getattr(config, f"{side}_config") for side in SIDES}
    return {side: (own, inner(own)) for side, own in configs.items()}


def spec(config: Any, names: Names) -> Spec:
    towers = {}
    for side, (own, family) in _sides(config).items():
        prefix = f"{side}_model."
        found = frozenset(n.removeprefix(prefix) for n in names if n.startswith(prefix))
        towers[side] = family.spec(own, found)
    return Spec(
        "dual_tower",
        towers=towers,
        projection_dim=config.projection_dim,
        logit_scale=config.logit_scale_init_value,
    )


def table(config: Any) -> Table:
    found = param("logit_scale", "logit_scale")
    for side, (own, family) in _sides(config).items():
        found += below(family.table(own), theirs=f"{side}_model.", ours=f"{side}/")
        found += dense(SIDES[side], f"{side}_projection", bias=False)
    return found


def inputs(config: Any) -> Inputs:
    found: Inputs = {}
    for own, family in _sides(config).values():
        found |= family.inputs(own)
    return found


def aliases(config: Any) -> Mapping[str, str]:
    return {
        f"{side}_model.{name}": f"{side}_model.{to}"
        for side, (own, family) in _sides(config).items()
        for name, to in family.aliases(own).items()
    }


def constants(config: Any) -> Mapping[str, np.ndarray]:
    return {
        f"{side}_model.{name}": array
        for side, (own, family) in _sides(config).items()
        for name, array in family.constants(own).items()
    }


def alone(side: str, other: str) -> Family:
    """One side, saved as a folder of its own family."""

    def its(attribute: str) -> Callable[..., Any]:
        return lambda config, *rest: getattr(inner(config), attribute)(config, *rest)

    return Family(
        spec=its("spec"),
        table=its("table"),
        inputs=its("inputs"),
        saved_as="AutoModel",
        left_out=(
            rf"{other}_model\..*",
            *(rf"{name}\.weight" for name in SIDES.values()),
            "logit_scale",
        ),
        renames=((rf"^{side}_model\.", ""), *_OLD),
        aliases=its("aliases"),
        constants=its("constants"),
        part_config=f"{side}_config",
    )


_OLD = ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"))

VISION_TEXT = Family(
    spec=spec,
    table=table,
    inputs=inputs,
    saved_as="VisionTextDualEncoderModel",
    registry=encoders.towers,
    renames=_OLD,
    aliases=aliases,
    constants=constants,
    parts={side: f"vision-text-dual-encoder_{side}" for side in SIDES},
)
VISION = alone("vision", "text")
TEXT = alone("text", "vision")
