"""Which partners are taken for wrong ones, and how often."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.matching import reference
from scene import ROWS, Scene, make_batch, make_context, make_encoded
from scipy import stats

from mmjax import objectives
from mmjax.core.errors import ConfigError
from mmjax.core.types import Tokens
from mmjax.objectives import hard_negatives, matching, matching_loss
from mmjax.objectives.base import Encoded
from mmjax.parallel.collectives import collectives
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.program import Program
from mmjax.parallel.sharding import batch_sharding

SIMILARITY = np.random.default_rng(0).standard_normal((6, 6)).astype(np.float32)
EYE = np.eye(6, dtype=np.float32)
VALID = np.array([1, 1, 1, 0, 1, 1], bool)
EXAMPLES = np.array([4, 5, 6, -1, 8, 4], np.int32)
"""The first and the last row are the same example."""
BLOCKS = slice(0, 3), slice(3, 6)


def key(seed):
    return jax.random.key(seed, impl="threefry2x32")


def albef_weights(similarity, valid, examples):
    """Li et al. 2021: the softmax, true pairs set to 0; multinomial then divides by the sum."""
    weights = np.exp(np.float64(similarity))
    weights = weights / weights.sum(axis=1, keepdims=True)
    weights[:, ~valid] = 0
    weights[examples[:, None] == examples[None, :]] = 0
    np.fill_diagonal(weights, 0)
    return weights / weights.sum(axis=1, keepdims=True)


def test_negatives_are_sampled_by_the_softmax_of_the_similarities():
    draws = 4000
    sample = lambda key: hard_negatives(SIMILARITY, EYE, 1.0, VALID, key, rows=EXAMPLES)  # noqa: E731
    found = np.asarray(jax.jit(jax.vmap(sample))(jax.random.split(key(1), draws)))
    expected = albef_weights(SIMILARITY, VALID, EXAMPLES)
    for row in np.flatnonzero(VALID):
        counts = np.bincount(found[:, row], minlength=6)
        possible = expected[row] > 0
        assert not counts[~possible].any()
        chi = stats.chisquare(counts[possible], expected[row][possible] * draws)
        assert chi.pvalue > 1e-3, (row, counts)


def test_without_a_key_the_nearest_is_taken():
    found = hard_negatives(SIMILARITY, EYE, 1.0, VALID, rows=EXAMPLES)
    np.testing.assert_array_equal(found, albef_weights(SIMILARITY, VALID, EXAMPLES).argmax(axis=1))


@pytest.mark.parametrize("given", [None, 0])
def test_where_no_other_row_is_left_there_is_none(given):
    alone = np.arange(6) == 2
    drawn = None if given is None else key(given)
    found = hard_negatives(SIMILARITY, EYE, 1.0, alone, drawn)
    assert found.tolist() == [2, 2, -1, 2, 2, 2]
    same = hard_negatives(SIMILARITY, EYE, 1.0, VALID, rows=np.full(6, 7, np.int32))
    assert same.tolist() == [-1] * 6


def test_neither_chunks_nor_a_mesh_change_what_is_drawn():
    rng = np.random.default_rng(4)
    a, b = (rng.standard_normal((64, 5)).astype(np.float32) for _ in range(2))
    valid, examples = rng.uniform(size=64) < 0.8, rng.integers(0, 50, 64)

    def draw(chunk=None, mesh=None):
        of = lambda a, b: hard_negatives(a, b, 3.0, valid, key(2), rows=examples, chunk=chunk)  # noqa: E731
        spread = None if mesh is None else batch_sharding(mesh)
        return np.asarray(jax.jit(of, in_shardings=spread)(a, b))

    whole = draw()
    assert len(set(whole.tolist())) > 10
    np.testing.assert_array_equal(draw(16), whole)
    np.testing.assert_array_equal(draw(16, make_mesh(MeshConfig(2, 2, 2))), whole)


def test_the_similarities_of_all_rows_never_exist_together():
    """Temporary memory of the compiled program: with a fixed chunk it grows with the rows."""

    def temporary(size, chunk):
        shape = jax.ShapeDtypeStruct((size, 8), jnp.float32)
        valid, drawn = np.ones(size, bool), key(0)
        of = lambda a, b: hard_negatives(a, b, 1.0, valid, drawn, chunk=chunk)  # noqa: E731
        return jax.jit(of).lower(shape, shape).compile().memory_analysis().temp_size_in_bytes

    whole, chunked = temporary(1024, None), temporary(1024, 64)
    assert whole >= 1024 * 1024 * 4
    assert chunked < 1024 * 64 * 4 * 6
    assert temporary(2048, 64) < 2.5 * chunked


def test_loss_is_the_cross_entropy_of_two_classes():
    logits = np.random.default_rng(2).standard_normal((5, 3, 2)).astype(np.float32)
    matches = np.arange(3) == 0
    mask = np.random.default_rng(3).uniform(size=(5, 3)) < 0.7
    p = np.exp(np.float64(logits))
    p = p[..., 1] / p.sum(axis=-1)
    expected = -np.log(np.where(matches, p, 1 - p))[mask].mean()
    given = jnp.broadcast_to(matches, (5, 3))
    assert float(matching_loss(logits, given, mask=mask)) == pytest.approx(expected, rel=1e-6)


def partners(module, *, batch=None, mask_key=None, third=False):
    """The pairs that the fusion is given, indices of text and image `[b 3]`; output; its tokens."""
    batch = batch or make_batch()
    encoded = make_encoded(module, batch, {})
    modalities = ("text", "image")
    if third:
        audio = Tokens(np.ones((ROWS, 2, 3)), np.ones((ROWS, 2), bool), np.ones((ROWS, 3)))
        encoded["audio"] = Encoded(audio)
        modalities = ("audio", *modalities)

    @jax.jit
    def run(rngs):
        seen = {}
        context = make_context(batch, encoded)

        def fuse(tokens):
            seen.update(tokens)
            return context.fuse({name: tokens[name] for name in ("text", "image")})

        variables = {"params": {"head": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}}}
        spied = dataclasses.replace(context, fuse=fuse, modalities=modalities)
        output = module.apply(variables, spied, train=mask_key is not None, rngs=rngs)
        return output, [seen[name] for name in modalities]

    output, seen = run({} if mask_key is None else {"mask": mask_key})
    seen = dict(zip(modalities, seen, strict=True))
    found = []
    for name in ("text", "image"):
        taken = np.asarray(seen[name].pooled).reshape(ROWS, 3, -1)
        same = taken[:, :, None] == encoded[name].tokens.pooled
        found.append(same.all(axis=-1).argmax(axis=-1))
    return found, output, seen


def test_each_row_meets_its_partner_and_a_wrong_one_on_either_side():
    (text, image), output, _ = partners(objectives.build("matching"), mask_key=key(5))
    rows = [0, 1, 3, 4, 6]
    for row in rows:
        assert (text[row, 0], image[row, 0]) == (row, row)
        assert text[row, 1] == row
        assert image[row, 2] == row
        assert image[row, 1] in set(rows) - {row}
        assert text[row, 2] in set(rows) - {row}
    assert float(output.metrics["count"]) == 3 * len(rows)
    assert 0 <= float(output.metrics["accuracy_sum"]) <= 3 * len(rows)


def test_each_step_samples_others_and_uniform_ones_need_no_joint_space():
    module = objectives.build("matching", hard_negatives=False)
    assert not module.uses_joint_space
    assert objectives.build("matching").uses_joint_space
    drawn = [np.array(partners(module, mask_key=key(seed))[0]) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    calm = [np.array(partners(module)[0]) for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    # In evaluation too, rows do not all meet the same one.
    assert len(set(calm[0][1][[0, 1, 3, 4, 6], 1])) > 1


def test_a_pair_alone_is_told_as_true_without_wrong_ones():
    batch = make_batch()
    alone = batch.replace(row_mask=np.arange(ROWS) == 4)
    _, output, _ = partners(objectives.build("matching"), batch=alone)
    assert float(output.metrics["count"]) == 1
    assert np.isfinite(output.loss)


def test_other_modalities_are_hidden_from_the_fusion():
    _, _, seen = partners(objectives.build("matching"), third=True)
    assert seen["audio"].values.shape == (3 * ROWS, 2, 3)
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(seen["audio"]))


def test_rows_of_one_thing_are_no_wrong_partners():
    batch = make_batch()
    rows, things = [0, 1, 3, 4, 6], np.array([5, 6, -1, 5, 5, -1, 5, 5], np.int32)
    batch = batch.replace(targets={**batch.targets, "thing": things})
    (text, image), output, _ = partners(
        objectives.build("matching", temperature=1e6), batch=batch, mask_key=key(5)
    )
    assert {image[row, 1] for row in (0, 3, 4, 6)} == {1}
    assert {text[row, 2] for row in (0, 3, 4, 6)} == {1}
    assert image[1, 1] in set(rows) - {1}
    assert float(output.metrics["count"]) == 15


def test_among_blocks_each_is_drawn_as_a_batch_of_its_own():
    found = hard_negatives(SIMILARITY, EYE, 1.0, VALID, among=3)
    parts = [hard_negatives(SIMILARITY[p, p], EYE[:3, :3], 1.0, VALID[p]) for p in BLOCKS]
    np.testing.assert_array_equal(found, np.concatenate([parts[0], parts[1] + 3]))
    (text, image), output, _ = partners(objectives.build("matching", among=4), mask_key=key(5))
    rows = np.array([0, 1, 3, 4, 6])
    assert (text[rows] // 4 == rows[:, None] // 4).all()
    assert (image[rows] // 4 == rows[:, None] // 4).all()
    assert (image[rows, 1] != rows).all()
    assert float(output.metrics["count"]) == 15
    with pytest.raises(ConfigError, match=r"blocks of 3 in a batch of 8 rows.*2, 4, 8"):
        partners(objectives.build("matching", among=3))


def test_blocks_of_one_device_send_no_tokens():
    mesh = make_mesh(MeshConfig(4, 2, 1))
    tokens = jax.ShapeDtypeStruct((32, 6, 16), jnp.float32, sharding=batch_sharding(mesh))
    chosen = jax.ShapeDtypeStruct((32, 3), jnp.int32, sharding=batch_sharding(mesh))

    def sent(among):
        def of(x, chosen):
            whole = Tokens(x, jnp.ones(x.shape[:2], bool), x[:, 0])
            return jnp.sum(matching._take(whole, chosen, among).values ** 2)

        lowered = jax.jit(jax.grad(of)).lower(tokens, chosen)
        return sum(one.bytes for one in collectives(Program(lowered.compile().as_text())))

    assert sent(4) == 0
    assert sent(32) >= 2 * 32 * 6 * 16 * 4


def test_a_pair_that_the_model_lacks_is_refused():
    with pytest.raises(ConfigError, match="no modality 'vidoe'"):
        partners(objectives.build("matching", pair=("text", "vidoe")))


def test_the_product_of_the_two_sides_is_read():
    module = objectives.build("matching", reads="product")
    batch = make_batch()
    encoded = make_encoded(module, batch, {})
    rng = np.random.default_rng(3)
    head = {"kernel": rng.standard_normal((3, 2)), "bias": rng.standard_normal(2)}
    found = module.apply({"params": {"head": head}}, make_context(batch, encoded), train=False)
    held = Scene({"head": head}, batch, encoded, {})

    def product(fused):
        sides = []
        for name in ("text", "image"):
            span = slice(*fused.spans[name])
            mask = fused.mask[:, span, None]
            sides.append((fused.values[:, span] * mask).sum(axis=1) / mask.sum(axis=1))
        return sides[0] * sides[1]

    expected = reference(held, product)
    np.testing.assert_allclose(float(found.loss), expected, rtol=1e-5)
    assert abs(expected - reference(held)) > 1e-3
