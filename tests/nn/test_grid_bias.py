import jax
import numpy as np
import pytest
import reference

from mmjax.nn.grid_bias import GridBias


@pytest.mark.parametrize("class_token", [False, True])
def test_each_pair_of_cells_has_the_entry_of_its_distance(class_token):
    rows, columns = 2, 3
    module = GridBias(heads=2, window=(rows, columns), class_token=class_token)
    if class_token:  # Other than for squares, the table is turned as in transformers.
        rows = columns = 3
        module = module.copy(window=(rows, columns))
    table = reference.random_variables(module)["params"]["table"]
    bias = np.asarray(jax.jit(module.apply)({"params": {"table": table}}))[0]
    assert table.shape == ((2 * rows - 1) * (2 * columns - 1) + 3 * class_token, 2)
    cells = [(y, x) for y in range(rows) for x in range(columns)]
    start = int(class_token)
    for i, (y, x) in enumerate(cells):
        for j, (v, u) in enumerate(cells):
            entry = (y - v + rows - 1) * (2 * columns - 1) + x - u + columns - 1
            np.testing.assert_array_equal(bias[:, start + i, start + j], table[entry])
    if class_token:
        np.testing.assert_array_equal(bias[:, 0, 1:], np.tile(table[-3][:, None], (1, 9)))
        np.testing.assert_array_equal(bias[:, 1:, 0], np.tile(table[-2][:, None], (1, 9)))
        np.testing.assert_array_equal(bias[:, 0, 0], table[-1])


def test_a_smaller_grid_takes_the_distances_that_occur_in_it():
    table = np.arange(25, dtype=np.float32)[:, None]
    module = GridBias(heads=1, window=(3, 3))
    run = lambda module: np.asarray(jax.jit(module.apply)({"params": {"table": table}}))[0, 0]  # noqa: E731
    whole = run(module).reshape(3, 3, 3, 3)
    small = run(module.copy(grid=(2, 2))).reshape(2, 2, 2, 2)
    np.testing.assert_array_equal(small, whole[:2, :2, :2, :2])


def test_a_smooth_table_stays_what_it_is_on_another_grid():
    module = GridBias(heads=1, window=(3, 3), grid=(2, 3), class_token=True)
    ramp = np.tile(np.arange(5.0, dtype=np.float32), 5)  # grows with the columns alone
    table = np.concatenate([ramp, [7, 8, 9]])[:, None].astype(np.float32)
    bias = np.asarray(jax.jit(module.apply)({"params": {"table": table}}))[0, 0]
    assert bias.shape == (7, 7)
    np.testing.assert_allclose(bias[1], [8, 2, 1, 0, 2, 1, 0], atol=1e-6)
    np.testing.assert_allclose(bias[:, 1], [7, 2, 3, 4, 2, 3, 4], atol=1e-6)
    assert bias[0, 0] == 9
