"""A run on kept features is the run without them; what cannot be kept is refused."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
import tiny_run

from mmjax.api.batch_size import memory_of_step
from mmjax.api.describing import describe_config
from mmjax.api.run import load_run
from mmjax.checkpoint.load import load_arrays, stored_leaves
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.data.pipeline import prepare
from mmjax.train import trainer

STILL = (
    "train.duration=3 steps",
    "train.evaluate_every=3 steps",
    "train.save_every=3 steps",
    "model.encoders.text.token_dropout=0",
    "model.encoders.text.dropout=0",
    'optimizer.multipliers={"^/encoders_text/": 0.0}',
)


def leaves(folder):
    arrays = load_arrays(folder, "latest", prefixes=("params", "opt_state", "ema"))
    return {jax.tree_util.keystr(k): v for k, v in jax.tree_util.tree_leaves_with_path(arrays)}


def of_averages(folder):
    return [path for path in stored_leaves(folder / "kept") if path.startswith("ema/")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_run.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def quick(monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    tiny_run.numpy_start(monkeypatch)


def built(data, *changes, config=None):
    config = config or tiny_run.config(data, *STILL, *changes)
    return trainer.Trainer.build(config, prepare(config.data))


def test_a_run_on_kept_features_ends_where_it_does_without(data, tmp_path, quick, capsys):
    cache = tmp_path / "features"
    config = tiny_run.config(data, *STILL)
    kept = tiny_run.config(data, *STILL, f"train.feature_cache.text={cache}")
    trainer.fit(config, tmp_path / "raw")
    told = []
    trainer.fit(kept, tmp_path / "kept", built=told.append)
    raw, found = leaves(tmp_path / "raw"), leaves(tmp_path / "kept")
    assert raw.keys() == found.keys()
    for name, array in raw.items():
        # Other programs: their last bits differ where XLA fuses operations otherwise.
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)
    # What is frozen has no average: its parameters are taken for it.
    stored = {path.partition("/encoders_")[2].partition("/")[0] for path in of_averages(tmp_path)}
    assert stored == {"", "image"}
    assert "made in" in capsys.readouterr().out
    # A fusion of summaries: tokens are not kept. Training and validation rows, each in a folder.
    folders = [one for one in cache.iterdir() if one.is_dir()]
    assert len(folders) == 2
    assert all(not (one / "values.bin").exists() for one in folders)
    # The run itself reads raw rows, with all of the model; so it is the same on features.
    run = load_run(tmp_path / "kept")
    dataset, features = run.dataset(labels=True), told[0].features
    whole = run.evaluate_dataset(dataset, "test")
    program, run.features = run._function, features
    again = run.evaluate_dataset(dataset, "test")
    np.testing.assert_array_equal(again.rows, whole.rows)
    assert again.metrics == pytest.approx(whole.metrics, rel=1e-5)
    for name, array in whole.predictions.items():
        np.testing.assert_allclose(again.predictions[name], array, atol=1e-6, err_msg=name)
    assert program._cache_size() == 1
    variables = run._ready(dataset)[0]
    own = run.embed_dataset(dataset, "test", ["text"])
    rows = dataset.rows("test")
    np.testing.assert_allclose(features.summaries("text", variables, rows), own["text"], atol=1e-6)
    assert features.summaries("image", variables, rows) is None
    assert len([one for one in cache.iterdir() if one.is_dir()]) == 3
    shutil.rmtree(cache)
    # Other data is not what the features are of.
    other = run.dataset(tiny_run.write_data(tmp_path, 9, name="other", seed=1), labels=True)
    assert len(run.evaluate_dataset(other, "all").rows) == 9
    answer = load_run(tmp_path / "kept").predict_one(text="wing beak")
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def with_tokens(data, *changes):
    """A text transformer whose tokens a cross-attention reads, in batches of two lengths."""
    config = tiny_run.config(data, *STILL)
    blocks = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 8}
    text = Spec("text", column="words", tokenizer="wordpiece", max_length=12, lengths=(4,))
    encoder = Spec("text_transformer", **blocks, dropout=0.0, attention_dropout=0.0)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, modalities={**config.data.modalities, "text": text}),
        model=dataclasses.replace(
            config.model,
            encoders={**config.model.encoders, "text": encoder},
            fusion=Spec("cross_attention", width=8, heads=2, depth=1),
        ),
    )
    return config_lib.override(config, changes)


def test_tokens_are_kept_where_they_are_read_and_are_those_of_the_encoder(data, tmp_path, quick):
    one = built(data, config=with_tokens(data, f"train.feature_cache.text={tmp_path}"))
    one.state = one.plan.make()
    one.features.fill(one.state)
    kept = one.dataset.modalities["text"]
    raw = kept.raw
    rows = np.sort(one.dataset.rows("train"))
    store = kept.stores[True].arrays
    assert store["values"].shape == (len(rows), 12, 8)
    assert kept.padded_lengths == raw.padded_lengths == (4, 12)
    cells = one.dataset.table.column("words")
    lengths = raw.lengths(one.dataset.table, rows)
    assert set(np.searchsorted((4, 12), lengths)) == {0, 1}
    encoder = one.features.parts[0].encoder
    for place in (0, 1, int(lengths.argmax())):
        length = next(n for n in raw.padded_lengths if n >= lengths[place])
        example = raw.example({"words": cells[rows[place]]}, None, None)
        fields = raw.collate([example], length)
        own = encoder.apply({"params": one.state.params["encoders_text"]}, **fields, train=True)
        np.testing.assert_allclose(store["values"][place, :length], own.values[0], atol=1e-6)
        np.testing.assert_allclose(store["pooled"][place], own.pooled[0], atol=1e-6)
        np.testing.assert_array_equal(store["mask"][place, :length], own.mask[0])
        assert not store["mask"][place, length:].any()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("optimizer.multipliers={}",), "of its parameters are trained"),
        (("model.encoders.text.dropout=0.1",), "model.encoders.text.dropout=0"),
        (("data.modalities.text.word_dropout=0.2",), "examples are random"),
        (("train.feature_cache.words=auto",), "no modality of the model"),
    ],
)
def test_what_changes_in_training_is_not_kept(data, tmp_path, quick, changes, told):
    with pytest.raises(ConfigError, match=told) as error:
        built(data, f"train.feature_cache.text={tmp_path}", *changes)
    assert error.value.code == 109
    assert "train.feature_cache" in error.value.where
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_name_keeps_nothing(data, quick):
    one = built(data, "train.feature_cache.text=")
    assert one.features.parts == ()
    assert one.dataset.modalities["text"].random is False


def test_adapters_are_parameters_of_the_encoder_too(data, tmp_path, quick):
    config = with_tokens(data, f"train.feature_cache.text={tmp_path}")
    lora = {"a": Spec("lora", rank=2, targets=("^encoders_text/.*/query$",))}
    with pytest.raises(ConfigError, match="/adapt/a/encoders_text"):
        built(data, config=dataclasses.replace(config, adapt=lora))


def test_a_quantized_encoder_is_refused_for_what_it_is(data, tmp_path, quick):
    config = with_tokens(data, f"train.feature_cache.text={tmp_path}")
    base = {"base": Spec("quantized", form="int8", block=4, targets=("^encoders_text/.*/query$",))}
    with pytest.raises(ConfigError, match=r"adapt\.base has others in place") as error:
        built(data, config=dataclasses.replace(config, adapt=base))
    assert "trained" not in str(error.value)


def test_a_mesh_keeps_what_one_device_keeps(data, tmp_path, monkeypatch):
    tiny_run.numpy_start(monkeypatch)
    stores = []
    for count in (1, 8):
        devices = jax.local_devices()[:count]
        monkeypatch.setattr(jax, "devices", lambda *_, devices=devices: devices)
        one = built(data, f"train.feature_cache.text={tmp_path / str(count)}")
        assert one.mesh.size == count
        one.state = one.plan.make()
        one.features.fill(one.state)
        stores.append(one.dataset.modalities["text"].stores[True])
    assert stores[0].folder.name == stores[1].folder.name
    for name, array in stores[0].arrays.items():
        np.testing.assert_allclose(stores[1].arrays[name], array, atol=1e-6, err_msg=name)


def test_other_weights_and_other_rows_have_other_names(data, tmp_path, quick):
    one = built(data, f"train.feature_cache.text={tmp_path}")
    state = one.plan.make()
    part, rows = one.features.parts[0], np.sort(one.dataset.rows("train"))
    own = state.params["encoders_text"]
    other = state.replace(
        params={**state.params, "encoders_text": jax.tree.map(lambda x: x + 1, own)}
    )
    names = {
        part._folder(state, rows, True),
        part._folder(other, rows, True),
        part._folder(state, rows[1:], True),
    }
    assert len(names) == 3
    assert part._folder(one.plan.make(), rows, True) in names


def test_what_a_step_takes_is_told_of_the_features(data, tmp_path, quick):
    config = tiny_run.config(data, *STILL, f"train.feature_cache.text={tmp_path}")
    raw, kept = (
        memory_of_step(one, prepare(one.data)).arguments
        for one in (tiny_run.config(data, *STILL), config)
    )
    # Eight rows of 48 numbers and masks, against eight vectors of 8.
    assert kept < raw
    sections = {name: rows for name, _, rows in describe_config(config)}
    told = {row[0] for row in sections["batch"]}
    assert "text.pooled" in told
    assert not list(tmp_path.iterdir())
