"""Token for token what transformers' torch classes generate (`golden/generate/generation.json`)."""

import json

import generation
import jax
import numpy as np
import pytest

from mmjax.generate import GenerationConfig, LinenDecoder, generate
from mmjax.pretrained.load import load

GOLDEN = json.loads(generation.FILE.read_text())
QUICK = {
    ("bart", "greedy_penalties"),
    ("gpt2", "beams_early"),
}
"""One of each search, of an encoder-decoder and of a decoder alone; the others are slow."""


def cases():
    for name, family in GOLDEN.items():
        for case in family["cases"]:
            marks = () if (name, case) in QUICK else pytest.mark.slow
            yield pytest.param(name, case, marks=marks, id=f"{name}-{case}")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The module and variables of a family, its context and its prompts."""
    found = {}

    def get(name):
        if name not in found:
            found.clear()
            golden, family = GOLDEN[name], generation.FAMILIES[name]
            folder = tmp_path_factory.mktemp(name)
            generation.write_folder(golden["config"], golden["shapes"], folder)
            encoder = load(folder)
            inputs = generation.inputs(family)
            prompts, mask, context = inputs.get("input_ids"), inputs.get("attention_mask"), None
            if not family.causal:
                start = family.common["decoder_start_token_id"]
                prompts = inputs.pop("decoder_input_ids", np.full((3, 1), start))
                if "input_features" in inputs:
                    inputs["input_features"] = np.moveaxis(inputs["input_features"], 1, 2)
                encode = jax.jit(
                    lambda variables, fields: encoder.module.apply(
                        variables, **fields, train=False, method="encode"
                    )
                )
                context, mask = encode(encoder.variables, inputs), None
            found[name] = encoder, prompts.astype(np.int32), mask, context
        return found[name]

    return get


@pytest.mark.parametrize(("name", "case"), list(cases()))
def test_tokens_are_those_of_transformers(name, case, model):
    encoder, prompts, mask, context = model(name)
    wanted = GOLDEN[name]["cases"][case]
    config = GenerationConfig(**wanted["settings"])
    decoder = LinenDecoder(encoder.module)
    ours = generate(decoder, encoder.variables, prompts, config, mask=mask, context=context)
    tokens = [one for row in ours.lists() for one in row]
    assert tokens == wanted["tokens"]
    if wanted["scores"] is not None:
        np.testing.assert_allclose(ours.scores.ravel(), wanted["scores"], atol=2e-4)
