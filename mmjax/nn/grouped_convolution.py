"""Convolutions in groups of channels, down to each channel alone, that may be sharded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Float
from mmjax.nn.plain_convolution import convolve, plain_convolution

Padding = str | tuple[tuple[int, int], ...]


def grouped_convolution(
    inputs: Float[Array, "b *s c"],
    kernel: Float[Array, "*k i o"],
    *,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    dilation: Sequence[int] | None = None,
    groups: int,
) -> Float[Array, "b *r o"]:
    """`jax.lax.conv_general_dilated` with channels last and `feature_group_count=groups`.

    The kernel's gradient is computed as one product a position of the kernel. XLA's own
    (jaxlib 0.10.2), a convolution with `batch_group_count`, is multiplied by the number of copies
    where rows are split over some axes of a mesh and copied over others.
    """
    dilation = tuple(dilation) if dilation is not None else (1,) * len(strides)
    pads = padding if isinstance(padding, str) else tuple((low, high) for low, high in padding)
    return _grouped(inputs, kernel, tuple(strides), pads, dilation, groups)


def for_flax(
    inputs: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    rhs_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
    **unused: Any,
) -> Array:
    """`plain_convolution`, or that in groups, with the signature of what `nn.Conv` calls."""
    given: dict[str, Any] = {"strides": strides, "padding": padding, "dilation": rhs_dilation}
    if feature_group_count == 1:
        return plain_convolution(inputs, kernel, **given)
    return grouped_convolution(inputs, kernel, **given, groups=feature_group_count)


def _convolve(
    inputs: Array,
    kernel: Array,
    strides: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...],
    groups: int,
) -> Array:
    return convolve(inputs, kernel, strides, padding, dilation, groups=groups)


_grouped = jax.custom_vjp(_convolve, nondiff_argnums=(2, 3, 4, 5))


def _forward(
    inputs: Array,
    kernel: Array,
    strides: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...],
    groups: int,
) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(inputs, kernel, strides, padding, dilation, groups), (inputs, kernel)


def _backward(
    strides: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...],
    groups: int,
    residuals: tuple[Array, Array],
    slope: Array,
) -> tuple[Array, Array]:
    inputs, kernel = residuals
    _, pullback = jax.vjp(
        lambda x: _convolve(x, kernel, strides, padding, dilation, groups), inputs
    )
    sizes = kernel.shape[:-2]
    if isinstance(padding, str):
        whole = [(size - 1) * step + 1 for size, step in zip(sizes, dilation, strict=True)]
        padding = tuple(jax.lax.padtype_to_pads(inputs.shape[1:-1], whole, strides, padding))
    padded = jnp.pad(inputs, ((0, 0), *padding, (0, 0)))
    counts = slope.shape[1:-1]
    reach = [(count - 1) * stride + 1 for count, stride in zip(counts, strides, strict=True)]
    steps = (slice(None), *(slice(None, None, stride) for stride in strides))

    def seen(place: Array) -> Array:
        """What one position of the kernel is multiplied by."""
        start = (0, *(place * jnp.asarray(dilation)), 0)
        size = (len(padded), *reach, padded.shape[-1])
        return jax.lax.dynamic_slice(padded, start, size)[steps]

    # A loop: unrolled, 7 x 7 positions take ten times as long to compile, and longer to run.
    places = jnp.asarray(np.indices(sizes).reshape(len(sizes), -1).T)
    if groups == kernel.shape[-1] == inputs.shape[-1]:
        # Rows are summed behind the loop, so that devices that share them talk once.
        space = tuple(range(1, slope.ndim - 1))
        gradient = jax.lax.map(
            lambda place: jnp.sum(seen(place) * slope, axis=space, dtype=jnp.float32), places
        ).sum(axis=1)
    else:
        split = slope.reshape(*slope.shape[:-1], groups, -1)

        def product(place: Array) -> Array:
            values = seen(place)
            values = values.reshape(*values.shape[:-1], groups, -1)
            return jnp.einsum(
                "b...gi,b...go->igo", values, split, preferred_element_type=jnp.float32
            )

        gradient = jax.lax.map(product, places)
    return pullback(slope)[0], gradient.reshape(kernel.shape).astype(kernel.dtype)


_grouped.defvjp(_forward, _backward)
