"""Train a student on what a teacher says: fewer modalities, a smaller model, unlabelled rows.

mmjax distill TEACHER --modality image --workdir RUN            the teacher's own picture model
mmjax distill TEACHER --config student.py --workdir RUN model.encoders.text.width=64
mmjax distill TEACHER --config same.py --unlabelled more.csv --confidence 0.9 --workdir RUN

Both are of one task: classification, multi-label or regression. RUN is a run like any other, which
needs no teacher; stopped on the way, it goes on with --resume.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("teacher", metavar="TEACHER", help="a run folder")
    parser.add_argument("settings", nargs="*", default=[], metavar="dotted.key=value")
    parser.add_argument("--config", help="the student's")
    parser.add_argument("--modality", help="in place of a config: the teacher's, this one alone")
    parser.add_argument("--workdir", required=True, help="the student's run folder")
    parser.add_argument("--weight", type=float, default=0.5, help="of the teacher in the loss")
    parser.add_argument("--temperature", type=float, default=2.0, help="of both, softened")
    parser.add_argument("--unlabelled", help="a manifest of further training rows without labels")
    parser.add_argument(
        "--confidence", type=float, default=0.9, help="the least probability of their answers"
    )
    parser.add_argument("--root", help="the folder that their media paths are relative to")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")


def run(args: argparse.Namespace) -> int:
    from mmjax.api.distilling import distill
    from mmjax.api.run import load_run
    from mmjax.api.training import single_modality
    from mmjax.cli import summary
    from mmjax.core import config as config_lib
    from mmjax.train.config_file import load_config

    teacher, modality = load_run(args.teacher), args.modality
    config = load_config(args.config, args.settings) if args.config else None
    if config is None and modality in teacher.config.model.encoders:
        config = config_lib.override(single_modality(teacher.config, modality), args.settings)
        modality = None
    made = distill(
        teacher,
        args.workdir,
        config,
        modality=modality,
        weight=args.weight,
        temperature=args.temperature,
        unlabelled=args.unlabelled,
        confidence=args.confidence,
        root=args.root,
        resume=args.resume,
    )
    summary.finished(made)
    return 0
