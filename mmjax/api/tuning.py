"""What a task chooses on the validation rows once it is trained, such as thresholds."""

from __future__ import annotations

import dataclasses
from typing import Any

from mmjax.api.run import Run
from mmjax.data.dataset import Dataset
from mmjax.train.evaluate import Evaluation


def tuned(run: Run, validation: Evaluation, dataset: Dataset) -> Evaluation:
    """The evaluation on the validation rows under what the task chooses on them.

    The run folder keeps it (`tuned.json`), and the run goes by it from now on. Metrics on these
    very rows are better than they would be on others.
    """
    task: Any = run.module.task
    found = task.tune(validation.predictions, validation.targets) if validation.targets else {}
    if not found:
        return validation
    run.folder.write_tuned(task.target, found)
    for name in ("facts", "module"):
        vars(run).pop(name, None)
    task = run.module.task
    texts = {"texts": dataset.texts(validation.rows)} if task.needs_texts else {}
    measured = task.evaluate(validation.predictions, validation.targets, **texts)
    return dataclasses.replace(validation, metrics={**validation.metrics, **measured})
