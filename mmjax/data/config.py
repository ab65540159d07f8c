"""The settings of the data room, and its registries."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

from mmjax.core.registry import Registry, Spec

sources = Registry(
    "source",
    {
        "csv": "mmjax.data.sources.csv:Csv",
        "jsonl": "mmjax.data.sources.jsonl:JsonLines",
        "conll": "mmjax.data.sources.conll:Conll",
        "parquet": "mmjax.data.sources.parquet:Parquet",
        "frame": "mmjax.data.sources.frame:Frame",
        "webdataset": "mmjax.data.sources.webdataset:WebDataset",
        "arrayrecord": "mmjax.data.sources.array_record:ArrayRecord",
        "packed": "mmjax.data.sources.packed:Packed",
        "mixture": "mmjax.data.sources.mixture:Mixture",
        "tfds": "mmjax.data.sources.tfds:Tfds",
        "emoji": "mmjax.data.sources.emoji:Emoji",
        "emoji_names": "mmjax.data.sources.emoji_names:EmojiNames",
        "interactions": "mmjax.data.sources.interactions:Interactions",
        "generated_surveillance": (
            "mmjax.data.sources.generated_surveillance:GeneratedSurveillance"
        ),
        "movielens": "mmjax.data.sources.movielens:MovieLens",
        "movielens_items": "mmjax.data.sources.movielens:MovieLensItems",
        "av_mnist": "mmjax.data.sources.av_mnist:AvMnist",
        "digit_strings": "mmjax.data.sources.digit_strings:DigitStrings",
        "coco": "mmjax.data.sources.coco:Coco",
        "generated_shapes": "mmjax.data.sources.generated_shapes:GeneratedShapes",
        "easy_vqa": "mmjax.data.sources.easy_vqa:EasyVqa",
        "vader": "mmjax.data.sources.vader:Vader",
        "generated_finance": "mmjax.data.sources.generated_finance:GeneratedFinance",
        "generated": "mmjax.data.sources.generated:Generated",
        "generated_language": "mmjax.data.sources.generated_language:GeneratedLanguage",
        "generated_recommendation": (
            "mmjax.data.sources.generated_recommendation:GeneratedRecommendation"
        ),
        "generated_items": "mmjax.data.sources.generated_recommendation:GeneratedItems",
        "smartwatch": "mmjax.data.sources.smartwatch:Smartwatch",
    },
)

modalities = Registry(
    "modality",
    {
        "text": "mmjax.data.modalities.text:Text",
        "texts": "mmjax.data.modalities.texts:Texts",
        "dialogue": "mmjax.data.modalities.dialogue:Dialogue",
        "marks": "mmjax.data.modalities.marks:Marks",
        "packed_text": "mmjax.data.modalities.packed_text:PackedText",
        "image": "mmjax.data.modalities.image:Image",
        "table": "mmjax.data.modalities.table:TableRow",
        "audio": "mmjax.data.modalities.audio:Audio",
        "video": "mmjax.data.modalities.video:Video",
        "items": "mmjax.data.modalities.items:Items",
        "sequence": "mmjax.data.modalities.sequence:FeatureSequence",
        "volume": "mmjax.data.modalities.volume:Volume",
        "points": "mmjax.data.modalities.points:Points",
    },
)

_KINDS = {"texts": "text"}


def kind_of(modality: Spec) -> str:
    """What a modality is made of: of "texts", text."""
    return _KINDS.get(modality.name, modality.name)


targets = Registry(
    "target",
    {
        "category": "mmjax.data.targets.category:Category",
        "labels": "mmjax.data.targets.labels:Labels",
        "number": "mmjax.data.targets.number:Number",
        "vector": "mmjax.data.targets.vector:Vector",
        "item": "mmjax.data.targets.item:Item",
        "same": "mmjax.data.targets.same:Same",
        "answers": "mmjax.data.targets.answers:Answers",
        "answer_spans": "mmjax.data.targets.answer_spans:AnswerSpans",
        "relevance": "mmjax.data.targets.relevance:Relevance",
        "events": "mmjax.data.targets.events:Events",
        "spans": "mmjax.data.targets.spans:Spans",
        "boxes": "mmjax.data.targets.boxes:Boxes",
        "segments": "mmjax.data.targets.segments:Segments",
        "text": "mmjax.data.targets.text:WrittenText",
    },
)

SourceSpec = Annotated[Spec, sources]
ModalitySpec = Annotated[Spec, modalities]
TargetSpec = Annotated[Spec, targets]


@dataclasses.dataclass(frozen=True)
class SplitConfig:
    """Which rows train, which choose, which test.

    With `column`, its cells name the split (values are mapped by `names`: train, validation, test).
    Otherwise splits are made from `fractions` (train, validation, test), stratified by the target
    column `stratify` and never separating rows that share the value of `group`.
    """

    column: str | None = None
    names: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=lambda: {
            "train": ("train", "training"),
            "validation": ("validation", "valid", "val", "dev"),
            "test": ("test",),
        }
    )
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    stratify: str | None = None
    group: str | None = None
    seed: int = 0
    on_rare_class: Literal["warn", "raise"] = "warn"


@dataclasses.dataclass(frozen=True)
class Join:
    """Another source, joined to the rows by key, or by the time of each row.

    `on` names the key column in both (a left join; a key that occurs twice on the right is an
    error). With `time`, the right side is a stream with a timestamp column of that name, in
    seconds: `nearest` takes the closest row within `tolerance`, `window` all rows within
    `tolerance` as a list, `resampled` linear interpolation of its numeric columns.
    """

    source: SourceSpec
    on: str | None = None
    time: str | None = None
    rule: Literal["nearest", "window", "resampled"] = "nearest"
    tolerance: float = 0.0
    prefix: str = ""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How often each class trains, in proportion to (its rows)^power: 0 all alike, 1 as it comes.

    The classes are those of `column`, or of the column that splits are stratified by.
    """

    power: float = 0.0
    column: str | None = None


