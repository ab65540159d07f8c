"""Outputs of frozen encoders, made once and kept on disk: what training then runs on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh

from mmjax.data.dataset import Dataset
from mmjax.models.kept import Kept
from mmjax.train import feature_checks
from mmjax.train.config import Config
from mmjax.train.example import example_shapes
from mmjax.train.feature_part import Part
from mmjax.train.state import StatePlan, TrainState


@dataclasses.dataclass(frozen=True)
class Features:
    """A model and a data set of which some encoders' outputs are kept: all of training."""

    module: Any
    dataset: Dataset
    parts: tuple[Part, ...] = ()

    def fill(self, state: TrainState) -> None:
        """Makes what is not kept yet, with the weights of a state. A collective."""
        for part in self.parts:
            part.fill(state)


def planned(config: Config, dataset: Dataset, module: Any, plan: StatePlan, mesh: Mesh) -> Features:
    """The model and data with what `train.feature_cache` names in place of its encoders.

    Raises ConfigError for an encoder that is not frozen, draws random numbers or sees random
    examples in training, and where something else reads the fields that it was to read.
    """
    names = feature_checks.named(config, module)
    if not names:
        return Features(module, dataset)
    for name in names:
        feature_checks.require_frozen(config, module, plan, name)
        feature_checks.require_still(config, dataset, name)
    parts = {n: Part.planned(config, dataset, module, plan, mesh, n) for n in names}
    tokens = _tokens_read(config, dataset, module, plan, parts)
    parts = {
        name: part.with_tokens(plan) if name in tokens else part.without_tokens()
        for name, part in parts.items()
    }
    return Features(_fed(module, parts), _feeding(dataset, parts), tuple(parts.values()))


def _fed(module: Any, parts: Mapping[str, Part]) -> Any:
    stand_ins = {name: Kept(width=part.width) for name, part in parts.items()}
    return module.clone(encoders={**module.encoders, **stand_ins})


def _feeding(dataset: Dataset, parts: Mapping[str, Part]) -> Dataset:
    own = {name: part.processor for name, part in parts.items()}
    return dataclasses.replace(
        dataset,
        modalities={**dataset.modalities, **own},
        columns={**dataset.columns, **dict.fromkeys(own, ())},
    )


def _tokens_read(
    config: Config, dataset: Dataset, module: Any, plan: StatePlan, parts: Mapping[str, Part]
) -> set[str]:
    """The modalities of which anything in training or validation depends on the tokens."""
    batch = example_shapes(_feeding(dataset, parts), config.data.batch_size)
    return feature_checks.tokens_read(_fed(module, parts), batch, plan.abstract, set(parts))
