"""One run: from a config to a run folder, whole or resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mmjax.checkpoint.run_folder import RunFolder
from mmjax.checkpoint.store import Checkpoints
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, Preempted
from mmjax.core.failpoints import failpoint
from mmjax.core.files import read_json, write_json
from mmjax.core.types import Batch
from mmjax.data.dataset import Dataset
from mmjax.data.loader import Loader
from mmjax.data.pipeline import prepare
from mmjax.models.build import build_model
from mmjax.models.multimodal import Multimodal
from mmjax.parallel.mesh import check_batch_size, make_mesh
from mmjax.parallel.sharding import put_batch
from mmjax.train.config import Config
from mmjax.train.evaluate import Evaluation, evaluate
from mmjax.train.hooks import Hook, Log, Moment, Save, Validate
from mmjax.train.optim import make_optimizer, make_schedule
from mmjax.train.periods import Periods
from mmjax.train.resume import require_same_config, require_same_data
from mmjax.train.signals import StopSignals
from mmjax.train.state import TrainState, abstract, make_state
from mmjax.train.step import Step, make_evaluate, make_step
from mmjax.writers import Progress, build_writers

log = logging.getLogger(__name__)


def example_batch(dataset: Dataset, rows: int) -> Batch:
    """A batch of absent rows with the shapes of a real one: what initialisation needs."""
    empty = [None] * rows
    lengths = {
        name: one.padded_lengths[-1] if one.padded_lengths else None
        for name, one in dataset.modalities.items()
    }
    return Batch(
        inputs={n: one.collate(empty, lengths[n]) for n, one in dataset.modalities.items()},
        present={name: np.zeros(rows, bool) for name in dataset.modalities},
        targets={name: one.collate(empty) for name, one in dataset.targets.items()},
        row_mask=np.zeros(rows, bool),
        row=np.full(rows, -1, np.int32),
    )


def load(dataset: Dataset, split: str, *, train: bool, seed: int = 0, start: int = 0) -> Loader:
    """This process's part of a split's batches."""
    return dataset.loader(
        split,
        train=train,
        seed=seed,
        start=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


@dataclasses.dataclass
class Trainer:
    """What a run is made of, ready to take steps."""

    config: Config
    dataset: Dataset
    mesh: Mesh
    module: Multimodal
    periods: Periods
    state: TrainState
    shardings: TrainState
    step: Step

    @classmethod
    def build(cls, config: Config, dataset: Dataset) -> Trainer:
        """Model, optimiser and a fresh state on the config's mesh."""
        mesh = make_mesh(config.mesh)
        data, train = config.data, config.train
        accumulate = train.gradient_accumulation_steps
        check_batch_size("data.batch_size", data.batch_size, mesh, times=accumulate)
        check_batch_size("data.eval_batch_size", data.eval_batch_size or data.batch_size, mesh)
        module = build_model(config.model, config.task, dataset.facts)
        periods = Periods.of(config, len(dataset.rows("train")))
        schedule = make_schedule(config.optimizer, periods.total, periods.warmup)
        optimizer = make_optimizer(config.optimizer, schedule)
        state, shardings = make_state(
            module,
            optimizer,
            example_batch(dataset, data.batch_size),
            mesh,
            seed=config.seed,
            ema=bool(train.ema_decay),
        )
        step = make_step(
            module,
            optimizer,
            schedule,
            mesh,
            shardings,
            accumulate=accumulate,
            ema_decay=train.ema_decay,
        )
        return cls(config, dataset, mesh, module, periods, state, shardings, step)

    def evaluator(self, split: str):
        """`evaluate(state) -> Evaluation` on a split, compiled once."""
        shardings = {"params": self.shardings.params, **self.shardings.collections}
        function = make_evaluate(self.module, self.mesh, shardings)

        def run(state: TrainState) -> Evaluation:
            variables = {"params": state.best_params, **state.collections}
            with load(self.dataset, split, train=False) as batches:
                return evaluate(function, variables, batches, self.module.task, self.mesh)

        return run

    def run(self, loader: Loader, hooks: list[Hook], save: Save) -> str:
        """Takes steps until the end, a hook's stop or a signal; returns why it stopped early.

        Raises Preempted, after saving, when a signal asked to stop.
        """
        start = int(jax.device_get(self.state.step))
        with StopSignals() as signals:
            for step in range(start + 1, self.periods.total + 1):
                batch = next(loader)
                if step == start + 1:
                    failpoint("compile")
                with jax.transfer_guard("disallow"):
                    self.state, values = self.step(self.state, put_batch(batch, self.mesh))
                failpoint("step")
                moment = Moment(step, self.state, values, np.asarray(batch.row))
                for hook in hooks:
                    hook(moment)
                if signals.asked and step < self.periods.total:
                    save.now(moment)
                    raise Preempted(
                        702,
                        f"{signals.asked}: saved after step {step} of {self.periods.total}",
                        fix="go on with --resume",
                    )
                if moment.stop:
                    return moment.stop
        return ""


