"""A module whose calls adapters change, and where they sit in it."""

from __future__ import annotations

import dataclasses
import functools
import types
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
from flax import linen as nn
from flax import traverse_util

from mmjax.adapt import KEY
from mmjax.adapt.base import Adapter, Names, Site, Strategy, hooked
from mmjax.adapt.layers import inputs_of, layer_of, weight_of
from mmjax.core import rng
from mmjax.core.errors import ConfigError, nearest
from mmjax.core.typing import Array
from mmjax.parallel.sharding import is_boxed, unbox

M = TypeVar("M", bound=nn.Module)

Adapters = tuple[tuple[str, Adapter], ...]
"""Adapters by their names, in the order in which they change a call: the last is outermost."""

_WITH_PARAMETERS = ("params", "momentum")
"""Collections that hold a tree of parameters."""


def adapters_of(strategies: Mapping[str, Strategy]) -> Adapters:
    """Those of the strategies that are adapters; what stands in for weights comes first."""
    found = [(name, one) for name, one in strategies.items() if isinstance(one, Adapter)]
    return tuple(sorted(found, key=lambda pair: pair[1].learns))


def adapted(module: M, adapters: Adapters) -> M:
    """The module with adapters: of a class of its own class, so that nothing else sees them.

    `init` gives their parameters as well, below `adapt`, and `apply` takes them; of the module's
    own parameters neither changes. Raises ConfigError, at `init`, for an adapter whose targets find
    nothing.
    """
    if not adapters:
        return module
    settings = {
        field.name: getattr(module, field.name)
        for field in dataclasses.fields(module)
        if field.init and field.name not in ("parent", "name")
    }
    base: Any = type(module)
    made: Any = _adapted_class(base)
    return made(**settings, adapters=adapters)


class _Adapts:
    """What `adapted` puts before a module's class."""

    adapters: Adapters

    def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
        found: dict[str, dict[str, tuple[Site, dict[str, int]]]] = {n: {} for n, _ in self.adapters}
        with nn.intercept_methods(functools.partial(_record, self.adapters, found)):
            variables = dict(super().init(rngs, *args, **kwargs))  # type: ignore[misc]
        key = rngs["params"] if isinstance(rngs, Mapping) else rngs
        own = {}
        for name, adapter in self.adapters:
            if not found[name] and adapter.optional:
                continue
            if not found[name]:
                raise _finds_nothing(name, adapter, variables["params"])
            own[name] = _create(adapter, found[name], variables["params"], rng.stream(key, name))
        more = {KEY: own} if own else {}
        return {
            **variables,
            "params": {**_without_replaced(variables["params"], self, own), **more},
        }

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        given = {
            kind: with_adapters(tree) if kind in _WITH_PARAMETERS and KEY in tree else tree
            for kind, tree in variables.items()
        }
        with nn.intercept_methods(_changing(self.adapters)):
            return super().apply(given, *args, **kwargs)  # type: ignore[misc]


@functools.lru_cache
def _adapted_class(cls: type[nn.Module]) -> type[nn.Module]:
    def body(namespace: dict[str, Any]) -> None:
        namespace["__annotations__"] = {"adapters": Adapters}
        namespace["__doc__"] = cls.__doc__
        namespace["__module__"] = __name__
        namespace["adapters"] = ()

    return types.new_class(f"Adapted{cls.__name__}", (_Adapts, cls), {"kw_only": True}, body)


def _without_replaced(params: Mapping[str, Any], module: _Adapts, own: Mapping[str, Any]) -> Any:
    """The parameters without those that adapters have others in place of."""
    flat = traverse_util.flatten_dict(dict(params))
    for name, adapter in module.adapters:
        for key in own.get(name, ()):
            for one in adapter.replaces:
                flat.pop((*key.split("."), one))
    return traverse_util.unflatten_dict(flat)


def site_key(path: str) -> str:
    """The name of a site among an adapter's parameters: no pattern of the module's finds it."""
    return path.replace("/", ".")


def path_of_site(key: str) -> str:
    return key.replace(".", "/")


def without_adapters(params: Mapping[str, Any]) -> dict[str, Any]:
    """The module's own parameters."""
    return {name: tree for name, tree in params.items() if name != KEY}


