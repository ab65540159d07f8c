"""Whether explanations point at what carries the label, on generated rows where that is known.

    python -m benchmarks.explain_pointing

In each set one thing tells the label and the rest is noise: one word of eight, the colour of one
quarter of a picture, or the tone of one quarter of the frames of a spectrogram; where it stands is
drawn for every row. A fourth label is told by nothing: else a model may take one of three for
granted and rest on what is not there, which no place shows (so it was in 27 % of the rows with
words). A model of all three modalities is trained on each set, one by convolutions and a bag of
words, one by transformers that attend to all tokens. Of test rows with a label that is told, and
which it answers rightly, how often a method puts the modality that carries the label first, and how
often the word, or the quarter, of those of its modality.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.machine import about
from mmjax.core.files import atomic, write_json
from mmjax.core.types import Batch
from mmjax.encoders.audio_cnn import AudioCNN
from mmjax.encoders.bag_of_subwords import BagOfSubwords
from mmjax.encoders.image_cnn import ImageCNN
from mmjax.encoders.text_transformer import TextTransformer
from mmjax.encoders.vit import ViT
from mmjax.explain.attention import AttentionMaps
from mmjax.explain.attention_gradients import AttentionGradients
from mmjax.explain.base import Method
from mmjax.explain.grad_cam import GradCam
from mmjax.explain.gradients import Gradients
from mmjax.explain.hires_cam import HiResCam
from mmjax.explain.integrated_gradients import IntegratedGradients
from mmjax.explain.occlusion import Occlusion
from mmjax.explain.rollout import Rollout
from mmjax.explain.shapley import Shapley
from mmjax.explain.smooth_grad import SmoothGrad
from mmjax.explain.subject import Donors, Subject
from mmjax.explain.swaps import Swaps
from mmjax.fusion.concat import Concat
from mmjax.fusion.merged_attention import MergedAttention
from mmjax.models.multimodal import Multimodal
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import unbox
from mmjax.tasks.classification import Classification
from mmjax.writers.console import say

RESULTS = Path(__file__).resolve().parent / "results"
LABELS, WORDS, SIDE, FRAMES, BANDS = 3, 8, 16, 24, 8
VOCABULARY = 24
KINDS = {"text": "text", "image": "image", "audio": "audio"}
CARRIERS = tuple(KINDS)
BATCH = 64
MODALITY = {"shapley": Shapley(), "swaps": Swaps(donors=12)}
"""What says which modality matters; of the rest the sums over places do, where they add up."""
PLACES: dict[str, Method] = {
    "integrated_gradients": IntegratedGradients(steps=16),
    "occlusion": Occlusion(cells=4),
    "gradients": Gradients(),
    "smooth_grad": SmoothGrad(samples=8),
    "grad_cam": GradCam(),
    "hires_cam": HiResCam(),
    "attention_gradients": AttentionGradients(),
    "attention": AttentionMaps(),
    "rollout": Rollout(),
}
CLAIMS = ("shapley", "swaps", "integrated_gradients", "occlusion", "hires_cam")
"""Methods that claim to say what the answer rests on. Gradients are of small changes alone,
Grad-CAM is exact for heads that pool by the mean, and attention says where a model may look."""


def made(carrier: str, rows: int, seed: int) -> tuple[Batch, np.ndarray]:
    """Rows whose label one word or quarter of a modality tells, and which that is; with the
    last label none does.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, LABELS + 1, rows)
    ids = rng.integers(LABELS + 2, VOCABULARY, (rows, WORDS)).astype(np.int32)
    pixels = rng.normal(0, 0.3, (rows, SIDE, SIDE, 3)).astype(np.float32)
    sounds = rng.normal(0, 0.3, (rows, FRAMES, BANDS)).astype(np.float32)
    place = rng.integers(0, {"text": WORDS, "image": 4, "audio": 4}[carrier], rows)
    half, part, each = SIDE // 2, FRAMES // 4, BANDS // LABELS
    for row, (at, label) in enumerate(zip(place.tolist(), labels.tolist(), strict=True)):
        if label == LABELS:
            continue
        if carrier == "text":
            ids[row, at] = 2 + label
        elif carrier == "image":
            top, left = at // 2 * half, at % 2 * half
            pixels[row, top : top + half, left : left + half, label] += 1.5
        else:
            bands = slice(label * each, (label + 1) * each)
            sounds[row, at * part : (at + 1) * part, bands] += 1.5
    inputs = {
        "text": {"input_ids": ids, "attention_mask": np.ones((rows, WORDS), bool)},
        "image": {"pixel_values": pixels},
        "audio": {"input_features": sounds, "attention_mask": np.ones((rows, FRAMES), bool)},
    }
    here = {name: np.ones(rows, bool) for name in inputs}
    targets = {"label": labels.astype(np.int32)}
    return Batch(inputs, here, targets, np.ones(rows, bool), np.arange(rows)), place


