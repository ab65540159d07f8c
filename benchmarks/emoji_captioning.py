"""Names written for the drawings of unseen concepts, beside the names of the nearest ones.

python -m benchmarks.emoji_captioning --seeds 0 1 2 --runs runs/emoji_captioning

Each seed trains `configs/emoji_captioning.py`, alone and beside tags and groups (a run that is
there already is taken as it is), and reads the test concepts once. What it is compared with is
retrieval on the same rows: the name of the training concept whose two drawings are nearest, by the
cosine of features that no training made (`benchmarks.picture_features`; which ones, the validation
rows choose by chrF; beside it, those that would have been best), and by that of the vectors of the
run's own encoder.
"""

from __future__ import annotations

import argparse
import dataclasses
import runpy
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mmjax
from benchmarks.machine import about
from benchmarks.picture_features import picture_features
from mmjax.api.run import Run
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, write_json
from mmjax.data.sources.emoji import Emoji
from mmjax.metrics import captions, exact_match, mean_and_spread
from mmjax.writers.console import say

RESULTS = Path(__file__).parent / "results"
CONFIG = Path(__file__).parents[1] / "configs" / "emoji_captioning.py"
METRICS = ("chrf", "exact_match", "bleu_1", "rouge_l", "cider")
DRAWINGS = ("twemoji", "noto")
WRITERS = {"written": False, "written, tags and groups learnt beside": True}
"""Whether the other tasks are learnt, of each way of writing."""
HINDSIGHT = "nearest by the features that suit the test rows best"
WAYS = ("nearest by features", HINDSIGHT, "nearest by the encoder", *WRITERS)


def judged(said: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """The metrics of names that are said, with those that are true."""
    found = {**captions(said, names), "exact_match": exact_match(said, names)}
    return {metric: found[metric] for metric in METRICS}


def nearest(vectors: np.ndarray, train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of each of `rows`, which of `train` is nearest by cosine; of equals, the first."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return train[(unit[rows] @ unit[train].T).argmax(axis=1)]


def retrieved(
    spaces: Mapping[str, np.ndarray], names: Sequence[str], split: np.ndarray
) -> dict[str, Any]:
    """The space that the validation rows choose, what it gives on the test rows, and `most`, what
    the best one for them would have.
    """
    rows = {part: np.flatnonzero(split == part) for part in ("train", "validation", "test")}

    def score(space: str, part: str) -> dict[str, float]:
        said = [names[i] for i in nearest(spaces[space], rows["train"], rows[part])]
        return judged(said, [names[i] for i in rows[part]])

    validation = {space: score(space, "validation")["chrf"] for space in spaces}
    best = max(validation, key=lambda space: validation[space])
    test = {space: score(space, "test") for space in spaces}
    most = max(test.values(), key=lambda found: found["chrf"])
    return {"space": best, "validation chrf": validation, "test": test[best], "most": most}


def features(table: Any, train: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Of each concept the features of both drawings, each kind of length 1, and all together."""
    pictures = np.concatenate([np.stack(table.column(name)) for name in DRAWINGS]) / 255.0
    pictures = pictures.astype(np.float32)
    known = pictures[np.concatenate([train, train + len(pictures) // 2])]
    made = {}
    for name, one in picture_features(pictures, known, seed=seed).items():
        centred = one - one.mean(axis=0)
        centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
        made[name] = np.concatenate(np.split(centred, len(DRAWINGS)), axis=1)
    return {**made, "all": np.concatenate(list(made.values()), axis=1)}


def run_of(
    folder: Path, seed: int, changes: Sequence[str], *, beside: bool
) -> tuple[Run, float | None]:
    """The run of a seed, trained if it is not there, and the processor seconds that took."""
    if (folder / "metrics.json").is_file():
        return mmjax.load_run(folder), None
    made = runpy.run_path(str(CONFIG))["get_config"](beside=beside)
    config = config_lib.override(made, list(changes))
    start = time.process_time()
    run = mmjax.train(dataclasses.replace(config, seed=seed), folder)
    return run, round(time.process_time() - start, 1)


def measure(folder: Path, seed: int, changes: Sequence[str]) -> dict[str, Any]:
    """A record of one seed."""
    table = Emoji().read()
    split = np.array(table.column("split"))
    names = [str(name) for name in table.column("name")]
    train = np.flatnonzero(split == "train")
    plain = retrieved(features(table, train, seed), names, split)
    rows = np.flatnonzero(split == "test")
    true = [names[row] for row in rows]
    seconds: dict[str, float | None] = {}
    texts: dict[str, list[str]] = {}
    for way, beside in WRITERS.items():
        one = folder.with_name(f"{folder.name}_beside") if beside else folder
        run, seconds[way] = run_of(one, seed, changes, beside=beside)
        found = {
            int(row["id"]): row["name"] if beside else row for row in run.predict(split="test")
        }
        texts[way] = [str(found[row]["text"]) for row in rows.tolist()]
    own = run.embed()
    order = np.argsort([int(one) for one in own["ids"]])
    learnt = retrieved({"encoder": own["image"][order]}, names, split)
    examples = list(zip(true, texts["written"], strict=True))[:: max(1, len(rows) // 12)]
    return {
        "seed": seed,
        "changes": list(changes),
        "processor seconds": seconds,
        "nearest by features": plain,
        HINDSIGHT: {"test": plain["most"]},
        "nearest by the encoder": learnt,
        **{way: {"test": judged(said, true)} for way, said in texts.items()},
        "examples": examples,
    }


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`{way: {metric: {"mean", "std"}}}` over seeds, of the test rows."""
    summary: dict[str, Any] = {}
    for way in (one for one in WAYS if all(one in run for run in runs)):
        summary[way] = {}
        for metric in METRICS:
            mean, deviation = mean_and_spread([run[way]["test"][metric] for run in runs])
            std = deviation if len(runs) > 1 else None
            summary[way][metric] = {"mean": mean, "std": std}
    return summary


def to_markdown(result: Mapping[str, Any]) -> str:
    """The table, and below it where and when it was measured."""

    def cell(found: Mapping[str, float | None]) -> str:
        return f"{found['mean']:.3f}" + ("" if found["std"] is None else f" ± {found['std']:.3f}")

    changed = sorted({one for run in result["runs"] for one in run["changes"]})
    lines = [
        f"| name | {' | '.join(METRICS)} |",
        f"|---|{'---:|' * len(METRICS)}",
        *(
            f"| {way} | {' | '.join(cell(row[metric]) for metric in METRICS)} |"
            for way, row in result["summary"].items()
        ),
        "",
        "389 unseen concepts, both drawings of each; chrF from 0 to 100. Seeds "
        f"{', '.join(str(run['seed']) for run in result['runs'])}"
        f"{'; changed: ' + ', '.join(changed) if changed else ''}; {result['device']}, "
        f"{result['cores']} cores of {result['cpu']}, Python {result['python']}, {result['date']}: "
        "`python -m benchmarks.emoji_captioning`.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.emoji_captioning", description=__doc__)
    parser.add_argument("changes", nargs="*", help="settings of the config, as dotted.key=value")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/emoji_captioning"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    result: dict[str, Any] = {**about(), "runs": []}
    for seed in args.seeds:
        result["runs"].append(measure(args.runs / f"seed_{seed}", seed, args.changes))
        result["summary"] = summarise(result["runs"])
        say(result["runs"][-1])
        write_json(args.out / "emoji_captioning.json", result)
        with atomic(args.out / "emoji_captioning.md") as file:
            file.write(to_markdown(result))
    say(to_markdown(result))


if __name__ == "__main__":
    main()
