"""From settings and the facts of the data to a Linen module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from mmjax import encoders, fusion, objectives, tasks
from mmjax.core.errors import ConfigError, nearest
from mmjax.core.registry import Spec
from mmjax.models import assemblies
from mmjax.models.base import Assembly, Fusing
from mmjax.models.config import ModelConfig
from mmjax.models.missing import StandIn
from mmjax.models.multimodal import Multimodal
from mmjax.models.pretraining import JointProjections, Pretraining
from mmjax.tasks.base import Task


def build_model(
    config: ModelConfig,
    task: Spec,
    facts: Mapping[str, Any],
    terms: Mapping[str, Spec] | None = None,
) -> Assembly | Pretraining:
    """The model of a config: of its objectives (`terms`) if it has any, else of its task.

    `facts` is `{"modalities": {name: facts}, "targets": {name: facts}}`, as the data room found
    them. Raises ConfigError when encoders and modalities do not pair up.
    """
    types = {"dtype": jnp.dtype(config.dtype), "param_dtype": jnp.dtype(config.param_dtype)}
    built = _build_encoders(config, facts["modalities"], types)
    if terms:
        for name in ("missing_tokens", "r_drop", "mixup", "gradient_balance"):
            if getattr(config, name):
                raise ConfigError(
                    109,
                    f"{name} is for a task, not for objectives of pretraining",
                    where=f"model.{name}",
                    fix="leave it out, and set it where the task is trained",
                )
        return _build_pretraining(config, terms, built, facts["modalities"], types)
    for name, rate in config.feature_dropout.items():
        if name not in config.encoders or not 0.0 <= rate < 1.0:
            raise ConfigError(
                109,
                f"feature_dropout of '{name}' is {rate}",
                where="model.feature_dropout",
                fix=f"a share from 0 to 1; {nearest(name, config.encoders)}",
            )
    parts: dict[str, Any] = {
        "encoders": built,
        "task": _build_task(task, facts["targets"], types),
        "feature_dropout": config.feature_dropout,
        "modality_dropout": config.modality_dropout,
        "auxiliary_loss": config.auxiliary_loss,
        "gradient_balance": config.gradient_balance,
    }
    _require_smoothable(config, task, parts["task"])
    if config.missing_tokens:
        parts["stand_ins"] = _stand_ins(config, types)
    smooth: dict[str, Any] = {"r_drop": config.r_drop, "mixup": config.mixup}
    if config.fusion.name in assemblies:
        return assemblies.build(config.fusion, facts={**parts, **smooth, **types})
    return Multimodal(**parts, **smooth, fusion=fusion.registry.build(config.fusion, facts=types))


def _build_encoders(
    config: ModelConfig, modalities: Mapping[str, Any], types: Mapping[str, Any]
) -> dict[str, Any]:
    if not config.encoders:
        raise ConfigError(103, "the model has no encoder", where="model.encoders", fix="give one")
    for name in config.encoders:
        if name not in modalities:
            raise ConfigError(
                109,
                f"an encoder for '{name}', which is no modality of the data",
                where="model.encoders",
                fix=nearest(name, modalities),
            )
        _require_room(name, config.encoders[name], modalities[name])
    return {
        name: encoders.registry.build(spec, facts={**modalities[name], **types})
        for name, spec in config.encoders.items()
    }


def _stand_ins(config: ModelConfig, types: Mapping[str, Any]) -> dict[str, StandIn]:
    """One for each modality; none where there is no other to fuse it with."""
    name = config.fusion.name
    if not _fuses(name):
        raise ConfigError(
            109,
            f"'{name}' asks the modalities that a row has, and nothing stands in for the others",
            where="model.missing_tokens",
            fix="false, or a fusion of features or tokens such as concat or cross_attention",
        )
    if len(config.encoders) == 1:
        return {}
    return {name: StandIn(param_dtype=types["param_dtype"]) for name in config.encoders}


def _fuses(name: str) -> bool:
    return name not in assemblies or issubclass(assemblies.load(name), Fusing)


def _require_smoothable(config: ModelConfig, spec: Spec, task: Any) -> None:
    """Raises ConfigError where there are no predictions of classes or labels to go by."""
    for name in ("r_drop", "mixup", "gradient_balance"):
        if not getattr(config, name):
            continue
        if name != "gradient_balance" and not _fuses(config.fusion.name):
            raise ConfigError(
                109,
                f"{name} is for models that fuse features or tokens, not for "
                f"'{config.fusion.name}'",
                where=f"model.{name}",
                fix="0, or a fusion such as concat or cross_attention",
            )
        alone = isinstance(task, Task) and type(task).__call__ is Task.__call__
        if not alone or task.outputs_are not in ("classes", "labels") or task.compares_rows:
            raise ConfigError(
                109,
                f"{name} is for predictions of classes or labels of each row, which the task "
                f"'{spec.name}' does not make",
                where=f"model.{name}",
                fix="0, or a task such as classification or multi_label",
            )


def _build_task(
    task: Spec, targets: Mapping[str, Any], types: Mapping[str, Any], where: str = "task"
) -> Any:
    """The task with the facts of its target; one that is made of others with those, built."""
    cls = tasks.registry.load(task.name)
    if getattr(cls, "of_parts", False):
        specs = task.options.get("tasks", {})
        parts = {
            name: _build_task(one, targets, types, f"{where}.tasks.{name}")
            for name, one in specs.items()
        }
        return tasks.registry.build(task, facts={"parts": parts})
    settings = tasks.registry.settings(task.name)
    target = task.options.get("target", settings["target"].default if "target" in settings else "")
    if target not in targets and getattr(cls, "needs_target", True):
        raise ConfigError(
            109,
            f"task '{task.name}' wants the target '{target}', which the data does not have",
            where=f"{where}.target",
            fix=nearest(target, targets),
        )
    built = tasks.registry.build(task, facts={**targets.get(target, {}), **types})
    if where != "task" and getattr(built, "learns", False):
        raise ConfigError(
            109,
            f"task '{task.name}' learns from the training rows afterwards, and so must be alone",
            where=where,
            fix="leave it out, or choose settings by which it does not",
        )
    return built


def _build_pretraining(
    config: ModelConfig,
    specs: Mapping[str, Spec],
    built: Mapping[str, Any],
    modalities: Mapping[str, Any],
    types: Mapping[str, Any],
) -> Pretraining:
    """Of a fusion and a joint space, what some objective needs."""
    given = {**types, "modality_facts": modalities}
    terms = {name: objectives.registry.build(spec, facts=given) for name, spec in specs.items()}
    for term in terms.values():
        term.check(built)
    fused = None
    if any(term.uses_fusion for term in terms.values()):
        fused = fusion.registry.build(config.fusion, facts=types)
    joint = None
    if any(term.uses_joint_space for term in terms.values()):
        joint = JointProjections(width=config.joint_dim, **types)
    return Pretraining(encoders=built, objectives=terms, fusion=fused, joint=joint)


def _require_room(name: str, spec: Spec, facts: Mapping[str, Any]) -> None:
    """Raises ConfigError if the data has ids or positions that a sized encoder has no row for."""
    for fact, what in (("vocab_size", "token ids"), ("max_length", "positions")):
        room, needed = spec.options.get(fact), facts.get(fact)
        if room is not None and needed is not None and needed > room:
            raise ConfigError(
                109,
                f"the data of '{name}' has {needed} {what}, its encoder {room}",
                where=f"model.encoders.{name}.{fact}",
                fix="use the tokenizer that belongs to the weights"
                if fact == "vocab_size"
                else f"data.modalities.{name}.max_length={room}",
            )
