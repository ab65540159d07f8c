"""What the micro-benchmarks share: their options, one core for all of them, and their results.

A script lists its default sizes, makes a `timing.Case` for each, and hands them to `run`; see
`benchmarks/fusion.py`. Sizes are written as letters of the dimension glossary with numbers:
`b4-n64-m197-d768-k12`. `JAX_PLATFORMS=cuda` or `tpu` runs the same script on an accelerator, timed
by the wall clock.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks import tables, timing
from benchmarks.machine import about
from mmjax.core.files import atomic, write_json
from mmjax.writers.console import say

RESULTS = Path(__file__).parent / "results"
PASSES = ("forward", "forward+backward")
_ALONE = "MMJAX_BENCHMARK_ON_ONE_CORE"


def restart_on_one_core() -> None:
    """Runs this program again on one core with one thread, where it runs on CPUs.

    The libraries count the cores when they are loaded, so it has to be settled before.
    """
    platform = os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if platform != "cpu" and "cpu" not in platform.split(","):
        # References in float64 are computed there.
        os.environ["JAX_PLATFORMS"] = f"{platform},cpu"
    if platform != "cpu" or _ALONE in os.environ:
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(threads, "1"), "XLA_FLAGS": flags.strip()}
    module = sys.modules["__main__"].__spec__
    program = ["-m", module.name] if module else [sys.argv[0]]
    sys.stdout.flush()
    os.execve(
        sys.executable, [sys.executable, *program, *sys.argv[1:]], {**environment, _ALONE: "1"}
    )


def parser(
    name: str,
    description: str | None,
    *,
    sizes: Sequence[str],
    backends: Sequence[str] = (),
    against: Sequence[str] = (),
    rounds: int = 15,
) -> argparse.ArgumentParser:
    """The options that all scripts have; a script may add its own."""
    found = argparse.ArgumentParser(
        prog=f"benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--sizes", nargs="+", default=list(sizes), help=f"such as {sizes[0]}")
    found.add_argument(
        "--dtype", nargs="+", default=["float32"], choices=sorted(timing.TOLERANCES), dest="dtypes"
    )
    if backends:
        found.add_argument(
            "--backend", nargs="+", default=list(backends), choices=backends, dest="backends"
        )

    found.set_defaults(against=())
    if against:
        found.add_argument(
            "--against", type=_names(against), help=f"with commas between: {', '.join(against)}"
        )
    found.add_argument("--passes", nargs="+", default=list(PASSES), choices=PASSES)
    found.add_argument("--rounds", type=int, default=rounds)
    found.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return found


def _names(valid: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(filter(None, text.split(",")))
        unknown = [one for one in names if one not in valid]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r}: choose from {', '.join(valid)}")
        return names

    return parse


def dimensions(size: str, letters: str) -> tuple[int, ...]:
    """The numbers of `b4-n64` in the order of `letters`; raises SystemExit if one is missing."""
    parts = dict(re.findall(r"(?:^|-)([a-z]+)(\d+)(?=-|$)", size))
    if sorted(parts) != sorted(letters.split()) or size.count("-") != len(parts) - 1:
        example = "-".join(f"{letter}8" for letter in letters.split())
        raise SystemExit(f"--sizes {size!r}: expected one such as {example}")
    return tuple(int(parts[letter]) for letter in letters.split())


def need_torch() -> Any:
    """torch with one thread; raises SystemExit with one line where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise SystemExit("--against torch: torch is not installed here (pip install mmjax[parity])")
    import torch

    if jax.default_backend() == "cpu":
        torch.set_num_threads(1)
    else:
        # As JAX's default, which rounds the factors of float32 products to TF32.
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    return torch


def torch_variant(name: str, call: Callable[[], Any], **details: Any) -> timing.Variant:
    """`call` computes with torch; the variant waits for a GPU to finish."""
    cuda = need_torch().cuda

    def wait(result: Any) -> None:
        if cuda.is_available():
            cuda.synchronize()

    return timing.Variant(name, call, wait, **details)


def sizes_of(on_cpu: Sequence[str], on_accelerators: Sequence[str]) -> Sequence[str]:
    """The default sizes of this platform: an accelerator needs more to be busy."""
    return on_cpu if jax.default_backend() == "cpu" else on_accelerators


def run(name: str, cases: Iterable[timing.Case], args: argparse.Namespace) -> dict[str, Any]:
    """Measures the cases one after the other; writes and shows what was found so far each time.

    Writes `<name>.json`, `<name>.md` and `<name>.svg` into `args.out`, with the platform in the
    name where that is not the CPU.
    """
    platform = jax.default_backend()
    stem = name if platform == "cpu" else f"{name}_{platform}"
    args.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        **about(),
        "clock": "processor seconds, one core" if platform == "cpu" else "wall",
        "rounds": args.rounds,
        "against": list(args.against),
        "peaks": timing.peaks(),
        "measured": [],
    }
    if "torch" in args.against:
        result["versions"] = {**result["versions"], "torch": need_torch().__version__}
    for case in cases:
        found = timing.measure(case, args.rounds)
        result["measured"] += found
        say(tables.case_lines(found, args.against))
        write_json(args.out / f"{stem}.json", result)
    with atomic(args.out / f"{stem}.md") as file:
        file.write(tables.to_markdown(result))
    tables.plot(result, args.out / f"{stem}.svg")
    return result
