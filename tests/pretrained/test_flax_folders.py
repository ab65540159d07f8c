"""Folders written by transformers' own Flax classes load to the trees that safetensors load to."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from unittest import mock

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.pretrained.load import load

FLAX = {
    "bart": "FlaxBartForConditionalGeneration",
    "blenderbot": "FlaxBlenderbotForConditionalGeneration",
    "blenderbot-small": "FlaxBlenderbotSmallForConditionalGeneration",
    "marian": "FlaxMarianMTModel",
    "mbart": "FlaxMBartForConditionalGeneration",
    "albert_groups": "FlaxAlbertModel",
    "beit": "FlaxBeitModel",
    "beit_masked": "FlaxBeitModel",
    "bert": "FlaxBertModel",
    "big_bird": "FlaxBigBirdModel",
    "clip": "FlaxCLIPModel",
    "clip_text_model": "FlaxCLIPTextModel",
    "clip_vision_model": "FlaxCLIPVisionModel",
    "dinov2": "FlaxDinov2Model",
    "distilbert": "FlaxDistilBertModel",
    "electra": "FlaxElectraModel",
    "regnet": "FlaxRegNetModel",
    "resnet": "FlaxResNetModel",
    "gemma": "FlaxGemmaForCausalLM",
    "gpt2_options": "FlaxGPT2LMHeadModel",
    "gpt_neo": "FlaxGPTNeoForCausalLM",
    "gptj": "FlaxGPTJForCausalLM",
    "llama": "FlaxLlamaForCausalLM",
    "mistral": "FlaxMistralForCausalLM",
    "opt_350m": "FlaxOPTForCausalLM",
    "xglm": "FlaxXGLMForCausalLM",
    "roberta": "FlaxRobertaModel",
    "roberta-prelayernorm": "FlaxRobertaPreLayerNormModel",
    "roformer_values": "FlaxRoFormerModel",
    "t5": "FlaxT5ForConditionalGeneration",
    "mt5": "FlaxMT5ForConditionalGeneration",
    "vision-text-dual-encoder": "FlaxVisionTextDualEncoderModel",
    "vit": "FlaxViTModel",
    "wav2vec2_stable": "FlaxWav2Vec2Model",
    "whisper": "FlaxWhisperForConditionalGeneration",
    "xlm-roberta": "FlaxXLMRobertaModel",
}
"""Golden cases, and the Flax class of the same model. A new family is one line here."""

transformers = pytest.importorskip("transformers")
if int(transformers.__version__.split(".")[0]) >= 5:
    pytest.skip("transformers 5 has no Flax classes", allow_module_level=True)


_clip = jnp.clip


def clip_as_it_was(array, /, min=None, max=None, *, a_min=None, a_max=None):
    """With the names that jax 0.10 took away, and that Flax T5 uses."""
    return _clip(array, a_min if min is None else min, a_max if max is None else max)


def shapes_of(init_weights):
    """An `init_weights` that returns zeros, without computing them."""

    def shaped(self, rng, *args):
        tree = jax.eval_shape(lambda rng: init_weights(self, rng, *args), rng)
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)

    return shaped


def write_flax_folder(name: str, folder: Path, **options) -> tuple[Path, Path]:
    """A golden case as safetensors, and as what its Flax class saves of the same weights.

    The weights get into the Flax tree by transformers' own conversion.
    """
    from transformers.modeling_flax_pytorch_utils import convert_pytorch_state_dict_to_flax

    golden = goldens.load(name)
    source = goldens.write_folder(golden, folder / "torch")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with warnings.catch_warnings(), mock.patch.object(jnp, "clip", clip_as_it_was):
        warnings.simplefilter("ignore")
        cls = getattr(transformers, FLAX[name])
        # The conversion asks for the model's tree; making real parameters would take long.
        config = cls.config_class.from_pretrained(source)
        if "DualEncoder" in FLAX[name]:  # which insists on making them
            with mock.patch.object(cls, "init_weights", shapes_of(cls.init_weights)):
                model = cls(config)
        else:
            model = cls(config, _do_init=False)
        model._is_initialized, model._params = True, model.params_shape_tree
        weights = {key: array.copy() for key, array in golden.weights().items()}
        params = convert_pytorch_state_dict_to_flax(weights, model)
        model.save_pretrained(folder / "flax", params=params, **options)
    return source, folder / "flax"


def assert_same(ours: Path, theirs: Path) -> None:
    from_flax, from_torch = load(ours), load(theirs)
    assert from_flax.report.format == "msgpack"
    assert from_torch.report.format == "safetensors"
    a, b = from_flax.variables, from_torch.variables
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert from_flax.report.left_out == from_torch.report.left_out


@pytest.mark.parametrize("name", sorted(FLAX))
def test_same_tree_from_both_formats(name, tmp_path):
    torch_folder, flax_folder = write_flax_folder(name, tmp_path)
    assert [path.name for path in flax_folder.glob("*.msgpack")] == ["flax_model.msgpack"]
    assert_same(flax_folder, torch_folder)


def test_shards(tmp_path):
    torch_folder, flax_folder = write_flax_folder("bert", tmp_path, max_shard_size="8KB")
    assert len(list(flax_folder.glob("flax_model-*.msgpack"))) > 2
    assert_same(flax_folder, torch_folder)


def test_arrays_that_flax_cuts_into_chunks(tmp_path, monkeypatch):
    from flax import serialization

    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 500)
    torch_folder, flax_folder = write_flax_folder("bert", tmp_path)
    assert b"__msgpack_chunked_array__" in (flax_folder / "flax_model.msgpack").read_bytes()
    assert_same(flax_folder, torch_folder)
