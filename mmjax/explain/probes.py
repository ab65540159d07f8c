"""What goes on inside a model: what its modules put out, and the score's gradient there.

Arrays inside a loop over layers cannot be handed out of it, so what is wanted is sown, and what is
added to find a gradient travels with the parameters, which the loop slices as its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util

from mmjax.core.types import Batch, Fused
from mmjax.core.typing import Array
from mmjax.explain.looking import of_text
from mmjax.explain.scores import Choice, Seen
from mmjax.explain.subject import Subject
from mmjax.nn.attention import Attention
from mmjax.parallel.sharding import unbox

KEY = "explained"
"""The name of what is sown, and of what is added."""

Path = tuple[str, ...]
Wanted = Callable[[nn.Module], str | None]
"""Of a module: "output" or "input" to look at what it puts out or is given, None for neither."""


@dataclasses.dataclass(frozen=True)
class Inside:
    """One run of the model: what was made, `intermediates` by path, what the fusion gave."""

    seen: Seen
    sown: Mapping[Path, Any]
    fused: Fused | None


def attention_parts(module: nn.Module) -> str | None:
    """The values of every attention, and their mixtures before the last projection."""
    if not isinstance(module.parent, Attention):
        return None
    return {"value": "output", "out": "input"}.get(module.name or "")


def run(
    subject: Subject,
    variables: Any,
    batch: Batch,
    wanted: Wanted,
    added: Mapping[Path, Array] | None = None,
    replaced: Mapping[Path, Array] | None = None,
) -> Inside:
    """Runs the model, traced; sows `KEY` at what is `wanted`, and adds `added` there.

    `replaced` is sown behind the weights of attentions, by their paths, as what was seen last.
    """
    fused: list[Fused] = []
    sown: list[Any] = []

    def watch(
        next_fun: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: Any
    ) -> Any:
        module = context.module
        if context.method_name != "__call__" or module.scope is None:
            return next_fun(*args, **kwargs)
        more = module.get_variable("params", KEY)
        what = wanted(module)
        if what == "input":
            given = args[0] if more is None else args[0] + more
            module.sow("intermediates", KEY, given)
            return next_fun(given, *args[1:], **kwargs)
        output = next_fun(*args, **kwargs)
        if isinstance(output, Fused):
            fused.append(output)
        if what == "output":
            output = output if more is None else output + more
            module.sow("intermediates", KEY, output)
        elif isinstance(module, Attention) and more is not None:
            module.sow("intermediates", "weights", more)
        return output

    def apply() -> Any:
        params = _with({**(added or {}), **(replaced or {})}, variables["params"])
        with nn.intercept_methods(watch):
            whole, found = subject.apply(
                {**variables, "params": params}, batch, mutable=["intermediates"]
            )
        sown.append(found.get("intermediates", {}))
        return whole

    seen = subject.seen(apply, batch)
    flat = traverse_util.flatten_dict(unbox(dict(sown[0])))
    return Inside(seen, flat, fused[0] if fused else None)


def asked(subject: Subject, batch: Batch, choice: Choice) -> Batch:
    """The batch as the model is asked about it: of texts, with what was chosen as the target."""
    if not subject.score.row_by_row:
        return batch
    return of_text(batch, choice, subject.task.target)


def gradients(
    subject: Subject, variables: Any, batch: Batch, choice: Choice, wanted: Wanted
) -> tuple[dict[Path, Array], dict[Path, Array], Inside]:
    """What was sown where a module ran once, the score's gradient there, and the run; by the path
    of the module. Traced.
    """
    told = asked(subject, batch, choice)
    shapes = jax.eval_shape(lambda: dict(run(subject, variables, told, wanted).sown))
    zeros = {
        path[:-1]: jnp.zeros(found[0].shape, found[0].dtype)
        for path, found in shapes.items()
        if path[-1] == KEY and len(found) == 1
    }

    def summed(added: Mapping[Path, Array]) -> tuple[Array, Any]:
        # Rows do not see each other, so that the gradient of the sum is that of each.
        inside = run(subject, variables, told, wanted, added)
        total = subject.score.score(inside.seen, choice, "score").sum()
        kept = (inside.sown, inside.fused)
        return total.astype(jnp.float32), kept

    grads, (sown, fused) = jax.grad(summed, has_aux=True)(zeros)
    values = {path: sown[(*path, KEY)][0] for path in zeros}
    return values, grads, Inside(None, sown, fused)  # type: ignore[arg-type]


def weight_gradients(
    subject: Subject, variables: Any, batch: Batch, choice: Choice
) -> tuple[dict[Path, Array], Inside]:
    """The gradient of the score for the weights of each attention `... b k n m`, by its path.

    The mixture of an attention is its weights times its values, so the gradient for a weight is
    that of the mixture times the value.
    """
    _, grads, inside = gradients(subject, variables, batch, choice, attention_parts)
    found = {}
    for path, slope in grads.items():
        if path[-1] != "out":
            continue
        at = path[:-1]
        values = inside.sown.get((*at, "value", KEY))
        if values is None or (*at, "weights") not in inside.sown:
            continue
        keys = jnp.concatenate(values, axis=-3)
        found[at] = jnp.einsum("...nkh,...mkh->...knm", slope, keys)
    return found, inside


def _with(added: Mapping[Path, Array], params: Any) -> Any:
    """Parameters with more at paths of modules, new ones where there were none."""
    whole = params
    for path, value in added.items():
        whole = _put(whole, (*path, KEY), value)
    return whole


def _put(tree: Mapping[str, Any], path: Path, value: Array) -> dict[str, Any]:
    if len(path) == 1:
        return {**tree, path[0]: value}
    return {**tree, path[0]: _put(tree.get(path[0], {}), path[1:], value)}
