"""Data for configs whose users bring their own, and how their models are made small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import goldens
import numpy as np
import PIL.Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230)}


def clips(folder: Path) -> list[str]:
    """24 clips of a coloured square that moves, and `captions.jsonl`."""
    lines = []
    for index in range(24):
        name, colour = list(COLOURS.items())[index % len(COLOURS)]
        right = index // len(COLOURS) % 2 == 0
        frames = np.full((8, 32, 32, 3), 128, np.uint8)
        for time, frame in enumerate(frames):
            left = 3 * time if right else 21 - 3 * time
            frame[10:20, left : left + 10] = colour
        path = folder / f"{index}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=8)
            stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        caption = f"a {name} square moves to the {'right' if right else 'left'}"
        lines.append(json.dumps({"clip": path.name, "caption": caption}))
    manifest = folder / "captions.jsonl"
    manifest.write_text("\n".join([*lines, ""]))
    parts = ("model.encoders.text", "model.encoders.video", "model.fusion")
    return [
        f"data.source.path={manifest}",
        "data.modalities.video.size=32",
        "data.modalities.video.frames=4",
        "data.split.fractions=[0.4,0.3,0.3]",
        *(change for part in parts for change in blocks(part)),
    ]


def blocks(part: str) -> list[str]:
    """One small block in place of a part's."""
    small = {"depth": 1, "width": 16, "heads": 2, "mlp_dim": 16}
    return [f"{part}.{key}={value}" for key, value in small.items()]


def cnn(part: str) -> list[str]:
    """As many stages and blocks as a part has, all narrow."""
    return [f"{part}.channels=[8,8,8]", f"{part}.width=8"]


def narrow(_: Path) -> list[str]:
    return ["model.encoders.text.width=8", *cnn("model.encoders.image"), "model.fusion.width=8"]


def objectives_together(_: Path) -> list[str]:
    return [
        "data.modalities.text.vocab_size=300",
        "data.modalities.pieces.vocab_size=300",
        "model.encoders.text.width=8",
        "model.encoders.pieces.width=8",
        *cnn("model.encoders.image"),
        *blocks("model.fusion"),
    ]


def bert(folder: Path) -> list[str]:
    """A BERT of two narrow layers in MiniLM's place, which reads letters."""
    letters = [chr(ord("a") + i) for i in range(26)]
    made = goldens.write_bert(folder / "bert", [*letters, *(f"##{one}" for one in letters[:19])])
    return [f"data.modalities.text.tokenizer={made}", f"model.pretrained.text={made}"]


def bert_and_pictures(folder: Path) -> list[str]:
    return [*bert(folder), *cnn("model.encoders.image")]


def questions(folder: Path) -> list[str]:
    """Four questions about each of 12 coloured pictures, as easy-VQA's package has them."""
    for split in ("train", "test"):
        (folder / split / "images").mkdir(parents=True)
        rows = []
        for index in range(12):
            name, colour = list(COLOURS.items())[index % len(COLOURS)]
            path = folder / split / "images" / f"{index}.png"
            PIL.Image.new("RGB", (64, 64), colour).save(path)
            for asked in COLOURS:
                answer = "yes" if asked == name else "no"
                rows.append([f"is there a {asked} shape?", answer, index])
            rows.append(["what color is the shape?", name, index])
        (folder / split / "questions.json").write_text(json.dumps(rows))
    return [f"data.source.folder={folder}"]


def small_questions(folder: Path) -> list[str]:
    return [
        *questions(folder),
        *blocks("model.encoders.question"),
        "data.modalities.image.size=16",
        "model.encoders.image.channels=[8,8]",
        "model.fusion.width=16",
    ]


def shallow(_: Path) -> list[str]:
    decoder = "objectives.masked_image.decoder"
    return [*blocks("model.encoders.image"), f"{decoder}_depth=1", f"{decoder}_width=16"]


def snippets(folder: Path) -> list[str]:
    """Thirty rated snippets of each domain, as the package's archive has them."""
    for name in ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets", "tweets"):
        lines = [f"{i}\t{i % 3 - 1}\tit was {('bad', 'so', 'fine')[i % 3]}\n" for i in range(30)]
        (folder / f"{name}_GroundTruth.txt").write_text("".join(lines))
    return [f"data.source.path={folder}"]


def yard(_: Path) -> list[str]:
    """Few scenes, and encoders of a few channels."""
    small = {"width": 8, "heads": 2, "mlp_dim": 8}
    return [
        "data.source.rows=48",
        *(f"model.encoders.video.{key}={value}" for key, value in small.items()),
        "model.encoders.audio.channels=[4,4]",
        "model.encoders.audio.width=8",
        "model.fusion.width=8",
        "task.hidden=8",
    ]


def frozen_bert(folder: Path) -> list[str]:
    return [*bert_and_pictures(folder), f"train.feature_cache.text={folder / 'features'}"]


def long_clips(folder: Path) -> list[str]:
    """For one device, whose tokens are not split."""
    return [*clips(folder), "mesh.sequence=0"]


MAKERS: dict[str, Callable[[Path], list[str]]] = {
    "easy_vqa": small_questions,
    "emoji_tags": narrow,
    "mae_image": shallow,
    "pretrain_emoji": objectives_together,
    "pretrain_emoji_minilm": bert_and_pictures,
    "quickstart": narrow,
    "quickstart_adapters": bert_and_pictures,
    "quickstart_balanced": narrow,
    "quickstart_flat": narrow,
    "quickstart_frozen": frozen_bert,
    "quickstart_lora": bert_and_pictures,
    "quickstart_minilm": bert_and_pictures,
    "quickstart_whole": bert_and_pictures,
    "sentiment": snippets,
    "scenario_surveillance": yard,
    "video_text": clips,
    "video_text_long": long_clips,
}
"""By the config's name: what writes data into a folder and returns changes of the config."""
