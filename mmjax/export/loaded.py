"""An exported folder as a program that answers: what the serving room runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export as jax_export

from mmjax.core.errors import CheckpointError, ConfigError, nearest
from mmjax.export import folder as folders
from mmjax.export.inputs import Bucket, Inputs
from mmjax.export.pointer import pointed
from mmjax.export.program import Example, Input, Output, Prepared, Result
from mmjax.tasks.answers import from_data
from mmjax.tasks.answers.base import Answers

_STEPS = ("begin", "proceed")


class Exported:
    """A `program.Program` of an exported folder.

    Parameters go to the default device at once, and nothing is read of the folder after that; a
    program is compiled when a batch size of its bucket is first asked for.
    """

    def __init__(self, opened: folders.Opened):
        found = opened.manifest
        self._opened = opened
        self._found = found
        self._platform = _platform(found["platforms"], opened.path)
        self._inputs = inputs_of(opened)
        self._answers: Answers = from_data(found["answers"])
        self._described = self._inputs.described()
        self._parameters = _parameters(opened.path / folders.PARAMETERS)
        # Read now: what is compiled later is what was checked.
        self._steps = {tuple(one["bucket"]): one for one in found.get("steps", ())}
        files = [one["file"] for one in found["programs"]]
        files += [one[name] for one in self._steps.values() for name in _STEPS]
        self._content = {one: (opened.path / one).read_bytes() for one in files}
        self._exported: dict[str, Any] = {}
        self._compiled: dict[tuple[Bucket, int | str], Any] = {}
        self._lock = threading.Lock()
        self._files = {
            (tuple(one["bucket"]), one["size"]): one["file"] for one in found["programs"]
        }
        self.outputs = tuple(
            Output(one["name"], one["dtype"], tuple(one["shape"])) for one in found["outputs"]
        )

    def __repr__(self) -> str:
        return f"Exported({str(self._opened.path)!r}: {self.task}, {self.variant})"

    @property
    def name(self) -> str:
        return self._found["name"]

    @property
    def digest(self) -> str:
        return self._opened.digest

    @property
    def task(self) -> str:
        return self._found["task"]

    @property
    def variant(self) -> str:
        """How the parameters are stored."""
        return self._found["variant"]

    @property
    def inputs(self) -> tuple[Input, ...]:
        return self._described

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(getattr(self._answers, "names", ()))

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self._found["metadata"]

    @property
    def platforms(self) -> tuple[str, ...]:
        """Those that it was exported for."""
        return tuple(self._found["platforms"])

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        return tuple(self._found["batch_sizes"])

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        return self._inputs.buckets

    @property
    def compiles(self) -> int:
        return len(self._compiled)

    @property
    def streams(self) -> bool:
        return bool(self._steps)

    def prepare(self, example: Example, *, paths: bool = False) -> Prepared:
        return self._inputs.prepare(example, paths=paths)

    def run(self, prepared: Sequence[Prepared]) -> list[Result]:
        if not prepared:
            return []
        bucket = prepared[0].bucket
        if any(one.bucket != bucket for one in prepared):
            raise ConfigError(
                106,
                f"items of {len({one.bucket for one in prepared})} buckets in one batch",
                fix="run each bucket by itself",
            )
        size = next((one for one in self.batch_sizes if one >= len(prepared)), None)
        if size is None:
            raise ConfigError(
                106,
                f"{len(prepared)} items in one batch",
                fix=f"{self.batch_sizes[-1]} or fewer",
            )
        assert isinstance(bucket, tuple)
        fields = self._inputs.collate(prepared, bucket, size)
        found = jax.device_get(self._program(bucket, size)(self._parameters, fields))
        arrays = {name: np.asarray(value)[: len(prepared)] for name, value in found.items()}
        texts = {name: [one.texts[name] for one in prepared] for name in prepared[0].texts}
        answers = self._answers.decode(arrays, texts)
        return [
            Result({name: value[row] for name, value in arrays.items()}, answer)
            for row, answer in enumerate(answers)
        ]

    def predict(self, example: Example, *, paths: bool = True) -> dict[str, Any]:
        """The answer for one raw item, whose media may be paths: as `Run.predict_one`."""
        return dict(self.run([self.prepare(example, paths=paths)])[0].answer)

    def warm_up(self) -> None:
        for bucket in self.buckets:
            for size in self.batch_sizes:
                self._program(bucket, size)
            for name in _STEPS if bucket in self._steps else ():
                self._program(bucket, name)

    def stream(self, prepared: Prepared) -> Iterator[str]:
        """The text a piece at a time, each as soon as no later token can change it; the whole in
        one piece where beams are searched, whose texts change.

        Raises ConfigError for a task that writes none.
        """
        bucket = prepared.bucket
        assert isinstance(bucket, tuple)
        if bucket not in self._steps:
            answer = self.run([prepared])[0].answer
            if not isinstance(answer.get("text"), str):
                raise ConfigError(109, f"'{self.task}' writes no text", fix="ask for the answer")
            yield answer["text"]
            return
        fields = self._inputs.collate([prepared], bucket, 1)
        found = self._program(bucket, "begin")(self._parameters, fields)
        told = ""
        while True:
            ids, count, going = jax.device_get((found["ids"], found["count"], found["going"]))
            text = self._answers.spell(ids[0, :count].tolist())  # type: ignore[attr-defined]
            settled = text if not going else _settled(text)
            if len(settled) > len(told) and settled.startswith(told):
                yield settled[len(told) :]
                told = settled
            if not going:
                return
            found = self._program(bucket, "proceed")(self._parameters, found["state"])

    def _program(self, bucket: Bucket, size: int | str) -> Any:
        """Compiled for so many rows, or for a step of one text."""
        with self._lock:
            if (bucket, size) not in self._compiled:
                self._compiled[bucket, size] = self._compile(bucket, size)
            return self._compiled[bucket, size]

    def _compile(self, bucket: Bucket, size: int | str) -> Any:
        if isinstance(size, str):
            return self._compile_step(bucket, size)
        file = self._files.get((bucket, None)) or self._files.get((bucket, size))
        if file is None:
            raise ConfigError(
                106,
                f"no program for bucket {list(bucket)} and {size} rows",
                fix=nearest(str(list(bucket)), (str(list(one)) for one in self.buckets)),
            )
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
            (self._parameters, self._inputs.collate([], bucket, size)),
        )
        return jax.jit(self._read(file).call).lower(*shapes).compile()

    def _compile_step(self, bucket: Bucket, name: str) -> Any:
        program = self._read(self._steps[bucket][name])
        args, named = jax.tree.unflatten(program.in_tree, program.in_avals)
        assert not named
        # The cache is written where it is: nobody looks at the state of the step before.
        donated = (1,) if name == "proceed" else ()
        shapes = jax.tree.map(lambda one: jax.ShapeDtypeStruct(one.shape, one.dtype), args)
        return jax.jit(program.call, donate_argnums=donated).lower(*shapes).compile()

    def _read(self, file: str) -> Any:
        if file not in self._exported:
            self._exported[file] = jax_export.deserialize(bytearray(self._content.pop(file)))
        return self._exported[file]


def load(folder: str | os.PathLike) -> Exported:
    """The model in an exported folder, or in the one that a pointer names (`pointer.py`), every
    file of it checked first.

        program = mmjax.export.load("exported")
        program.predict({"text": "red apple", "image": "a.png"})

    Needs jax, NumPy, safetensors, tokenizers and Pillow (SoundFile for sounds) alone, but for
    processors that say otherwise in the card. Raises CheckpointError for a folder that is damaged,
    not whole, of a newer format, or for other platforms than this machine's.
    """
    return Exported(opened(folder))


def opened(folder: str | os.PathLike) -> folders.Opened:
    """An exported folder, or the one that a pointer names, every file of it checked, none loaded.

    Raises CheckpointError for a folder that is damaged, not whole or of a newer format.
    """
    return folders.opened(pointed(folder) if Path(folder).is_file() else folder)


def inputs_of(opened: folders.Opened) -> Inputs:
    """What a folder's model takes, with its processors."""
    found = opened.manifest
    return Inputs.load(
        found["modalities"],
        opened.path / folders.PROCESSORS,
        lengths=found["lengths"],
        required=found["required"],
    )


def _settled(text: str) -> str:
    """What the next tokens leave as it is: a tokenizer may join them to the last word, and half a
    character is not known yet.
    """
    return text.rpartition(" ")[0] if " " in text else text.rstrip("\ufffd")


def _parameters(path: Path) -> dict[str, jax.Array]:
    from safetensors import safe_open

    # The numpy reader knows no bfloat16; the flax one gives jax arrays, and needs jax alone.
    with safe_open(str(path), framework="flax") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _platform(platforms: Sequence[str], path: Path) -> str:
    here = jax.default_backend()
    known = {"gpu": "cuda"}.get(here, here)
    if known not in platforms:
        raise CheckpointError(
            663,
            f"the model was exported for {', '.join(platforms)}, this machine computes on {known}",
            where=str(path),
            fix=f"export it with --platforms {','.join([*platforms, known])}, or set JAX_PLATFORMS",
        )
    return known
