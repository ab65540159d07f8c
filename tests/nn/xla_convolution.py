"""A convolution beside XLA's own."""

import jax
import numpy as np

RNG = np.random.default_rng(0)


def same_as_xla(ours, space, kernel, options, *, groups=1, inputs=4, outputs=5):
    """Values and both gradients of `ours(x, w)`, of inputs and a kernel of these sizes."""
    x = RNG.standard_normal((3, *space, inputs)).astype(np.float32)
    w = RNG.standard_normal((*kernel, inputs // groups, outputs)).astype(np.float32)
    axes = "DHW"[3 - len(space) :]

    def theirs(x, w):
        return jax.lax.conv_general_dilated(
            x,
            w,
            options["strides"],
            options["padding"],
            rhs_dilation=options.get("dilation"),
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
            feature_group_count=groups,
        )

    slope = RNG.standard_normal(jax.eval_shape(theirs, x, w).shape).astype(np.float32)
    found, expected = (
        jax.jit(
            jax.value_and_grad(lambda x, w, one=one: (one(x, w) * slope).sum(), argnums=(0, 1))
        )(x, w)
        for one in (ours, theirs)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected
    )
