"""Convert a Hugging Face folder or hub id to an Orbax checkpoint with config and processor files.

`mmjax.load_pretrained(OUT)` reads it. `OUT/conversion.json` tells what became of every weight.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="HF_FOLDER", help="a folder or hub id; folder#part too")
    parser.add_argument("out", metavar="OUT", help="a new folder")
    parser.add_argument("--part", help="one side of a model that has several, such as vision")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="float32 if left out"
    )


def run(args: argparse.Namespace) -> int:
    from mmjax.api.pretrained import convert
    from mmjax.writers.console import say

    encoder = convert(args.source, args.out, dtype=args.dtype, part=args.part)
    say(f"{args.out}: {encoder.spec.name} from {encoder.model_type}, {encoder.report.format}")
    say(encoder.report.summary())
    return 0
