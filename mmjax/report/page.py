"""Puts the page together and writes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mmjax.core.files import atomic
from mmjax.metrics import expected_calibration_error
from mmjax.report import (
    classes,
    data_tables,
    embedding_map,
    figures,
    numbers,
    precision_recall,
    results,
    retrieval,
    robustness,
    slices,
    subgroups,
    subsets,
)
from mmjax.report.contents import ReportContents
from mmjax.report.curves import panels, told
from mmjax.report.examples import cards
from mmjax.report.html import code, facts
from mmjax.report.pages import Section, frame, write_page

_PANEL_INCHES = (3.6, 2.8)
_SQUARE_INCHES = (3.8, 3.6)


def write_report(folder: str | Path, contents: ReportContents) -> Path:
    """Writes `<folder>/plots/*.png` and then `<folder>/report.html`; returns the latter's path.

    Each file is whole or absent. The page needs none of the others.
    """
    folder = Path(folder)
    page = render(contents)
    for name, data in _plots(contents).items():
        with atomic(folder / "plots" / f"{name}.png", "wb") as file:
            file.write(data)
    return write_page(folder / "report.html", page)


def render(contents: ReportContents) -> str:
    """The page as text."""
    return frame(
        contents.title,
        _sections(contents),
        folder=contents.run_folder,
        headline=results.headline(contents),
    )


def _sections(contents: ReportContents) -> list[Section]:
    """Those whose contents are not given have no markup."""
    several = len(contents.results) > 1
    scored = any(f"f1/{name}" in contents.metrics for name in contents.label_names)
    return [
        (
            "models",
            "Models compared" if several else "Metrics",
            results.comparison(contents) if several or contents.metric_intervals else None,
        ),
        ("paired", "Paired tests", contents.paired or None),
        ("curves", "Training", _curves(contents)),
        (
            "objectives",
            "Objectives",
            retrieval.objectives(contents.objectives) if contents.objectives else None,
        ),
        ("retrieval", "Retrieval", retrieval.ways(contents.ways) if contents.ways else None),
        (
            "queries",
            "Nearest rows",
            retrieval.queries(contents.queries) if contents.queries else None,
        ),
        ("classes", "Classes", classes.per_class(contents) if scored else None),
        (
            "confusion",
            "Confusion matrix",
            None if contents.confusion is None else classes.confusion(contents),
        ),
        ("calibration", "Calibration", _calibration(contents)),
        (
            "precision-recall",
            "Precision and recall",
            precision_recall.section(contents.precision_recall)
            if contents.precision_recall
            else None,
        ),
        ("numbers", "Predictions", numbers.predicted(contents) if contents.numbers else None),
        (
            "slices",
            "Slices",
            slices.section(
                contents.slices, contents.headline, contents.metrics.get(contents.headline)
            )
            if contents.slices
            else None,
        ),
        (
            "subgroups",
            "Subgroups",
            subgroups.section(contents.subgroups) if contents.subgroups else None,
        ),
        (
            "robustness",
            "Robustness",
            robustness.section(contents.robustness) if contents.robustness else None,
        ),
        (
            "modalities",
            "Modalities",
            subsets.section(contents.modalities) if contents.modalities else None,
        ),
        ("map", "Embedding map", embedding_map.section(contents.maps) or None),
        ("examples", "Examples", cards(contents.examples) if contents.examples else None),
        ("data", "Data", data_tables.section(contents)),
        ("costs", "Speed and memory", facts(contents.costs) if contents.costs else None),
        ("config", "Config", _config(contents)),
        ("environment", "Environment", facts(contents.environment) or None),
        ("usage", "Load this run", _usage(contents)),
    ]


def _curves(contents: ReportContents) -> str | None:
    drawn = [
        figures.svg(figures.curves(panel, contents.best_step), _PANEL_INCHES, told(panel))
        for panel in panels(contents.curves)
    ]
    if not drawn:
        return None
    best = ""
    if contents.best_step is not None:
        best = f"<p>Dashed: the step that was kept, {contents.best_step:,}.</p>"
    return f'<div class="figures">{"".join(f"<figure>{one}</figure>" for one in drawn)}</div>{best}'


def _calibration(contents: ReportContents) -> str | None:
    if contents.calibration is None or not np.sum(contents.calibration[0]):
        return None
    error = expected_calibration_error(contents.calibration)
    weight, confidence, correct = np.asarray(contents.calibration, np.float64).sum(axis=1)
    gap = (confidence - correct) / weight
    listed = facts(
        {
            "mean confidence": float(confidence / weight),
            "accuracy": float(correct / weight),
            "overconfident by" if gap > 0 else "underconfident by": float(abs(gap)),
            "expected calibration error": error,
        }
    )
    drawn = figures.svg(
        figures.reliability(contents.calibration), _SQUARE_INCHES, "Accuracy against confidence"
    )
    return (
        f'<div class="beside"><figure>{drawn}</figure><div>{listed}'
        "<p>One dot a bin of equal width, its area the rows in it. On the dashed line, confidence "
        "and accuracy agree; below it, the model is too sure.</p></div></div>"
    )


def _config(contents: ReportContents) -> str | None:
    if not contents.config:
        return None
    text = json.dumps(contents.config, indent=2, ensure_ascii=False, default=str)
    return f"<details><summary>Every setting, as JSON</summary>{code(text)}</details>"


def _usage(contents: ReportContents) -> str | None:
    return code("\n".join(contents.usage)) if contents.usage else None


def _plots(contents: ReportContents) -> dict[str, bytes]:
    found = {}
    drawn = panels(contents.curves)
    if drawn:
        draws = [figures.curves(panel, contents.best_step) for panel in drawn]
        found["curves"] = figures.png(draws, _PANEL_INCHES)
    names = contents.label_names
    if contents.confusion is not None:
        side = min(4 + 0.35 * len(names), 12)
        draw = figures.confusion(np.asarray(contents.confusion), names)
        found["confusion"] = figures.png([draw], (side, side))
    if contents.calibration is not None and np.sum(contents.calibration[0]):
        found["reliability"] = figures.png(
            [figures.reliability(contents.calibration)], _SQUARE_INCHES
        )
    scattered = numbers.panels(contents)
    if scattered:
        found["predictions"] = figures.png(scattered, numbers.PANEL_INCHES)
    scored = [name for name in names if f"f1/{name}" in contents.metrics]
    if scored:
        scores = [contents.metrics[f"f1/{name}"] for name in scored]
        height = 1.2 + 0.28 * min(len(scored), 60)
        found["per_class_f1"] = figures.png([figures.class_scores(scored, scores)], (6.4, height))
    return found
