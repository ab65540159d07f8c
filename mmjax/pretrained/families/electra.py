"""ELECTRA."""

from __future__ import annotations

from typing import Any

from mmjax.core.registry import Spec
from mmjax.pretrained.families import bert
from mmjax.pretrained.family import Family, Names, text_inputs
from mmjax.pretrained.rules import Table, dense


def _projects(config: Any) -> bool:
    return config.embedding_size != config.hidden_size


def table(config: Any) -> Table:
    projection = dense("embeddings_project", "projection") if _projects(config) else []
    return [*bert.embeddings(config), *projection, *bert.blocks(config)]


def options(config: Any, names: Names) -> dict[str, Any]:
    """The discriminator or generator without its head; it has no pooler."""
    width = config.embedding_size if _projects(config) else None
    return {**bert.options(config, names), "embedding_width": width}


ELECTRA = Family(
    spec=lambda config, names: Spec("text_transformer", **options(config, names)),
    table=table,
    inputs=text_inputs,
    saved_as="ElectraModel",
    prefix="electra.",
)
