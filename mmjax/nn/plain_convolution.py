"""Convolutions whose gradients are fast within loops and branches of a CPU's program, too."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Float
from mmjax.kernels.platforms import platform_dependent

Pads = tuple[tuple[int, int], ...]


def plain_convolution(
    inputs: Float[Array, "b *s c"],
    kernel: Float[Array, "*k c o"],
    *,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    dilation: Sequence[int] | None = None,
) -> Float[Array, "b *r o"]:
    """`jax.lax.conv_general_dilated` with channels last and one group.

    XLA's CPU compiler (jaxlib 0.10.2) hands a convolution to its fast library only where rows come
    first and channels last, and reorders those of a gradient in the main body of a program alone.
    Within `lax.scan` or `lax.cond`, as with gradient accumulation, sharpness-aware minimisation and
    integrated gradients, a kernel's gradient took 70 times as long (32 x 32 x 32 x 32 values, 64
    kernels of 3 x 3; one core), and that of the inputs 3 times. Here the order is spelt out, for
    programs of one CPU device; there is no forward-mode derivative.
    """
    sizes = inputs.shape[1:-1]
    steps = tuple(dilation) if dilation is not None else (1,) * len(sizes)
    if isinstance(padding, str):
        reach = _reach(kernel.shape[:-2], steps)
        padding = jax.lax.padtype_to_pads(sizes, reach, strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    return _plain(inputs, kernel, tuple(strides), pads, steps)


def _reach(sizes: Sequence[int], steps: Sequence[int]) -> tuple[int, ...]:
    """The places that `sizes` values cover that lie so many steps apart."""
    return tuple((size - 1) * step + 1 for size, step in zip(sizes, steps, strict=True))


def convolve(
    inputs: Array,
    kernel: Array,
    strides: tuple[int, ...],
    padding: str | Pads,
    dilation: tuple[int, ...],
    *,
    spread: tuple[int, ...] | None = None,
    groups: int = 1,
) -> Array:
    """XLA's own, with channels last; `spread` is how far inputs are moved apart."""
    space = "DHW"[3 - len(strides) :]
    return jax.lax.conv_general_dilated(
        inputs,
        kernel,
        strides,
        padding,
        lhs_dilation=spread,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _plain(
    inputs: Array, kernel: Array, strides: tuple[int, ...], pads: Pads, dilation: tuple[int, ...]
) -> Array:
    return convolve(inputs, kernel, strides, pads, dilation)


def _forward(
    inputs: Array, kernel: Array, strides: tuple[int, ...], pads: Pads, dilation: tuple[int, ...]
) -> tuple[Array, tuple[Array, Array]]:
    return _plain(inputs, kernel, strides, pads, dilation), (inputs, kernel)


def _backward(
    strides: tuple[int, ...],
    pads: Pads,
    dilation: tuple[int, ...],
    residuals: tuple[Array, Array],
    slope: Array,
) -> tuple[Array, Array]:
    def own(inputs: Array, kernel: Array, slope: Array) -> tuple[Array, Array]:
        _, pull = jax.vjp(lambda x, k: convolve(x, k, strides, pads, dilation), inputs, kernel)
        return pull(slope)

    def spelt(inputs: Array, kernel: Array, slope: Array) -> tuple[Array, Array]:
        return (
            _of_inputs(inputs.shape, kernel, slope, strides, pads, dilation),
            _of_kernel(inputs, kernel.shape, slope, strides, pads, dilation),
        )

    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty and mesh.size > 1:
        return own(*residuals, slope)
    return platform_dependent(*residuals, slope, cpu=spelt, default=own)


_plain.defvjp(_forward, _backward)


def _of_inputs(
    shape: tuple[int, ...],
    kernel: Array,
    slope: Array,
    strides: tuple[int, ...],
    pads: Pads,
    dilation: tuple[int, ...],
) -> Array:
    """The slope, spread by the strides, convolved with the kernel turned round."""
    reach = _reach(kernel.shape[:-2], dilation)
    given = _reach(slope.shape[1:-1], strides)
    before = [size - 1 - low for size, (low, _) in zip(reach, pads, strict=True)]
    borders = tuple(
        (first, size + across - 1 - had - first)
        for first, size, across, had in zip(before, shape[1:-1], reach, given, strict=True)
    )
    turned = jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)
    ones = (1,) * len(strides)
    return convolve(slope, turned, ones, borders, dilation, spread=strides)


def _of_kernel(
    inputs: Array,
    shape: tuple[int, ...],
    slope: Array,
    strides: tuple[int, ...],
    pads: Pads,
    dilation: tuple[int, ...],
) -> Array:
    """The inputs convolved with the slope: channels are the rows, and rows the channels."""
    reach = _reach(shape[:-2], dilation)
    given = _reach(slope.shape[1:-1], strides)
    borders = tuple(
        (low, across + had - 1 - size - low)
        for across, had, size, (low, _) in zip(reach, given, inputs.shape[1:-1], pads, strict=True)
    )
    found = convolve(
        jnp.moveaxis(inputs, (0, -1), (-1, 0)),
        jnp.moveaxis(slope, 0, -2),
        dilation,
        borders,
        strides,
    )
    return jnp.moveaxis(found, 0, -2)
