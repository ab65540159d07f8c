import jax
import numpy as np
import pytest
from xla_convolution import same_as_xla

from mmjax.nn.plain_convolution import plain_convolution

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("space", "kernel", "options"),
    [
        ((7, 6), (3, 3), {"strides": (1, 1), "padding": "SAME"}),
        ((7, 6), (3, 3), {"strides": (2, 2), "padding": "SAME"}),
        ((8, 8), (4, 4), {"strides": (4, 4), "padding": "VALID"}),
        ((7, 9), (3, 2), {"strides": (2, 1), "padding": ((1, 1), (0, 2))}),
        ((7, 9), (2, 2), {"strides": (3, 4), "padding": ((0, 0), (0, 0))}),
        ((9, 8), (3, 2), {"strides": (2, 1), "padding": ((2, 1), (3, 0)), "dilation": (2, 3)}),
        ((11,), (4,), {"strides": (3,), "padding": ((2, 1),), "dilation": (2,)}),
        ((5, 6, 4), (3, 1, 2), {"strides": (1, 2, 1), "padding": "SAME"}),
    ],
    ids=["plain", "strides", "patches", "borders", "places unseen", "dilated", "1d", "3d"],
)
def test_values_and_gradients_are_those_of_xla(space, kernel, options):
    same_as_xla(lambda x, w: plain_convolution(x, w, **options), space, kernel, options)


def test_a_loops_gradients_are_in_the_order_that_the_cpu_library_takes():
    values = RNG.standard_normal((2, 3, 6, 6, 4)).astype(np.float32)
    weights = RNG.standard_normal((3, 3, 4, 5)).astype(np.float32)

    def slopes(w, x):
        return jax.grad(
            lambda w, x: (plain_convolution(x, w, strides=(1, 1), padding="SAME") ** 2).sum(),
            argnums=(0, 1),
        )(w, x)

    def loop(w, xs):
        return jax.lax.scan(lambda c, x: (c, slopes(w, x)), 0.0, xs)

    lines = jax.jit(loop).lower(weights, values).compile().as_text().splitlines()
    convolutions = [line for line in lines if " convolution(" in line]
    assert len(convolutions) == 3
    assert all("dim_labels=b01f_01io->b01f" in line for line in convolutions)
    assert not any("rhs_reversal" in line for line in convolutions)
