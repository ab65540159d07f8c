"""Find the rows of an index that are nearest to a text, a picture, a sound or a video.

mmjax embed RUN --out embeddings.npz
mmjax search RUN --index embeddings.npz --query "a red car"
mmjax search RUN --index embeddings.npz --query car.png --plot nearest.png

A query that names a media file goes to the run's modality of that kind, any other to its text.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--index", required=True, help="the .npz that mmjax embed wrote")
    parser.add_argument("--query", required=True, help="a text, or the path of a media file")
    parser.add_argument("--top", type=int, default=10, help="how many rows; 10 unless given")
    parser.add_argument("--modality", help="what the query is, where its kind does not say")
    parser.add_argument("--space", help="the array to search; fused, or the pictures', if left out")
    parser.add_argument("--metric", choices=("cosine", "dot"), default="cosine")
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="by a graph that is kept beside the index; needs faiss (mmjax[search])",
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    parser.add_argument("--plot", metavar="PNG", help="draw the pictures of what was found")
    parser.add_argument("--data", help="the manifest of the index; the run's own data if left out")
    parser.add_argument("--root", help="the folder that its media paths are relative to")


def run(args: argparse.Namespace) -> int:
    import json

    from mmjax.api import drawing
    from mmjax.api.embeddings import Embeddings
    from mmjax.api.run import load_run
    from mmjax.core.files import atomic
    from mmjax.writers.console import say, table

    found = load_run(args.run_folder)
    index = Embeddings.of(args.index)
    results = found.search(
        index,
        args.query,
        top=args.top,
        modality=args.modality,
        space=args.space,
        metric=args.metric,
        approximate=args.approximate,
    )
    if args.plot is not None:
        dataset = found.dataset(args.data, root=args.root)
        picture = drawing.sheet_of(
            found, dataset, results, query=args.query, modality=args.modality
        )
        with atomic(args.plot, "wb") as file:
            file.write(picture)
    if args.json:
        say(json.dumps({"query": args.query, "results": results}, ensure_ascii=False))
        return 0
    rows = [[one["rank"], str(one["id"]), one["similarity"]] for one in results]
    say(f"{args.query}: nearest of {len(index)} rows")
    table(rows, ["rank", "id", args.metric])
    if args.plot is not None:
        say(f"plot  {args.plot}")
    return 0
