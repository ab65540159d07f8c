"""Runs of every task that were never trained: NumPy's numbers are their parameters."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import PIL.Image
import reference

from mmjax.api.run import Run
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core import config as config_lib
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.pipeline import prepare
from mmjax.models.config import ModelConfig
from mmjax.parallel.sharding import unbox, variable_shardings
from mmjax.train.config import Config

ROWS = 12
WORDS = "Ada met Bob in Rome"
FILMS = {"film": ["f0", "f1", "f2", "f3", "f4"], "name": ["one", "two", "red", "blue", "sea"]}

_TEXT = Spec("text", column="words", vocab_size=80, max_length=12, offsets=True, lengths=(8,))
_TABLE = Spec("table", numbers=("weight",), categories=("place",))
_IMAGE = Spec("image", columns=("picture",), size=8, resize="squash")
_SEQUENCE = Spec("sequence", column="frames", max_length=8, step_seconds=0.5)
_ENCODERS = {
    "text": Spec("text_transformer", width=8, depth=1, heads=2, mlp_dim=8),
    "table": Spec("table", width=8, depth=0),
    "image": Spec("image_cnn", channels=(8,), blocks=(0,), stem=4, groups=4, width=8),
    "sequence": Spec("conv1d", channels=(8,)),
    "items": Spec("item_sequence", depth=0, width=8, mlp_dim=8, pooling="mean"),
}
_WRITER = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 8, "decoding": {"max_new_tokens": 4}}
_WRITTEN = Spec("text", column="said", tokenizer="characters", max_length=6)


def frame() -> dict[str, list[Any]]:
    """The columns that all of these runs read; the third row lacks a text, the fourth a number."""
    rng = np.random.default_rng(0)
    rows = range(ROWS)
    pictures = []
    for _ in rows:
        file = io.BytesIO()
        PIL.Image.fromarray(rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(file, "PNG")
        pictures.append(file.getvalue())
    return {
        "words": [None if i == 2 else f"{WORDS} {'and Paris ' * (i % 3)}" for i in rows],
        "weight": [None if i == 3 else float(i) for i in rows],
        "place": ["sea" if i % 2 else "land" for i in rows],
        "picture": pictures,
        "frames": [rng.normal(size=(3 + i % 5, 2)).tolist() for i in rows],
        "kind": [("yes", "no", "may")[i % 3] for i in rows],
        "feeling": [("negative", "neutral", "positive")[i % 3] for i in rows],
        "tags": [("a;b", "b", "a")[i % 3] for i in rows],
        "number": [float(i % 5) - 2 for i in rows],
        "spans": [[] if i == 2 else [[0, 3, "person"], [15, 19, "place"]] for i in rows],
        "ends": [None if i == 2 else {"head": [0, 3], "tail": [15, 19]} for i in rows],
        "events": [
            []
            if i == 2
            else [
                {
                    "start": 4,
                    "end": 7,
                    "type": "meet",
                    "arguments": [{"start": 0, "end": 3, "role": "who"}],
                }
            ]
            for i in rows
        ],
        "answers": [[] if i in (1, 2) else [[8, 11]] for i in rows],
        "said": ["ab" * (1 + i % 3) for i in rows],
        "grade": [i % 2 for i in rows],
        "asked": [f"q{i // 3}" for i in rows],
        "boxes": [[{"box": [1, 1, 5, 5], "label": "thing"}] for _ in rows],
        "when": [[[0.0, 1.0, "go"]] for _ in rows],
        "film": [FILMS["film"][i % 5] for i in rows],
        "watched": [[FILMS["film"][(i + 1) % 5]] for i in rows],
        "split": [("train", "train", "validation", "test")[i % 4] for i in rows],
    }


def _both(task: Spec, **target: Spec) -> dict[str, Any]:
    modalities = {"text": _TEXT, "table": _TABLE}
    return {"task": task, "targets": target, "modalities": modalities}


def cases(folder: Path) -> dict[str, dict[str, Any]]:
    """By the name of each task: modalities, targets and settings of a small run of it."""
    kind = Spec("category", column="kind")
    films = Spec("csv", path=str(_films(folder)))
    marks = Spec("marks", column="ends")
    item = Spec(
        "item",
        column="film",
        items=films,
        key="film",
        modalities={"name": Spec("text", column="name", vocab_size=40, max_length=4)},
    )
    history = Spec("items", column="watched", items=films, key="film", max_length=4)
    towers = Spec("two_tower", width=8, items={"name": _ENCODERS["text"]})
    several = {
        "kind": Spec("classification", target="kind"),
        "tags": _labels(),
        "number": Spec("regression", target="number", loss="quantile"),
        "spans": Spec("token_classification", target="spans"),
    }
    found = {
        "classification": _both(Spec("classification"), label=kind),
        "distilled_classification": _both(Spec("distilled_classification"), label=kind),
        "ordinal": _both(Spec("ordinal"), label=kind),
        "multi_label": _both(_labels("label"), label=_tags()),
        "distilled_multi_label": _both(
            _labels("label", name="distilled_multi_label"), label=_tags()
        ),
        "regression": _both(
            Spec("regression", loss="quantile"), label=Spec("number", column="number")
        ),
        "distilled_regression": _both(
            Spec("distilled_regression", loss="quantile"), label=Spec("number", column="number")
        ),
        "sentiment": _both(
            Spec("sentiment", heads={"text": 0.5}), label=Spec("number", column="number")
        ),
        "sentiment_classes": _both(
            Spec("sentiment_classes"), label=Spec("category", column="feeling")
        ),
        "several": _both(
            Spec("several", tasks=several),
            kind=kind,
            tags=_tags(),
            number=Spec("number", column="number"),
            spans=Spec("spans", column="spans"),
        ),
        "vqa": _both(Spec("vqa", top_k=2), label=Spec("answers", column="kind")),
        "answer_selection": _both(
            Spec("answer_selection"), label=Spec("relevance", column="grade", also=("asked",))
        ),
        "token_classification": _both(
            Spec("token_classification"), spans=Spec("spans", column="spans")
        ),
        "event_extraction": _both(
            Spec("event_extraction", hidden=8, target="label"),
            label=Spec("events", column="events"),
        ),
        "extractive_qa": _both(
            Spec("extractive_qa", text="text", n_best=2),
            label=Spec("answer_spans", column="answers", also=("words",)),
        ),
        "relation_extraction": {
            **_both(Spec("relation_extraction", hidden=8), label=kind),
            "modalities": {"text": _TEXT, "table": _TABLE, "marks": marks},
        },
        "anomaly": _both(
            Spec("anomaly", method="svdd", width=4, hidden=8, normal="yes"),
            label=Spec("category", column="kind", names=("yes", "no", "may")),
        ),
        "detection": {
            "task": Spec("detection", queries=4, depth=1, heads=2, mlp_dim=8, threshold=0.0),
            "targets": {"boxes": Spec("boxes", column="boxes", picture="picture", most=2)},
            "modalities": {"text": _TEXT, "image": _IMAGE},
        },
        "time_tagging": {
            "task": Spec("time_tagging", modality="sequence", hidden=8),
            "targets": {"segments": Spec("segments", column="when")},
            "modalities": {
                "sequence": _SEQUENCE.replace(train_part="same", evaluate_part="start"),
                "table": _TABLE,
            },
        },
        "speech_recognition_ctc": {
            "task": Spec("speech_recognition_ctc", speech="sequence", beams=2),
            "targets": {"label": _WRITTEN},
            "modalities": {"sequence": _SEQUENCE, "table": _TABLE},
        },
        "recommendation": {
            "task": Spec("recommendation", top=3, chunk=4, seen="items"),
            "targets": {"item": item},
            "modalities": {"table": _TABLE, "items": history},
            "fusion": towers,
        },
        "sequential_recommendation": {
            "task": Spec("sequential_recommendation", top=3, chunk=4, seen="items"),
            "targets": {"item": item},
            "modalities": {"items": history},
            "fusion": towers,
            "encoders": {
                "items": _ENCODERS["items"].replace(depth=1, heads=2, pooling="last"),
            },
        },
    }
    for name in (
        *("captioning", "dialogue", "generative_vqa", "summarization", "text_recognition"),
        *("translation", "speech_recognition"),
    ):
        found[name] = _both(Spec(name, **_WRITER), label=_WRITTEN)
    beams = {"num_beams": 2, "max_new_tokens": 4}
    found["translation"]["task"] = Spec("translation", **{**_WRITER, "decoding": beams})
    return found


def _labels(target: str = "tags", name: str = "multi_label") -> Spec:
    return Spec(name, target=target)


def _tags() -> Spec:
    return Spec("labels", column="tags", separator=";")


def _films(folder: Path) -> Path:
    rows = zip(*FILMS.values(), strict=True)
    path = folder / "films.csv"
    path.write_text("\n".join([",".join(FILMS), *map(",".join, rows), ""]))
    return path


def made(folder: Path, case: Mapping[str, Any], *, seed: int = 0) -> Run:
    """A run of a case, over `frame()`, without a checkpoint."""
    encoders = {
        name: _ENCODERS[name] for name in case["modalities"] if name in _ENCODERS
    } | case.get("encoders", {})
    whole = Config(
        data=DataConfig(
            source=Spec("frame"),
            modalities=case["modalities"],
            targets=case["targets"],
            split=SplitConfig(column="split"),
            batch_size=4,
            threads=1,
        ),
        model=ModelConfig(encoders=encoders, fusion=case.get("fusion", Spec("concat", width=8))),
        task=case["task"],
    )
    return drawn(folder, whole, frame(), seed=seed)


def drawn(folder: Path, whole: Config, rows: Mapping[str, list[Any]], *, seed: int = 0) -> Run:
    """A run of a config over rows, with parameters drawn at random and no checkpoint."""
    dataset = prepare(whole.data, frame=rows)
    place = RunFolder(folder).create()
    dataset.save(place.processors)
    place.write_facts(dataset.facts)
    place.write_config(config_lib.to_json(whole))
    run = Run(place.path)
    boxed = run._abstract(dataset)
    shardings = variable_shardings(boxed, run.mesh)
    variables = reference.random_like(unbox(boxed), seed=seed, scale=0.5)
    run._loaded = jax.device_put(variables, shardings), shardings
    return run


def item(columns: Mapping[str, list[Any]], row: int, run: Run) -> dict[str, Any]:
    """A row's raw item, with what the run reads."""
    return {name: columns[name][row] for name in run.columns_of({})}
