import dataclasses
import itertools
import math

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.parallel.mesh import (
    AXES,
    MeshConfig,
    check_batch_size,
    make_mesh,
    mesh_shape,
    nearest_shapes,
)


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


def test_the_nearest_meshes_that_work_are_named():
    with pytest.raises(ConfigError) as error:
        mesh_shape(MeshConfig(2, 3, 1), 8)
    assert "mesh.data=2 mesh.fsdp=4 mesh.tensor=1" in error.value.fix
    for sizes in nearest_shapes([3, 1, 2], 8):
        assert math.prod(sizes) == 8
    assert nearest_shapes([-1, 4, 2], 16)[0] == (2, 4, 2)


def test_tokens_have_an_axis_of_their_own_where_they_are_split():
    mesh = make_mesh(MeshConfig(data=-1, sequence=4))
    assert mesh.axis_names == ("data", "fsdp", "sequence", "tensor")
    assert dict(mesh.shape) == {"data": 2, "fsdp": 1, "sequence": 4, "tensor": 1}
    assert make_mesh(MeshConfig(data=-1, sequence=1)).axis_names == AXES


def test_data_runs_over_groups_of_devices_outermost():
    devices = jax.devices()
    mesh = make_mesh(MeshConfig(4, 1, 2, slices=2))
    assert dict(mesh.shape) == {"data": 4, "fsdp": 1, "tensor": 2}
    assert {*mesh.devices[:2].flat} == {*devices[:4]}
    assert {*mesh.devices[2:].flat} == {*devices[4:]}
    with pytest.raises(ConfigError, match=r"mesh\.data=2 does not run over mesh\.slices=4"):
        make_mesh(MeshConfig(2, 2, 2, slices=4))
    with pytest.raises(ConfigError, match="must be positive"):
        make_mesh(MeshConfig(slices=-1))
    with pytest.raises(ConfigError, match="must be positive"):
        make_mesh(MeshConfig(sequence=-1))


def test_new_settings_are_not_in_the_stored_config_while_they_are_empty():
    assert config_lib.to_json(MeshConfig()) == {"data": -1, "fsdp": 1, "tensor": 1}
    told = MeshConfig(sequence=2, overrides={"words": ("", "fsdp")})
    assert config_lib.from_json(MeshConfig, config_lib.to_json(told)) == told


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a mesh asks of a TPU."""

    id: int
    coords: tuple[int, int, int]
    platform = "tpu"
    device_kind = "TPU v5"
    core_on_chip = 0
    process_index = 0
    slice_index = 0


@pytest.mark.parametrize("sizes", [(32, 2, 1), (8, 2, 4), (2, 2, 16)])
def test_an_axis_may_take_a_part_of_a_dimension_of_the_torus(sizes):
    places = itertools.product(range(4), repeat=3)
    chips = [Chip(number, place) for number, place in enumerate(places)]
    mesh = make_mesh(MeshConfig(*sizes), chips)
    assert tuple(mesh.shape.values()) == sizes
    assert {one.id for one in mesh.devices.flat} == set(range(64))
    for pair in np.moveaxis(mesh.devices, 1, -1).reshape(-1, 2):
        a, b = (np.array(one.coords) for one in pair)
        assert np.abs(a - b).sum() == 1
