import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.encoders.swin import Swin, same_side, to_windows

PIXELS = np.random.default_rng(0).standard_normal((2, 13, 12, 3)).astype(np.float32)
SMALL = {"patch": 2, "width": 4, "depths": (3, 2), "heads": (1, 2), "window": 3}


def test_only_positions_that_were_near_before_the_shift_see_each_other():
    rows, columns, size, shift = 9, 6, 3, 1
    place = jnp.stack(jnp.mgrid[:rows, :columns], axis=-1)[None].astype(jnp.float32)
    windows = to_windows(jnp.roll(place, (-shift, -shift), axis=(1, 2)), size)
    apart = abs(windows[:, :, None] - windows[:, None, :]).max(axis=-1)
    np.testing.assert_array_equal(same_side((rows, columns), size, shift), apart < size)


@pytest.mark.slow
def test_scanned_stages_equal_unrolled_ones():
    module = Swin(**SMALL, drop_path=0.5)
    params = reference.random_variables(module, PIXELS, train=False)["params"]
    scanned = dict(params)
    for stage in ("stage_0", "stage_1"):
        one = jax.tree.map(lambda leaf: leaf[None], params[stage]["layer_0"])
        scanned[stage] = {"layers": one}
    other = module.copy(scan=True)
    found = jax.jit(lambda p: module.apply({"params": p}, PIXELS, train=False))(params)
    again = jax.jit(lambda p: other.apply({"params": p}, PIXELS, train=False))(scanned)
    np.testing.assert_allclose(found.values, again.values, rtol=1e-5, atol=1e-5)
    assert found.values.shape == (2, 4 * 3, 8)
    keys = {"dropout": jax.random.key(0)}
    dropped = jax.jit(lambda p: other.apply({"params": p}, PIXELS, train=True, rngs=keys))(scanned)
    assert np.isfinite(dropped.pooled).all()
    assert not np.allclose(dropped.pooled, again.pooled)


def test_a_window_larger_than_the_picture_is_the_picture():
    """Then every position attends to every other, so that turning the order changes nothing."""
    module = Swin(patch=2, width=4, depths=(2,), heads=(1,), window=9)
    params = reference.random_variables(module, PIXELS[:, :6, :6], train=False)["params"]
    for block in params["stage_0"]["layer_0"].values():
        block["relative_positions"]["table"] *= 0
    apply = jax.jit(lambda p, x: module.apply({"params": p}, x, train=False).pooled)
    pixels = jnp.asarray(PIXELS[:, :6, :6])
    turned = pixels.reshape(2, 3, 2, 6, 3)[:, ::-1].reshape(2, 6, 6, 3)
    np.testing.assert_allclose(apply(params, pixels), apply(params, turned), rtol=1e-4, atol=1e-5)


def test_what_contradicts_itself_is_refused():
    for module, message in (
        (Swin(depths=(1, 1), heads=(1,)), "1 numbers of heads for 2 stages"),
        (Swin(**SMALL), "without a mask token"),
    ):
        with pytest.raises(ConfigError, match=message):
            module.init(jax.random.key(0), PIXELS, np.zeros((2, 42), bool), train=False)
