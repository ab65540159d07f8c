import io
import json

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data import describe as description
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.manifest import read
from mmjax.data.schema import infer
from mmjax.data.splits import make_splits

ROWS = 60
LABELS = ["cat", "dog", "owl"] * (ROWS // 3)


def _wav(seed):
    samples = np.random.default_rng(seed).normal(0, 0.1, 400)
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format="WAV")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    for i in range(ROWS):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / f"{i}.png")
    return tmp_path


@pytest.fixture
def frame():
    random = np.random.default_rng(0)
    words = ["red", "big", "old", "wet", "shy"]
    return pd.DataFrame(
        {
            "row_id": [f"r{i:03d}" for i in range(ROWS)],
            "review": [" ".join(random.choice(words, 6)) + f" {i}" for i in range(ROWS)],
            "photo": [f"{i}.png" for i in range(ROWS)],
            "price": random.normal(size=ROWS),
            "colour": random.choice(["red", "green"], ROWS),
            "notes": [{"a": 1}] * ROWS,
            "same": ["x"] * ROWS,
            "species": LABELS,
        }
    )


class TestInfer:
    def test_everything_from_a_frame(self, frame, folder):
        schema = infer(read(frame, folder), "species")
        assert schema.modalities == {
            "text": Spec("text", column="review"),
            "image": Spec("image", columns=("photo",)),
            "table": Spec("table", numbers=("price",), categories=("colour",)),
        }
        assert schema.targets == {"label": Spec("category", column="species")}
        assert schema.split == SplitConfig(stratify="species")
        assert schema.id_column == "row_id"
        assert schema.warnings == ()
        kinds = {column.name: column.kind for column in schema.columns}
        assert kinds == {
            "row_id": "identifier",
            "review": "text",
            "photo": "image",
            "price": "number",
            "colour": "category",
            "notes": "ignored",
            "same": "ignored",
            "species": "category",
        }

    def test_sounds_and_videos_are_inputs_where_the_caller_has_encoders(self, frame):
        frame["cry"] = [_wav(i) for i in range(ROWS)]
        frame["2nd cry"] = frame["cry"]
        frame["clip"] = [np.full((3, 4, 4, 3), i, np.uint8) for i in range(ROWS)]
        table = read(frame[["cry", "2nd cry", "clip", "price", "species"]])
        schema = infer(table, "species", inputs=("audio", "video", "number"))
        assert schema.modalities == {
            "cry": Spec("audio", column="cry"),
            "audio_2nd_cry": Spec("audio", column="2nd cry"),
            "video": Spec("video", column="clip"),
            "table": Spec("table", numbers=("price",), categories=()),
        }
        config_lib.check(DataConfig(modalities=schema.modalities, targets=schema.targets))
        without = infer(table, "species")
        assert set(without.modalities) == {"table"}
        kinds = {column.name: (column.kind, column.reason) for column in without.columns}
        assert kinds["cry"][0] == "ignored"
        assert "no encoder is chosen for here" in kinds["cry"][1]
        with pytest.raises(ConfigError, match="no encoder is chosen for here"):
            infer(table, "species", kinds={"cry": "audio"})
        frame.loc[0, "cry"] = b"RIFF\x00\x00\x00\x00WAVEfmt "
        with pytest.raises(DataError, match=r"MMX-413.*'cry' was taken for sounds.*damaged"):
            infer(read(frame), "species", inputs=("audio",), kinds={"photo": "ignored"})

    def test_the_config_is_valid_and_splits(self, frame, folder):
        table = read(frame, folder)
        schema = infer(table, "species")
        config = config_lib.check(
            DataConfig(
                modalities=schema.modalities,
                targets=schema.targets,
                split=schema.split,
                id_column=schema.id_column,
            )
        )
        json.dumps(config_lib.to_json(config))
        assert sum(map(len, make_splits(table, config.split).values())) == ROWS

    def test_lines_say_what_and_why(self, frame, folder):
        lines = infer(read(frame, folder), "species").lines()
        text = "\n".join(lines)
        assert all("\n" not in line for line in lines)
        for name in frame.columns:
            assert any(line.startswith(name) for line in lines)
        assert "structured cells" in text
        assert "3 classes in 60 rows" in text
        assert "made, 80/10/10 % train/validation/test, stratified by 'species', seed 0" in text
        assert "rows are named by: row_id" in text

    def test_every_choice_can_be_overridden(self, frame, folder):
        schema = infer(
            read(frame, folder),
            "colour",
            kinds={"photo": "ignored", "species": "text", "price": "category"},
            split=SplitConfig(group="species"),
            id_column="review",
        )
        assert schema.modalities == {
            "text": Spec("text", column="species"),
            "table": Spec("table", numbers=(), categories=("price",)),
        }
        assert schema.split.group == "species"
        assert schema.id_column == "review"
        assert "you said so" in "\n".join(schema.lines())

    def test_several_texts_and_pictures(self, folder):
        reviews = [f"one two three {i}" for i in range(ROWS)]
        table = read(
            {
                "front.view": [f"{i}.png" for i in range(ROWS)],
                "back": [f"{ROWS - 1 - i}.png" for i in range(ROWS)],
                "pros & cons": reviews,
                "image": reviews,
                "2nd²": reviews,
                "!": reviews,
                "評価": reviews,
                "y": LABELS,
            },
            folder,
        )
        assert infer(table, "y").modalities == {
            "pros_cons": Spec("text", column="pros & cons"),
            "image_text": Spec("text", column="image"),
            "text_2nd": Spec("text", column="2nd²"),
            "text": Spec("text", column="!"),
            "評価": Spec("text", column="評価"),
            "image": Spec("image", columns=("front.view", "back")),
        }

    def test_the_embedded_set(self):
        schema = infer(read("emoji"), "group")
        assert schema.modalities["text"] == Spec("text", column="name")
        assert schema.modalities["image"] == Spec("image", columns=("twemoji", "noto"))
        assert schema.split.column == "split"
        assert schema.id_column == "index"
        (warning,) = schema.warnings
        assert "'subgroup' has 98 values that each determine the label 'group'" in warning
        assert "subgroup" in schema.modalities["table"].options["categories"]

    def test_a_one_to_one_column_is_kept_with_a_warning(self):
        table = read({"t": ["a", "b", "a", "b"] * 9, "code": [1, 2, 1, 2] * 9, "y": [*"pqpq"] * 9})
        schema = infer(table, "y", kinds={"t": "ignored"})
        assert schema.modalities["table"].options["categories"] == ("code",)
        assert "'code' is one to one with the label 'y'" in schema.warnings[0]
        assert any(line.startswith("warning: 'code'") for line in schema.lines())

    @pytest.mark.parametrize(
        ("override", "error", "message"),
        [
            ({"kinds": {"reviw": "text"}}, DataError, "did you mean 'review'"),
            ({"kinds": {"review": "txt"}}, ConfigError, "did you mean 'text'"),
            ({"kinds": {"species": "text"}}, ConfigError, "it is the label"),
            ({"label": "speces"}, DataError, "did you mean 'species'"),
            ({"id_column": "colour"}, DataError, "occur more than once"),
            ({"split": SplitConfig(column="splt")}, DataError, "no column 'splt'"),
        ],
    )
    def test_names_that_are_none(self, frame, folder, override, error, message):
        with pytest.raises(error, match=message):
            infer(read(frame, folder), **{"label": "species", **override})

    def test_nothing_to_learn_from(self):
        with pytest.raises(DataError, match=r"learnt from.*x: every cell is 'a'"):
            infer(read({"x": ["a"] * 6, "y": [*"pqr"] * 2}), "y")