@dataclasses.dataclass(frozen=True)
class FewShot:
    """So many training rows of each class of `column`, or of the column that splits are stratified
    by, are all that train; other splits stay as they are.
    """

    rows: int = 16
    seed: int = 0
    column: str | None = None


FEW_ROWS = 200
"""Below this many rows the fraction of bad ones is no reason to stop."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Everything between a manifest and a global batch."""

    source: SourceSpec = Spec("emoji")
    joins: tuple[Join, ...] = ()
    modalities: Mapping[str, ModalitySpec] = dataclasses.field(default_factory=dict)
    targets: Mapping[str, TargetSpec] = dataclasses.field(default_factory=dict)
    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)
    id_column: str | None = None
    """The column that names a row in predictions; the row number if None."""
    batch_size: int = 64
    """Rows of one global training batch, over all hosts."""
    eval_batch_size: int | None = None
    """Rows of one global evaluation batch; `batch_size` if None."""
    threads: int = 4
    """Decoding threads of one process."""
    workers: int = 0
    """Decoding processes of one host; 0 decodes in this process. They are spawned, so a script that
    asks for some must start its work under `if __name__ == "__main__":`."""
    prefetch: int = 4
    """Batches made ahead."""
    on_bad_sample: Literal["raise", "quarantine"] = "raise"
    """What a damaged row does: stop, or be left out. To know them before training, `quarantine`
    decodes all media once at the start."""
    max_bad_fraction: float = 0.01
    """Quarantining more than this fraction (from 200 rows on) stops the run."""
    max_bad: int = 1000
    sampling: Sampling | None = dataclasses.field(default=None, metadata={"unsaid": "by default"})
    """Rare classes train more often than they come; as they come if None."""
    few_shot: FewShot | None = dataclasses.field(default=None, metadata={"unsaid": "by default"})
    """A few rows of each class train; all if None."""

    def allows_bad(self, bad: int, rows: int) -> bool:
        """Whether so many bad rows among so many may be left out."""
        return bad <= self.max_bad and (rows < FEW_ROWS or bad <= self.max_bad_fraction * rows)
