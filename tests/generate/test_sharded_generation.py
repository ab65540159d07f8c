"""On eight devices, with rows, weights and heads split: the tokens of one."""

import json

import generation
import jax
import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.generate import GenerationConfig, LinenDecoder, engine, generate
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.pretrained.load import load

GOLDEN = json.loads(generation.FILE.read_text())["llama"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama")
    return generation.write_folder(GOLDEN["config"], GOLDEN["shapes"], path)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["greedy_penalties", "beams_penalties"])
def test_tokens_are_those_of_one_device(case, folder):
    """The golden file's rows, and the first again, over two ways of data and two of FSDP."""
    mesh = make_mesh(MeshConfig(2, 2, 2))
    encoder = load(folder, mesh=mesh)
    inputs = generation.inputs(generation.FAMILIES["llama"])
    prompts, mask = (inputs[name][[0, 1, 2, 0]] for name in ("input_ids", "attention_mask"))
    wanted = GOLDEN["cases"][case]
    config = GenerationConfig(**wanted["settings"])
    found = generate(
        LinenDecoder(encoder.module), encoder.variables, prompts, config, mask=mask, mesh=mesh
    )
    tokens = [one for row in found.lists() for one in row]
    several = config.num_return_sequences
    assert tokens == wanted["tokens"] + wanted["tokens"][:several]


@pytest.mark.slow
def test_the_cache_is_split_as_the_model_is(folder):
    mesh = make_mesh(MeshConfig(2, 2, 2))
    encoder = load(folder, mesh=mesh)
    prompts = np.tile(np.arange(12, 18), (4, 1)).astype(np.int32)
    given = engine._split((np.pad(prompts, ((0, 0), (2, 8))), np.ones((4, 16), bool)), mesh)
    limits = engine.Limits(*(np.full(4, one, np.int32) for one in (6, 8, 0)))
    run = engine.begin(
        encoder.variables,
        *given,
        limits,
        None,
        jax.random.key(0),
        decoder=LinenDecoder(encoder.module),
        config=GenerationConfig(),
        processors=(),
        new=8,
        mesh=mesh,
    )
    arrays = [leaf for leaf in jax.tree.leaves(run.cache) if leaf.ndim == 4]
    assert arrays
    for leaf in arrays:
        held = leaf.sharding.shard_shape(leaf.shape)
        assert held == (leaf.shape[0] // 4, leaf.shape[1] // 2, *leaf.shape[2:])


def test_rows_that_do_not_divide_are_refused(folder):
    mesh = make_mesh(MeshConfig(2, 2, 2))
    encoder = load(folder)
    with pytest.raises(ConfigError, match="a multiple of 4 rows"):
        generate(
            LinenDecoder(encoder.module),
            encoder.variables,
            np.ones((3, 2), int),
            GenerationConfig(),
            mesh=mesh,
        )
