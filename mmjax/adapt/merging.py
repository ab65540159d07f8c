"""Adapters as part of the weights that they change, and apart again; their fresh values settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmjax.adapt import KEY
from mmjax.adapt.base import Adapter
from mmjax.adapt.wrapping import Adapters, path_of_site, without_adapters
from mmjax.core.errors import ConfigError


def merge(
    params: Mapping[str, Any], adapters: Adapters, names: Sequence[str] | None = None
) -> dict[str, Any]:
    """The parameters of a module without adapters that returns what it does with them.

    Of several, `names` says which; those that are left out stay beside. Raises ConfigError for a
    name that is none, and for adapters that are no part of weights (bottleneck, prefix, prompt).
    """
    sites = params.get(KEY, {})
    chosen = [(name, one) for name, one in _chosen(adapters, names) if name in sites]
    whole = without_adapters(params)
    # Inner ones first: a call goes through them in this order.
    for name, adapter in chosen:
        whole = _over_sites(whole, sites[name], adapter.merged)
    left = {name: tree for name, tree in sites.items() if name not in dict(chosen)}
    return {**whole, KEY: left} if left else whole


def unmerge(
    params: Mapping[str, Any],
    values: Mapping[str, Any],
    adapters: Adapters,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """What `merge` was given, from what it returned and the adapters' parameters `values`.

    Raises ConfigError as `merge`, and for DoRA, which merging cannot be undone of.
    """
    whole = without_adapters(params)
    for name, adapter in reversed(_chosen(adapters, names)):
        whole = _over_sites(whole, values[name], adapter.unmerged)
    return {**whole, KEY: {**params.get(KEY, {}), **values}}


def settle(params: Mapping[str, Any], adapters: Adapters) -> dict[str, Any]:
    """The parameters with what fresh adapters begin with where that depends on the weights."""
    own = dict(params.get(KEY, {}))
    for name, adapter in adapters:
        if not adapter.settles or name not in own:
            continue
        own[name] = {
            key: adapter.settle(_at(params, path_of_site(key)), values)
            for key, values in own[name].items()
        }
    return {**params, KEY: own} if own else dict(params)


def _chosen(adapters: Adapters, names: Sequence[str] | None) -> list[tuple[str, Adapter]]:
    known = dict(adapters)
    wrong = [name for name in names or () if name not in known]
    if wrong:
        raise ConfigError(
            102, f"no adapter '{wrong[0]}'", fix=f"there are {', '.join(known) or 'none'}"
        )
    chosen = [(name, one) for name, one in adapters if names is None or name in names]
    for name, one in chosen:
        if not one.mergeable:
            raise ConfigError(
                109,
                f"the adapter '{name}' is a {type(one).__name__}, which no weights can take in",
                fix="keep it beside, or train a lora, adalora or ia3 on weights that are whole",
            )
    return chosen


def _over_sites(
    whole: dict[str, Any], sites: Mapping[str, Any], change: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    for key, values in sites.items():
        path = path_of_site(key)
        own = change(path, _at(whole, path), values)
        whole = _replaced(whole, path.split("/"), own)
    return whole


def _replaced(tree: Mapping[str, Any], path: Sequence[str], own: dict[str, Any]) -> dict[str, Any]:
    if not path:
        return own
    return {**tree, path[0]: _replaced(tree[path[0]], path[1:], own)}


def _at(tree: Any, path: str) -> Any:
    for part in path.split("/"):
        tree = tree.get(part, {})
    return tree
