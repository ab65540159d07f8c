"""What is saved loads in the torch class, no key missing and none unexpected, and computes alike.

Needs the `parity` extra; without torch, `test_round_trip.py` holds names, shapes and bits.
"""

from __future__ import annotations

import warnings

import goldens
import numpy as np
import pytest
from parity import relative_error

from mmjax.pretrained import find
from mmjax.pretrained.save import save

torch = pytest.importorskip("torch", reason="pip install 'mmjax[parity]'")
transformers = pytest.importorskip("transformers")

WHOLE = [name for name in goldens.names() if not goldens.load(name).options.get("part")]


@pytest.mark.parametrize("name", WHOLE)
def test_loads_in_the_torch_class(name, golden_encoder, tmp_path):
    golden, encoder = golden_encoder(name)
    save(encoder, tmp_path / "out")
    cls = getattr(transformers, find(encoder.model_type).saved_as)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, info = cls.from_pretrained(
            tmp_path / "out", output_loading_info=True, attn_implementation="eager"
        )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    theirs = {key: value.numpy() for key, value in model.state_dict().items()}
    for key, array in golden.weights().items():
        np.testing.assert_array_equal(theirs[key], array)


def test_trained_weights_compute_alike(golden_encoder, tmp_path):
    import jax

    golden, encoder = golden_encoder("bert")
    changed = encoder.replace(variables=jax.tree.map(lambda leaf: leaf * 1.1, encoder.variables))
    save(changed, tmp_path / "out")
    model = transformers.BertModel.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        given = {key: torch.from_numpy(value) for key, value in golden.inputs.items()}
        theirs = model(**given).last_hidden_state.numpy()
    ours = changed.module.apply(changed.variables, **golden.inputs, train=False).values
    mask = golden.inputs["attention_mask"].astype(bool)
    assert relative_error(ours, theirs, mask) <= 1e-5