class TestPictures:
    def test_a_missing_file_names_row_path_and_nearest(self, frame, folder):
        frame.loc[17, "photo"] = "17.pgn.png"
        with pytest.raises(DataError) as caught:
            infer(read(frame, folder), "species")
        message = str(caught.value)
        assert "'photo' was taken for pictures" in message
        assert "no file '17.pgn.png'" in message
        assert "where: frame:17:photo" in message
        assert "did you mean '17.png'" in message
        assert "kinds={'photo': 'ignored'}" in message

    def test_a_frame_without_a_root_asks_for_one(self, frame):
        with pytest.raises(DataError, match=r"give root="):
            infer(read(frame), "species")

    def test_a_damaged_file_and_damaged_bytes(self, frame, folder):
        Image.effect_noise((64, 64), 50).save(folder / "3.png")
        (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:1000])
        with pytest.raises(DataError, match=r"damaged.*frame:3:photo"):
            infer(read(frame, folder), "species")
        with pytest.raises(DataError, match="frame:0:photo"):
            infer(read(frame.assign(photo=[b"nothing"] * ROWS)), "species")

    def test_some_may_fail_if_asked_but_not_most(self, frame, folder):
        for i in range(ROWS // 3):
            (folder / f"{i}.png").unlink()
        schema = infer(read(frame, folder), "species", allow_bad_images=True)
        assert schema.modalities["image"] == Spec("image", columns=("photo",))
        for i in range(ROWS // 3, ROWS):
            (folder / f"{i}.png").unlink()
        with pytest.raises(DataError, match=r"0\.png"):
            infer(read(frame, folder), "species", allow_bad_images=True)

    def test_an_ignored_column_is_not_opened(self, frame):
        schema = infer(read(frame), "species", kinds={"photo": "ignored"})
        assert "image" not in schema.modalities

    def test_addresses_are_refused_and_not_text(self, frame):
        frame["photo"] = [f"https://example.org/{i}.png" for i in range(ROWS)]
        with pytest.raises(DataError, match="has a scheme"):
            infer(read(frame, "."), "species")


class TestLabels:
    def test_whole_numbers_that_repeat_are_classes(self):
        table = read({"t": [f"a b c {i}" for i in range(60)], "y": [0.0, 1.0, 2.0] * 20})
        assert infer(table, "y").targets == {"label": Spec("category", column="y")}

    @pytest.mark.parametrize(
        "labels", [np.linspace(0, 1, 60).tolist(), [0.5, 1.5] * 30, [str(i) for i in range(60)]]
    )
    def test_quantities_are_predicted_as_numbers(self, labels):
        table = read({"t": [f"a b c {i}" for i in range(60)], "y": labels})
        found = infer(table, "y")
        assert found.targets == {"label": Spec("number", column="y")}
        assert found.split == SplitConfig()
        assert infer(table, "y", kinds={"y": "category"}).targets["label"].name == "category"

    @pytest.mark.parametrize("separator", [";", ",", "|", None])
    def test_sets_of_names_are_labels(self, separator):
        sets = [["red", "big"], ["red"], ["old", "big", "red"], ["old"], []] * 12
        cells = sets if separator is None else [f"{separator} ".join(one) for one in sets]
        table = read({"t": [f"a b c {i}" for i in range(60)], "y": cells})
        target = infer(table, "y").targets["label"]
        options = dict(target.options)
        assert target.name == "labels"
        assert options.pop("separator", None) == separator
        assert options.pop("missing", None) == (None if separator is None else "none")
        assert options == {"column": "y", "min_count": 2, "others": "ignore"}

    def test_names_with_commas_are_classes(self):
        for cells in (
            ["Paris, France", "Rome, Italy", "Oslo, Norway"] * 20,
            ["yes, it was good", "no", "hardly, if at all, I think"] * 20,
        ):
            table = read({"t": [f"a b c {i}" for i in range(60)], "y": cells})
            assert infer(table, "y").targets["label"].name == "category"

    def test_lists_of_fractions_are_numbers(self):
        table = read({"t": [f"a b c {i}" for i in range(60)], "y": [[0.5, i] for i in range(60)]})
        assert infer(table, "y").targets == {"label": Spec("number", column="y")}

    def test_only_the_label_is_a_set_of_labels(self, frame):
        with pytest.raises(ConfigError, match="'labels', and it is not the label"):
            infer(read(frame), "species", kinds={"colour": "labels"})
        with pytest.raises(ConfigError, match="valid: category, labels, number"):
            infer(read(frame), "species", kinds={"species": "text"})

    def test_labels_that_do_not_repeat(self):
        table = read({"t": [f"a b c {i}" for i in range(9)], "y": [f"l{i}" for i in range(9)]})
        with pytest.raises(DataError, match="9 different values in 9 rows"):
            infer(table, "y")

    def test_one_class(self):
        table = read({"t": ["a b c", "d e f"], "y": ["p", None]})
        with pytest.raises(DataError, match="1 different values"):
            infer(table, "y")

    def test_rows_without_a_label_are_counted(self):
        table = read({"t": [f"a b c {i}" for i in range(9)], "y": ["p", "q", None] * 3})
        assert "2 classes in 6 rows, and 3 rows without one" in "\n".join(infer(table, "y").lines())


class TestSplits:
    def table(self, name, cells):
        count = len(cells)
        return read(
            {"t": [f"a b c {i}" for i in range(count)], "y": ["p", "q"] * (count // 2)}
            | {name: cells}
        )

    def test_given(self):
        table = self.table("Split", ["train"] * 6 + ["dev"] * 2 + ["TEST"] * 2)
        schema = infer(table, "y")
        assert schema.split.column == "Split"
        assert {k: len(v) for k, v in make_splits(table, schema.split).items()} == {
            "train": 6,
            "validation": 2,
            "test": 2,
        }

    def test_a_missing_validation_is_made_from_training(self):
        table = self.table("fold", ["train"] * 90 + ["test"] * 10)
        schema = infer(table, "y")
        assert "validation made from its training rows" in "\n".join(schema.lines())
        sizes = {k: len(v) for k, v in make_splits(table, schema.split).items()}
        assert sizes == {"train": 80, "validation": 10, "test": 10}

    def test_a_typo_is_an_error_when_splitting(self):
        table = self.table("split", ["train"] * 6 + ["tset"] + ["test"] * 3)
        with pytest.raises(DataError, match="did you mean 'test'"):
            make_splits(table, infer(table, "y").split)

    def test_other_values_are_no_split(self):
        schema = infer(self.table("set", ["chess", "tea"] * 30), "y")
        assert schema.split.column is None
        assert schema.modalities["table"].options["categories"] == ("set",)


class TestDescribe:
    def test_counts_agree_with_pandas(self, frame, folder):
        frame.loc[3:8, "colour"] = None
        frame.loc[5, "price"] = np.nan
        found = description.describe(read(frame, folder))
        assert json.loads(json.dumps(found)) == found
        assert found["rows"] == ROWS
        for column in found["columns"]:
            if column["distinct"] is not None:
                series = frame[column["name"]]
                assert column["missing"] == series.isna().sum()
                assert column["distinct"] == series.nunique()
        assert found["modalities"]["text"] == {"name": "text", "column": "review"}

    def test_lines_hold_no_control_characters(self, tmp_path):
        path = tmp_path / "m.csv"
        path.write_text("a,b\n\x1b[31mred,1\n\x07bell,2\n")
        lines = description.lines(description.describe(read(path)))
        assert all(character.isprintable() for line in lines for character in line)
        assert any("\\x1b[31mred" in line for line in lines)

    def test_bad_rows_are_listed(self, tmp_path):
        path = tmp_path / "m.jsonl"
        path.write_text('{"a": 1}\nno\n')
        found = description.describe(read(path))
        assert found["bad_rows"] == 1
        assert "MMX-209" in found["bad"][0]
        assert found["bad"][0] in description.lines(found)

    def test_the_split_is_no_input(self):
        found = description.describe(read("emoji"))
        assert found["split"] == "split"
        assert found["modalities"]["table"]["categories"] == ["group", "subgroup"]
