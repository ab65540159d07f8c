"""Where a run's numbers go: metrics.jsonl, trackers, and the terminal.

- `build_writers(("jsonl", "tensorboard"), folder)` makes one `MultiWriter` of registered writers.
  Trackers run beside the training thread and may fail; metrics.jsonl is part of the run.
- `Progress` is the live bar (or a line now and then where nobody looks), `table` the summary.

To add a writer: a file with a dataclass that extends `Writer`, and a line in `config.py`.
"""

from mmjax.writers.config import WriterSpec, writers
from mmjax.writers.console import table
from mmjax.writers.jsonl import JsonLines, read_records
from mmjax.writers.multi import MultiWriter, build_writers
from mmjax.writers.progress import Progress
from mmjax.writers.writer import Writer

__all__ = [
    "JsonLines",
    "MultiWriter",
    "Progress",
    "Writer",
    "WriterSpec",
    "build_writers",
    "read_records",
    "table",
    "writers",
]
