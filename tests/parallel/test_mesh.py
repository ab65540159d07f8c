import jax
import pytest
from jax.sharding import AxisType

from mmjax.core.errors import ConfigError
from mmjax.parallel.mesh import AXES, MeshConfig, check_batch_size, make_mesh, mesh_shape


@pytest.mark.parametrize(
    ("sizes", "devices", "expected"),
    [
        ((-1, 1, 1), 8, (8, 1, 1)),
        ((-1, 1, 1), 1, (1, 1, 1)),
        ((2, 2, 2), 8, (2, 2, 2)),
        ((2, -1, 2), 12, (2, 3, 2)),
        ((1, 1, -1), 4, (1, 1, 4)),
    ],
)
def test_shape(sizes, devices, expected):
    assert mesh_shape(MeshConfig(*sizes), devices) == expected


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((-1, 3, 1), "multiple of 3 devices, there are 8.*mesh.fsdp=3.*mesh.data=8"),
        ((2, 2, 1), "multiple of 4 devices, there are 8"),
        ((4, 2, 2), "multiple of 16 devices, there are 8"),
        ((0, 1, 1), "must be positive.*mesh.data=0"),
        ((-2, 1, 1), "must be positive"),
        ((-1, -1, 1), "one at most -1"),
    ],
)
def test_shapes_that_do_not_multiply_up_are_refused(sizes, message):
    with pytest.raises(ConfigError, match=message):
        mesh_shape(MeshConfig(*sizes), 8)


def test_mesh_covers_the_given_devices_in_automatic_mode():
    mesh = make_mesh(MeshConfig(2, 2, 2))
    assert mesh.axis_names == AXES
    assert mesh.devices.shape == (2, 2, 2)
    assert set(mesh.devices.flat) == set(jax.devices())
    assert set(mesh.axis_types) == {AxisType.Auto}
    alone = make_mesh(MeshConfig(), jax.devices()[3:4])
    assert alone.devices.item() == jax.devices()[3]


@pytest.mark.parametrize(
    ("rows", "times", "valid"),
    [(8, 1, None), (4, 1, None), (6, 1, "4 or 8"), (3, 1, "4"), (12, 2, "8 or 16"), (16, 2, None)],
)
def test_batches_split_evenly_or_the_nearest_that_do_are_named(rows, times, valid):
    mesh = make_mesh(MeshConfig(2, 2, 2))
    if valid is None:
        check_batch_size("data.batch_size", rows, mesh, times=times)
        return
    with pytest.raises(ConfigError) as error:
        check_batch_size("data.batch_size", rows, mesh, times=times)
    assert error.value.fix == f"the nearest valid: {valid}"
    assert f"data.batch_size={rows} does not split over mesh.data=2 x mesh.fsdp=2" in str(
        error.value
    )
    assert (f"x {times} micro-batches" in str(error.value)) is (times > 1)
