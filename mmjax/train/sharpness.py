"""Sharpness-aware minimisation around any update rule."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from mmjax.train.optim import global_norm


def sharpness_aware(
    inner: optax.GradientTransformationExtraArgs, radius: float
) -> optax.GradientTransformationExtraArgs:
    """`inner`, given the gradient where the loss within `radius` is highest to first order.

    That is at w + radius g / |g| (Foret et al. 2021, equation 2), of the same batch and the same
    dropout: `optax.contrib.sam`, of which one update is a whole step. The update must be told
    `grad_fn(params, index)`. Where the gradient there is not finite, the one at w takes its place.
    """
    rule = optax.contrib.sam(
        inner,
        optax.chain(optax.contrib.normalize(), optax.sgd(radius)),
        sync_period=2,
        opaque_mode=True,
    )

    def update(
        updates: Any, state: Any, params: Any = None, *, grad_fn: Any = None, **_: Any
    ) -> tuple[Any, Any]:
        if grad_fn is None:
            raise ValueError("sharpness-aware updates need grad_fn")

        def there(moved: Any, index: int) -> Any:
            found = grad_fn(moved, index)
            finite = jnp.isfinite(global_norm(found))
            return jax.tree.map(lambda new, old: jnp.where(finite, new, old), found, updates)

        return rule.update(updates, state, params, grad_fn=there)

    return optax.GradientTransformationExtraArgs(rule.init, update)
