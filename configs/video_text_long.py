"""Video-text pretraining on long clips: 64 frames a clip, their tokens split over devices.

    mmjax train configs/video_text_long.py data.source.path=clips/captions.jsonl --workdir runs/long
    mmjax describe configs/video_text_long.py --sharding    # where every parameter lies

As `configs/video_text.py`, with eight times the tubelets, 1,568 of them. `mesh.sequence=4` gives
each of four devices a quarter of every clip's tokens in all layers; attention alone gathers keys
and values. The other devices split the batch and the state (`fsdp`). `mesh.overrides` keeps the
word vectors whole on every device: they are small, and each step looks a few of them up.

Meant for 8 accelerators with 40 GB or more; `mesh.fsdp` takes what is there. Whether a size fits is
said by `mmjax compile` before it is bought. Time and figures: not measured.
"""

import dataclasses
import runpy
from pathlib import Path

from mmjax.parallel.mesh import MeshConfig
from mmjax.train.config import Config


def get_config() -> Config:
    clips = runpy.run_path(str(Path(__file__).with_name("video_text.py")))["get_config"]()
    video = clips.data.modalities["video"].replace(frames=64)
    towers = clips.model.encoders
    return dataclasses.replace(
        clips,
        data=dataclasses.replace(
            clips.data, modalities={**clips.data.modalities, "video": video}, batch_size=64
        ),
        model=dataclasses.replace(
            clips.model,
            encoders={**towers, "video": towers["video"].replace(remat="full")},
            dtype="bfloat16",
        ),
        mesh=MeshConfig(
            data=1, fsdp=-1, sequence=4, overrides={"^/encoders_text/words/embedding$": ("",)}
        ),
    )
