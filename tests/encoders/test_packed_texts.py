"""A row of several texts is encoded as the texts alone would be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax import encoders, objectives
from mmjax.core.types import Batch
from mmjax.models.pretraining import Pretraining

BLOCKS = {"width": 16, "depth": 2, "heads": 2, "mlp_dim": 16, "vocab_size": 20, "max_length": 12}
LENGTHS = (5, 4)
IDS = np.random.default_rng(0).integers(5, 20, (1, 12)).astype(np.int32)
CASES = {
    "text_transformer": {"pooling": "mean", "dropout": 0.0, "attention_dropout": 0.0},
    "causal_encoder": {},
    "causal_encoder, rotary": {"positions": "rotary"},
    "causal_encoder, alibi": {"positions": "alibi"},
}


def packed():
    """One row of both texts, and three tokens of padding."""
    segments = np.repeat([1, 2, 0], (*LENGTHS, 12 - sum(LENGTHS)))[None].astype(np.int32)
    places = np.concatenate([np.arange(n) for n in (*LENGTHS, 12 - sum(LENGTHS))])[None]
    return {
        "input_ids": IDS,
        "attention_mask": segments > 0,
        "position_ids": places.astype(np.int32),
        "segment_ids": segments,
    }


def alone():
    """A row a text, in the same places from the left."""
    ids, mask = np.zeros((2, 12), np.int32), np.zeros((2, 12), bool)
    for row, (start, length) in enumerate(zip((0, LENGTHS[0]), LENGTHS, strict=True)):
        ids[row, :length] = IDS[0, start : start + length]
        mask[row, :length] = True
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("case", CASES)
def test_a_packed_row_is_its_texts_alone(case):
    module = encoders.build(case.partition(",")[0], **BLOCKS, **CASES[case])
    variables = reference.random_variables(module, **alone(), train=False)
    run = jax.jit(lambda fields: module.apply(variables, **fields, train=False).values)
    together, apart = np.asarray(run(packed()))[0], np.asarray(run(alone()))
    first, second = LENGTHS
    np.testing.assert_allclose(together[:first], apart[0, :first], atol=2e-6)
    np.testing.assert_allclose(together[first : first + second], apart[1, :second], atol=2e-6)


def test_no_token_is_guessed_from_the_text_before():
    encoder = encoders.build("causal_encoder", **BLOCKS)
    facts = {"text": {"vocab_size": 20, "special_ids": ()}}
    objective = objectives.build("causal_lm", modality_facts=facts)
    module = Pretraining(encoders={"text": encoder}, objectives={"lm": objective})

    def batch(fields):
        rows = len(fields["input_ids"])
        here = np.ones(rows, bool)
        return Batch({"text": fields}, {"text": here}, {}, here, np.arange(rows))

    variables = reference.random_variables(module, batch(alone()), train=False)
    variables = jax.tree.map(jnp.asarray, variables)
    run = jax.jit(lambda batch: module.apply(variables, batch, train=False))
    together, apart = run(batch(packed())), run(batch(alone()))
    assert float(together.metrics["lm/count"]) == sum(LENGTHS) - 2
    assert float(together.loss) == pytest.approx(float(apart.loss), rel=1e-6)
    np.testing.assert_array_equal(
        objective.chances(packed())[0], [0, 1, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0]
    )