def fit(
    config: Config,
    workdir: str | Path,
    *,
    resume: bool = False,
    frame: Any = None,
    title: str = "train",
) -> RunFolder:
    """Trains into `workdir`; with `resume`, goes on where the run there stopped, or starts it.

    The folder is a run, loadable without code or data, from the first checkpoint on. A run that
    was resumed ends with the same bits as one that was never stopped. Raises ConfigError,
    DataError, CheckpointError, NumericError, or Preempted after an orderly stop.
    """
    config = config_lib.check(config)
    folder = RunFolder(workdir)
    resuming = resume and folder.exists()
    if not resuming:
        folder.create()
    first = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        if first:
            stack.enter_context(folder.lock())
        failpoint("start-up")
        settings = config_lib.to_json(config)
        if resuming:
            require_same_config(folder.read_config(), settings, str(folder.path))
            dataset = prepare(config.data, frame=frame, processors_folder=folder.processors)
            stored = read_json(folder.processors / "data.json")["fingerprint"]
            require_same_data(stored, dataset.fingerprint, str(folder.path))
        else:
            dataset = prepare(config.data, frame=frame)
        require_rows(dataset, config)
        trainer = Trainer.build(config, dataset)
        if first and not resuming:
            dataset.save(folder.processors)
            folder.write_facts(dataset.facts)
            write_json(folder.path / "data_summary.json", dataset.summary())
            folder.write_config(settings)
        if resuming and finished(folder):
            log.info("%s is finished already", folder.path)
            return folder
        _train(trainer, folder, stack, resuming=resuming, title=title)
    return folder


def require_rows(dataset: Dataset, config: Config) -> None:
    """Raises where training or choosing has no rows."""
    dataset.rows("train")
    if not len(dataset.splits.get("validation", ())) and config.train.early_stopping_patience:
        raise ConfigError(
            109,
            "early stopping without validation rows",
            where="train.early_stopping_patience",
            fix="give a validation split, or none",
        )


def finished(folder: RunFolder) -> bool:
    """Whether training in this folder came to its end."""
    status = folder.path / "status.json"
    return status.is_file() and read_json(status)["status"] == "finished"


def _train(
    trainer: Trainer,
    folder: RunFolder,
    stack: contextlib.ExitStack,
    *,
    resuming: bool,
    title: str,
) -> None:
    config, dataset, train = trainer.config, trainer.dataset, trainer.config.train
    first = jax.process_index() == 0
    checkpoints = stack.enter_context(
        Checkpoints(
            folder.checkpoints,
            keep_last=train.keep_last,
            keep_best=train.keep_best,
            best_metric=train.best_metric,
            best_mode="min" if train.best_metric == "loss" else "max",
            config_hash=folder.config_hash() if first else "",
            global_batch=config.data.batch_size,
        )
    )
    start, extra = 0, {}
    if resuming and checkpoints.latest() is not None:
        restored = checkpoints.restore(abstract(trainer.state, trainer.shardings))
        trainer.state, start, extra = restored.state, restored.step, restored.extra
        log.info("resuming after step %d of %d", start, trainer.periods.total)
    loader = stack.enter_context(load(dataset, "train", train=True, seed=config.seed, start=start))
    writer = build_writers(
        train.writers if first else (),
        folder.path,
        start if resuming else None,
        config=config_lib.to_json(config),
    )
    stack.callback(writer.close)
    progress = stack.enter_context(Progress(trainer.periods.total, start, title, enabled=first))
    task = trainer.module.task
    hooks: list[Hook] = [
        Log(
            trainer.periods,
            writer,
            progress,
            loader,
            task,
            examples=config.data.batch_size,
            max_skipped=train.max_skipped,
        )
    ]
    validate = None
    if len(dataset.splits.get("validation", ())):
        validate = Validate(
            trainer.periods,
            trainer.evaluator("validation"),
            writer,
            progress,
            metric=train.best_metric,
            patience=train.early_stopping_patience,
            threshold=train.early_stopping_threshold,
            headline=task.headline,
        )
        if "validate" in extra:
            validate.restore(extra["validate"])
        hooks.append(validate)
    save = Save(trainer.periods, checkpoints, loader, validate, train.best_metric)
    hooks.append(save)
    stopped = trainer.run(loader, hooks, save)
    if stopped:
        progress.note(f"stopped early: {stopped}")
    checkpoints.wait()
    if first:
        status = {"status": "finished", "stopped_early": stopped}
        write_json(folder.path / "status.json", status)