def models() -> dict[str, Multimodal]:
    """One by convolutions, one by attention."""
    small = {"width": 16, "depth": 1, "heads": 2, "mlp_dim": 32}
    still = {"dropout": 0.0, "attention_dropout": 0.0}
    task = Classification(num_labels=LABELS + 1, label_names=("a", "b", "c", "none"))
    shared: dict[str, Any] = {"task": task, "modality_dropout": 0.3}
    return {
        "convolutions": Multimodal(
            encoders={
                "text": BagOfSubwords(vocab_size=VOCABULARY, width=16, combiner="sqrtn"),
                "image": ImageCNN(stem=2, channels=(16,), blocks=(0,), groups=4, width=16),
                "audio": AudioCNN(channels=(16,), width=16),
            },
            fusion=Concat(width=24),
            **shared,
        ),
        "attention": Multimodal(
            encoders={
                "text": TextTransformer(vocab_size=VOCABULARY, max_length=WORDS, **small, **still),
                "image": ViT(image_size=SIDE, patch=4, **small),
                "audio": AudioCNN(channels=(16,), width=16),
            },
            fusion=MergedAttention(width=16, heads=2, depth=1, mlp_dim=32),
            **shared,
        ),
    }


def trainer(module: Multimodal, steps: int) -> Callable[[str], Any]:
    """What gives parameters for a set, after so many steps of new rows each, since noise cannot be
    learnt by heart. One program for all sets.
    """
    optimizer = optax.adamw(optax.cosine_decay_schedule(1e-2, steps), weight_decay=0.02)
    start = jax.jit(functools.partial(module.init, train=False))
    first = unbox(start(jax.random.key(0), made(CARRIERS[0], BATCH, 0)[0]))["params"]

    @jax.jit
    def step(params: Any, state: Any, batch: Batch, key: Any) -> Any:
        def loss(params: Any) -> Any:
            rngs = {"dropout": key}
            return module.apply({"params": params}, batch, train=True, rngs=rngs).loss

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    def fit(carrier: str) -> Any:
        params, state = first, optimizer.init(first)
        for seed in range(steps):
            batch = made(carrier, BATCH, 10 + seed)[0]
            params, state = step(params, state, batch, jax.random.key(seed))
        return params

    return fit


def pieces(values: np.ndarray, carrier: str) -> np.ndarray:
    """The sums of what may carry the label: words, or quarters of the picture or the frames."""
    if carrier == "text":
        return values
    if carrier == "image":
        half = SIDE // 2
        return values.reshape(-1, 2, half, 2, half).sum(axis=(2, 4)).reshape(-1, 4)
    return values.reshape(len(values), 4, -1).sum(axis=2)


def donors_of(carrier: str) -> Donors:
    batch, _ = made(carrier, 32, 5)
    rows = len(batch.row)
    return Donors(np.zeros((rows, 1)), list(range(rows)), [""] * rows, batch)