def with_adapters(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with those of each adapter moved to the module that it changes.

    There, loops over layers slice them as they do the module's own.
    """
    whole = without_adapters(params)
    for name, sites in params[KEY].items():
        for key, values in sites.items():
            whole = _put(whole, (*key.split("."), KEY, name), values)
    return whole


def _put(tree: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    if not path:
        return value
    return {**tree, path[0]: _put(tree.get(path[0], {}), path[1:], value)}


def _changing(adapters: Adapters) -> Callable[..., Any]:
    """An interceptor of calls of modules that have parameters of adapters."""
    running: list[Any] = []

    def change(
        next_fun: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: Any
    ) -> Any:
        module = context.module
        if context.method_name != "__call__" or module.scope is None:
            return next_fun(*args, **kwargs)
        # A class that calls its base's `__call__` is changed once.
        if module.scope in running:
            return next_fun(*args, **kwargs)
        own = module.get_variable("params", KEY, {})
        call = next_fun
        for name, adapter in adapters:
            if name in own:
                call = functools.partial(adapter, call, module, own[name])
        running.append(module.scope)
        try:
            output = call(*args, **kwargs)
        finally:
            running.pop()
        return hooked(module, output)

    return change


def _record(
    adapters: Adapters,
    found: dict[str, dict[str, tuple[Site, dict[str, int]]]],
    next_fun: Callable[..., Any],
    args: tuple,
    kwargs: dict[str, Any],
    context: Any,
) -> Any:
    """An interceptor that notes the modules which adapters are for, and changes nothing."""
    output = next_fun(*args, **kwargs)
    module = context.module
    if context.method_name != "__call__" or module.scope is None or not module.path:
        return output
    path = "/".join(module.path)
    for name, adapter in adapters:
        if path in found[name] or not (adapter.finds(path) and adapter.fits(module)):
            continue
        given: Any = args[0] if args else kwargs.get("values")
        if not (hasattr(given, "shape") and hasattr(output, "shape")):
            raise ConfigError(
                109,
                f"'{path}' does not make one array of another",
                where=f"adapt.{name}.targets",
                fix="find attentions, MLPs or dense layers",
            )
        found[name][path] = (_site(module, path, given, output), _axes(module))
    return output


def _axes(module: nn.Module) -> dict[str, int]:
    """How many axes each parameter below a module has, as the module sees it."""
    own = unbox(dict(module.variables.get("params", {})))
    return {k: leaf.ndim for k, leaf in traverse_util.flatten_dict(own, sep="/").items()}


def _site(module: nn.Module, path: str, given: Array, output: Array) -> Site:
    layer = layer_of(module)
    if layer is None:
        wide = (given.shape[-1],), (output.shape[-1],)
        return Site(path, *wide, ("embed",), ("embed",), heads=getattr(module, "heads", None))
    own = module.variables["params"]
    weight: Any = own[weight_of(own)]
    names: Names = weight.names if is_boxed(weight) else (None,) * weight.ndim
    shape = unbox(weight).shape
    count = inputs_of(module, shape)
    axes = shape[:count], shape[count:], names[:count], names[count:]
    return Site(path, *axes, layer=layer)


def _create(
    adapter: Adapter,
    sites: Mapping[str, tuple[Site, Mapping[str, int]]],
    params: Any,
    key: Array,
) -> dict[str, Any]:
    made = {}
    for path, (site, axes) in sites.items():
        own: Any = functools.reduce(lambda tree, part: tree[part], path.split("/"), params)
        flat = traverse_util.flatten_dict(dict(own), sep="/")
        # The axes of a loop over layers are those that the module itself does not see.
        name, seen = next(iter(axes.items()))
        leaf: Any = flat[name]
        shape: tuple[int, ...] = unbox(leaf).shape
        more = len(shape) - seen
        names = leaf.names[:more] if is_boxed(leaf) else (None,) * more
        whole = dataclasses.replace(site, stacked=shape[:more], stacked_names=names)
        own_key = jax.random.fold_in(key, zlib.crc32(path.encode()) & 0x7FFFFFFF)
        made[site_key(path)] = adapter.create(whole, own_key)
    return made


def _finds_nothing(name: str, adapter: Adapter, params: Any) -> ConfigError:
    flat = traverse_util.flatten_dict(unbox(dict(params)), sep="/")
    modules = sorted({path.rpartition("/")[0] for path in flat})
    wanted: tuple[str, ...] = getattr(adapter, "targets", ()) or getattr(adapter, "within", ())
    return ConfigError(
        109,
        f"no {type(adapter).__name__} fits what the patterns {list(wanted)} find",
        where=f"adapt.{name}.targets",
        fix=f"paths are such as {nearest(str(wanted[0]), modules)}",
    )
