"""TensorFlow Datasets on disk, read without TensorFlow."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from mmjax.core.errors import DataError
from mmjax.core.registry import Spec
from mmjax.data.config import sources
from mmjax.data.manifest import source_for

TFDS_SCRIPT = """
import io, sys
import numpy as np, tensorflow_datasets as tfds
from PIL import Image

tfds.disable_progress_bar()

class Toy(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(None, None, 3)),
            "text": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=["red", "blue"]),
            "size": tfds.features.Scalar(np.float32),
            "sound": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "tags": tfds.features.Sequence(tfds.features.Text()),
        }))

    def _split_generators(self, manager):
        return {"train": self._generate_examples(5), "test": self._generate_examples(3)}

    def _generate_examples(self, count):
        for i in range(count):
            png = io.BytesIO()
            Image.fromarray(np.full((4, 5, 3), i, np.uint8)).save(png, "PNG")
            png.seek(0)
            yield i, {"image": png, "text": f"é {i}", "label": i % 2, "size": i / 2,
                      "sound": np.full(4, i, np.float32), "tags": ["a", "ü"][: i % 3]}

Toy(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    script = data_dir / "build.py"
    script.write_text(TFDS_SCRIPT)
    done = subprocess.run(
        [sys.executable, script, data_dir], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return data_dir


class TestTfds:
    def test_rows_without_tensorflow(self, data_dir):
        table = sources.build("tfds", dataset="toy", data_dir=str(data_dir)).read()
        assert "tensorflow" not in sys.modules
        assert (len(table), table.name) == (8, "toy/1.0.0")
        assert list(table.column("split")) == ["train"] * 5 + ["test"] * 3
        for i in range(8):
            row = table.row(i)
            number = int(row["text"].removeprefix("é "))
            assert row["label"] == ["red", "blue"][number % 2]
            assert row["size"] == number / 2
            assert row["tags"] == ["a", "ü"][: number % 3]
            np.testing.assert_array_equal(row["sound"], np.full(4, number, np.float32))
            assert row["image"].startswith(b"\x89PNG")
        assert sorted(table.column("text")[5:]) == ["é 0", "é 1", "é 2"]
        assert pickle.loads(pickle.dumps(table)).row(7)["image"] == table.row(7)["image"]

    def test_folders_splits_and_faults(self, data_dir):
        folder = str(data_dir / "toy" / "1.0.0")
        assert source_for(folder) == Spec("tfds", dataset=folder)
        table = sources.build("tfds", dataset=folder, splits=("test", "train[:2]")).read()
        assert list(table.column("split")) == ["test"] * 3 + ["train"] * 2
        whole = sources.build("tfds", dataset=folder).read()
        assert whole.fingerprint != table.fingerprint
        faults = [({"splits": ("trian",)}, "did you mean 'train'"), ({"dataset": "tyo"}, "tyo")]
        for options, message in faults:
            source = sources.build(
                "tfds", **{"dataset": "toy", "data_dir": str(data_dir), **options}
            )
            with pytest.raises(DataError, match=message) as caught:
                source.read()
            assert caught.value.code == 216
