"""Make a run a self-contained folder that can be served: program, parameters, model card.

mmjax export RUN OUT
mmjax export RUN OUT --variant int8 --lengths text=16,64 --license apache-2.0

The folder holds one program for CPU, CUDA and TPU at once, the parameters as safetensors, what
makes arrays of raw items, label names, a model card, and the sha256 of every file. Where the run's
data is still there, the metrics of its test rows go into the card, as trained and as stored, and a
few rows are answered by both.

mmjax export RUN OUT --encoder text

With --encoder, OUT is one tuned encoder alone, in the form of the Hugging Face folder that it began
from; with --onnx, an ONNX file of the model alone, checked with ONNX Runtime.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("out", metavar="OUT", help="a folder that is not there yet")
    parser.add_argument(
        "--variant",
        choices=("f32", "bf16", "int8"),
        default="f32",
        help="parameters as trained, as bfloat16, or matrices as int8",
    )
    parser.add_argument("--platforms", default="cpu,cuda,tpu")
    parser.add_argument("--batch-sizes", help="such as 1,8,32")
    parser.add_argument(
        "--lengths",
        action="append",
        default=[],
        metavar="MODALITY=N,N",
        help="shorter lengths that a batch of texts may be padded to; may be repeated",
    )
    parser.add_argument("--data", help="what to measure on; the run's own test rows if left out")
    parser.add_argument("--root", help="the folder that media paths are relative to")
    parser.add_argument("--no-measure", action="store_true", help="write without measuring")
    parser.add_argument("--name", help="what the model is called; the run folder's name if not")
    parser.add_argument(
        "--encoder", metavar="MODALITY", help="its encoder alone, for transformers to load"
    )
    parser.add_argument("--onnx", action="store_true", help="an ONNX file in place of a folder")
    parser.add_argument(
        "--by", nargs="+", metavar="COLUMN", help="groups of rows that the card compares"
    )
    parser.add_argument(
        "--attention",
        action="store_true",
        help="also give what the model looks at in a picture, which the served page shows",
    )
    parser.add_argument(
        "--onnx-rows", type=int, metavar="N", help="its batch size; any where the model allows it"
    )
    parser.add_argument("--license", default="not stated", help="for the model card")


def run(args: argparse.Namespace) -> int:
    from mmjax.api.exporting import export
    from mmjax.export import folder as folders
    from mmjax.writers.console import say

    if args.encoder is not None:
        from mmjax.api.handing_back import save_encoder

        say(f"{save_encoder(args.run_folder, args.encoder, args.out)}")
        return 0
    if args.onnx:
        from mmjax.api.exporting_onnx import export_onnx

        say(f"{export_onnx(args.run_folder, args.out, rows=args.onnx_rows)}")
        return 0
    out = export(
        args.run_folder,
        args.out,
        variant=args.variant,
        platforms=[one.strip() for one in args.platforms.split(",") if one.strip()],
        batch_sizes=None if args.batch_sizes is None else _numbers(args.batch_sizes),
        lengths={name: _numbers(value) for name, value in map(_named, args.lengths)},
        data=args.data,
        root=args.root,
        measure=not args.no_measure,
        name=args.name,
        license=args.license,
        by=args.by,
        attention=args.attention,
    )
    say(f"{out}  {folders.size_of(out) / 1e6:.1f} MB, card {out / folders.CARD}")
    return 0


def _named(text: str) -> tuple[str, str]:
    from mmjax.core.errors import ConfigError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(105, f"'{text}'", where="--lengths", fix="write text=16,64")
    return name, value


def _numbers(text: str) -> list[int]:
    from mmjax.core.errors import ConfigError

    parts = [one.strip() for one in text.split(",")]
    if not all(one.isdecimal() for one in parts):
        raise ConfigError(105, f"'{text}' are no numbers", fix="write them as 1,8,32")
    return [int(one) for one in parts]
