"""Exports of every kind of task beside their runs, and on a GPU beside this machine's processor.

python -m benchmarks.exported table [--run RUN]     writes results/exported.{json,md}
python -m benchmarks.exported save FOLDER           programs, inputs and answers for the next
python -m benchmarks.exported check FOLDER          writes results/exported_gpu.{json,md}

`table` exports a small model of each task, with numbers drawn at random for parameters, and takes
the largest difference of any prediction from what the run says of the same rows; of a trained RUN
(`mmjax train configs/quickstart.py`) it has the metrics and sizes of f32, bf16 and int8, and how
long importing, loading and the first answer take in a new process once compilation is cached.

`save` needs all of mmjax, and `check` only what serving needs (jax, numpy, safetensors, tokenizers,
pillow, xxhash): the folder is carried to the machine with the GPU. With NVIDIA_TF32_OVERRIDE=0 the
products of matrices are taken in float32, as on a processor.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ROWS = 4

_FIRST = """
import json, sys, time
began, cpu = time.perf_counter(), time.process_time()
import mmjax
program = mmjax.export.load(sys.argv[1])
program.run([program.prepare(json.loads(sys.argv[2]))])
print(json.dumps([time.perf_counter() - began, time.process_time() - cpu]))
"""


def _cases(folder: Path) -> Iterator[tuple[str, Any, Any]]:
    """Each task with a run of it, and the rows of `tests/export/tiny_models.py`."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "export")]
    import tiny_models

    for name, case in tiny_models.cases(folder).items():
        if "text" in case["modalities"]:
            text = case["modalities"]["text"]
            case["modalities"]["text"] = text.replace(lengths=())
        run = tiny_models.made(folder / name / "run", case)
        frame = tiny_models.frame()
        items = [tiny_models.item(frame, row, run) for row in range(ROWS)]
        yield name, run, (frame, items)


def _apart(found: Any, expected: Any) -> float:
    """The largest difference, over the larger of 1 and the largest number."""
    import numpy as np

    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    known = np.isfinite(expected)
    scale = max(1.0, float(np.abs(expected[known]).max(initial=0.0)))
    return float(np.abs(found[known] - expected[known]).max(initial=0.0)) / scale


def table(
    run: str | None, only: Sequence[str], keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """What `results/exported.json` holds; `keep` is given it after each task."""
    import mmjax
    from benchmarks.machine import about

    rows: list[dict[str, Any]] = []
    known = {**about(), "xla_flags": os.environ.get("XLA_FLAGS", ""), "rows": ROWS}
    with tempfile.TemporaryDirectory() as place:
        for name, one, (frame, items) in _cases(Path(place)):
            if only and name not in only:
                continue
            began = time.process_time()
            evaluation = one.evaluate_dataset(one.dataset(frame), "all")
            out = one.export(
                Path(place) / name / "out", batch_sizes=(ROWS,), platforms=("cpu",), measure=False
            )
            program = mmjax.export.load(out)
            found = program.run([program.prepare(item) for item in items])
            differences = {
                output: max(
                    _apart(result.arrays[output], evaluation.predictions[output][row])
                    for row, result in enumerate(found)
                )
                for output in found[0].arrays
                if output in evaluation.predictions
                and found[0].arrays[output].shape == evaluation.predictions[output][0].shape
            }
            rows.append(
                {
                    "task": name,
                    "outputs": sorted(found[0].arrays),
                    "largest_difference": max(differences.values()),
                    "streams": program.streams,
                    "cpu_seconds": round(time.process_time() - began, 1),
                }
            )
            print(rows[-1], flush=True)
            keep({**known, "tasks": rows})
        trained = {} if run is None else {"trained": _trained(run, Path(place))}
    return {**known, "tasks": rows, **trained}


def _trained(run: str, place: Path) -> dict[str, Any]:
    """A trained run in each variant, and its first answer in a new process."""
    import mmjax
    from mmjax.export import folder as folders

    found: dict[str, Any] = {"run": Path(run).name, "variants": {}}
    for variant in ("f32", "bf16", "int8"):
        out = mmjax.export(run, place / variant, variant=variant, batch_sizes=(1, 8))
        program = mmjax.export.load(out)
        found["variants"][variant] = {
            "bytes": (out / folders.PARAMETERS).stat().st_size,
            "metrics": {k: v for k, v in program.metadata["metrics"].items() if "/" not in k},
        }
    text = next(one.name for one in program.inputs if one.kind == "text")
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(place / "cache")}
    environment |= {
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    command = [sys.executable, "-c", _FIRST, str(place / "f32"), json.dumps({text: "red apple"})]
    times = [
        json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
        for _ in range(4)
    ]
    names = ("wall_seconds", "cpu_seconds")
    found["first_answer"] = {
        "cold": dict(zip(names, times[0], strict=True)),
        "warm": {name: min(one[at] for one in times[1:]) for at, name in enumerate(names)},
    }
    return found


def save(folder: Path, only: Sequence[str]) -> None:
    """Programs for the processor and CUDA, a batch of each, and what the processor says."""
    import jax
    import numpy as np

    import mmjax

    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        for name, run, (_, items) in _cases(Path(place)):
            if only and name not in only:
                continue
            out = run.export(
                folder / name, batch_sizes=(ROWS,), platforms=("cpu", "cuda"), measure=False
            )
            program = mmjax.export.load(out)
            prepared = [program.prepare(item) for item in items]
            bucket = prepared[0].bucket
            fields = program._inputs.collate(prepared, bucket, ROWS)
            said = jax.device_get(program._program(bucket, ROWS)(program._parameters, fields))
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(fields)]
            np.savez(
                folder / f"{name}.npz",
                **{f"given/{at:03d}": leaf for at, leaf in enumerate(leaves)},
                **{f"said/{output}": value for output, value in said.items()},
            )
            print(name, flush=True)