def pointed(
    module: Multimodal, params: Any, carrier: str, rows: int, compiled: dict[Any, Any]
) -> dict[str, Any]:
    """Shares of the rows that are answered rightly in which each method points at the carrier.

    Programs are those of any set, kept in `compiled`.
    """
    batch, place = made(carrier, rows, 1)
    subject = Subject(
        module,
        {"params": params},
        make_mesh(MeshConfig(), jax.devices()[:1]),
        KINDS,
        {},
        donors=lambda: donors_of(carrier),
        _compiled=compiled,
    )
    device = jax.tree.map(jnp.asarray, batch)
    choice, _ = subject.chosen(device)
    labels = np.asarray(batch.targets["label"])
    right = np.asarray(choice) == labels
    found: dict[str, Any] = {"right": float(right.mean()), "methods": {}}
    right &= labels < LABELS
    for name, method in {**MODALITY, **PLACES}.items():
        if method.refuses(subject, device) is not None:
            continue
        clock = time.process_time()
        said = method(subject, device, choice)
        own: dict[str, Any] = {}
        if len(said.modalities) == len(KINDS):
            sizes = np.abs(np.stack([said.modalities[one] for one in CARRIERS]))
            first = sizes.argmax(axis=0) == CARRIERS.index(carrier)
            own["modality"] = float(first[right].mean())
        if carrier in said.parts:
            best = pieces(np.asarray(said.parts[carrier]), carrier).argmax(axis=1)
            own["place"] = float((best == place)[right].mean())
        own["processor seconds"] = round(time.process_time() - clock, 2)
        found["methods"][name] = own
    return found


def least_of_claims(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Of each method that claims to point, the smallest of its shares."""
    found = {}
    for name in CLAIMS:
        shares = [
            one[key]
            for carriers in sets.values()
            for own in carriers.values()
            for one in [own["methods"].get(name, {})]
            for key in ("modality", "place")
            if key in one
        ]
        found[name] = min(shares)
    return found


def to_markdown(result: Mapping[str, Any]) -> str:
    """A line a model and method: the share of rows in which it points at what carries the label."""
    names = [f"{carrier}, {what}" for carrier in CARRIERS for what in ("modality", "place")]
    lines = [f"| model | method | {' | '.join(names)} |", "|---|---|" + "---:|" * len(names)]
    for model, carriers in result["sets"].items():
        methods = dict.fromkeys(m for own in carriers.values() for m in own["methods"])
        for method in methods:
            cells = []
            for carrier in CARRIERS:
                own = carriers[carrier]["methods"].get(method, {})
                cells += [f"{own[k]:.1%}" if k in own else "-" for k in ("modality", "place")]
            told = f"**{method}**" if method in CLAIMS else method
            lines.append(f"| {model} | {told} | {' | '.join(cells)} |")
    rights = [own["right"] for carriers in result["sets"].values() for own in carriers.values()]
    least = ", ".join(f"{name} {share:.1%}" for name, share in result["least"].items())
    lines += [
        "",
        f"Of {result['rows']} generated rows a set, those that are answered rightly "
        f"({min(rights):.1%} or more): how often the modality that carries the label is put first, "
        "and the word of eight, quarter of the picture or of the frames in it. Methods "
        f"in bold claim to say what an answer rests on; the smallest share of each: {least}. "
        f"{result['cores']} cores of {result['cpu']}, jax {result['versions']['jax']}, "
        f"{result['date']}: `python -m benchmarks.explain_pointing`.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--models", nargs="*", default=list(models()))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    sets: dict[str, Any] = {}
    compiled: dict[Any, Any]
    for model in args.models:
        sets[model], compiled = {}, {}
        module = models()[model]
        fit = trainer(module, args.steps)
        for carrier in CARRIERS:
            sets[model][carrier] = pointed(module, fit(carrier), carrier, args.rows, compiled)
            say(f"{model}, {carrier}: {sets[model][carrier]}")
    result = {**about(), "rows": args.rows, "sets": sets, "least": least_of_claims(sets)}
    write_json(args.out / "explain_pointing.json", result)
    with atomic(args.out / "explain_pointing.md") as file:
        file.write(to_markdown(result))
    say(to_markdown(result))


if __name__ == "__main__":
    main()
