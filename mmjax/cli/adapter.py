"""Save the adapters of a run alone, as PEFT's LoRA, or merged; or put saved ones onto a run.

mmjax adapter RUN OUT                     adapters and what was trained with them, a few MB
mmjax adapter RUN OUT --only              adapters alone, without the head
mmjax adapter RUN OUT --name text --peft  one LoRA of a pretrained encoder, as PEFT loads it
mmjax adapter RUN OUT --merge             a run that predicts the same without adapters
mmjax adapter RUN OUT --put FOLDER        a run with what any of these (or PEFT) saved in FOLDER
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("out", metavar="OUT", help="a new folder")
    parser.add_argument(
        "--name", action="append", default=None, help="only this adapter of the config's `adapt`"
    )
    parser.add_argument("--only", action="store_true", help="leave out what is no adapter")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--peft", action="store_true", help="write what PEFT reads")
    form.add_argument("--merge", action="store_true", help="write a run")
    form.add_argument("--put", metavar="FOLDER", help="write a run with these adapters")
    parser.add_argument("--modality", help="the one that a folder of PEFT is for, of several")


def run(args: argparse.Namespace) -> int:
    from mmjax.api import adapters
    from mmjax.api.run import load_run
    from mmjax.writers.console import say

    found = load_run(args.run_folder)
    if args.merge:
        say(f"{adapters.merge(found, args.out)}: a run without adapters")
        return 0
    if args.put:
        made = adapters.put(found, args.put, args.out, modality=args.modality)
        say(f"{made}: a run with the adapters of {args.put}")
        return 0
    form: adapters.Form = "peft" if args.peft else "mmjax"
    folder = adapters.save(found, args.out, names=args.name, trained=not args.only, form=form)
    size = sum(path.stat().st_size for path in folder.iterdir())
    say(f"{folder}: {size / 2**20:.2f} MiB")
    return 0