def check(folder: Path) -> dict[str, Any]:
    """What `results/exported_gpu.json` holds: each program executed here."""
    import jax
    import numpy as np

    import mmjax

    rows = []
    for path in sorted(folder.glob("*.npz")):
        program = mmjax.export.load(folder / path.stem)
        (bucket,) = program.buckets
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        given = [arrays[name] for name in sorted(arrays) if name.startswith("given/")]
        tree = jax.tree.structure(program._inputs.collate([], bucket, ROWS))
        fields = jax.tree.unflatten(tree, given)
        began = time.perf_counter()
        compiled = program._program(bucket, ROWS)
        seconds = time.perf_counter() - began
        said = jax.device_get(compiled(program._parameters, fields))
        differences = {name: _apart(value, arrays[f"said/{name}"]) for name, value in said.items()}
        rows.append(
            {
                "task": path.stem,
                "largest_difference": max(differences.values()),
                "compile_seconds": round(seconds, 2),
            }
        )
        print(rows[-1], flush=True)
    device = jax.devices()[0]
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "device": f"{jax.device_count()} x {device.platform} ({device.device_kind})",
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "tf32": os.environ.get("NVIDIA_TF32_OVERRIDE") != "0",
        "rows": ROWS,
        "tasks": rows,
    }


def as_markdown(result: dict[str, Any]) -> str:
    """The tables of a result."""
    said = [
        f"Measured on {result['device']}, {result['date']}, over {result['rows']} rows a task: the "
        "largest difference of a prediction from that of the run, over 1 or the largest number."
    ]
    if "load_average" in result:
        said.append(
            f"{result['cores']} cores, load average {result['load_average']:.0f} at its start: "
            "processor seconds tell more than seconds."
        )
    columns = [name for name in ("largest_difference", "streams") if name in result["tasks"][0]]
    head = ["task", *(name.replace("_", " ") for name in columns)]
    lines = [head, ["---"] * len(head)]
    for one in result["tasks"]:
        lines.append([one["task"], *(_shown(one[name]) for name in columns)])
    parts = ["# Exported programs", *said, _lines(lines)]
    trained = result.get("trained")
    if trained:
        variants = trained["variants"]
        names = sorted({name for one in variants.values() for name in one["metrics"]})
        lines = [["", *variants], ["---"] * (len(variants) + 1)]
        sizes = [f"{one['bytes'] / 1e6:.2f} MB" for one in variants.values()]
        lines.append(["parameters", *sizes])
        for name in names:
            lines.append([name, *(f"{one['metrics'][name]:.4f}" for one in variants.values())])
        warm = trained["first_answer"]["warm"]
        parts += [
            f"## The run {trained['run']}, test rows",
            _lines(lines),
            f"Import, load and first answer with the compilation cache warm: "
            f"{warm['wall_seconds']:.2f} s ({warm['cpu_seconds']:.2f} processor seconds); with "
            f"nothing cached {trained['first_answer']['cold']['wall_seconds']:.2f} s.",
        ]
    return "\n\n".join(parts) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:.1e}"


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("table", "save", "check"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--run", help="a trained run, for `table`")
    parser.add_argument("--only", nargs="*", default=[], help="these tasks alone")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.what != "table" and args.folder is None:
        parser.error("FOLDER is missing")
    if args.what == "save":
        save(args.folder, args.only)
        return
    name = "exported" if args.what == "table" else "exported_gpu"
    args.out.mkdir(parents=True, exist_ok=True)

    def keep(result: dict[str, Any]) -> None:
        (args.out / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
        (args.out / f"{name}.md").write_text(as_markdown(result))

    keep(table(args.run, args.only, keep) if args.what == "table" else check(args.folder))


if __name__ == "__main__":
    main()
