"""One self-contained HTML page a run, and its plots.

`write_report(folder, ReportContents(...))` writes `report.html` and `plots/*.png`. The page loads
nothing, runs no script, and shows every text that came from data as text; tables have captions,
pictures are told, and what can be pointed at can be reached by the keyboard. A section whose
contents are not given is left out. `robustness.draw` draws a plot that is no page's: scores as
inputs are made worse.

To add a section: a file whose function returns its markup, a field of `ReportContents`, and a line
in `page.py`.
"""

from mmjax.report.contents import Example, Explained, ReportContents, Slice
from mmjax.report.embedding_map import EmbeddingMap
from mmjax.report.examples import choose_examples
from mmjax.report.page import write_report
from mmjax.report.searches import Hit, Query, Seen, Way

__all__ = [
    "EmbeddingMap",
    "Example",
    "Explained",
    "Hit",
    "Query",
    "ReportContents",
    "Seen",
    "Slice",
    "Way",
    "choose_examples",
    "write_report",
]
