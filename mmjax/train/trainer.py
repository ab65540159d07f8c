"""One run: from a config to a run folder, whole or resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mmjax.checkpoint import processes
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.checkpoint.store import Checkpoints, Restored
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, Preempted
from mmjax.core.failpoints import failpoint
from mmjax.core.files import read_json, write_json
from mmjax.data.dataset import Dataset
from mmjax.data.loader import Loader
from mmjax.data.pipeline import prepare
from mmjax.models.base import Assembly
from mmjax.models.pretraining import Pretraining
from mmjax.parallel.mesh import check_batch_size, make_mesh
from mmjax.train import adapting, batch_statistics, constants, features, from_run, job, warm_start
from mmjax.train.config import Config
from mmjax.train.evaluate import Evaluation, evaluate
from mmjax.train.example import example_shapes
from mmjax.train.hooks import Hook, Log, Moment, Save, Validate
from mmjax.train.loading import ahead_of, load
from mmjax.train.optim import make_schedule
from mmjax.train.other_run import processor_folders
from mmjax.train.periods import Periods
from mmjax.train.pretraining import require_no_batch_statistics, require_objectives_work
from mmjax.train.ranges import require_ranges, require_whole_batches
from mmjax.train.resume import finished, has_validation, require_same_config, require_same_data
from mmjax.train.selection import mode_of, require_metric
from mmjax.train.signals import StopSignals
from mmjax.train.state import StatePlan, TrainState, plan_state
from mmjax.train.step import Step, make_evaluate, make_step
from mmjax.train.stepping import Stepping, calls
from mmjax.train.watchdog import Watchdog
from mmjax.writers import Progress, build_writers

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Trainer:
    """What a run is made of, ready to take steps."""

    config: Config
    dataset: Dataset
    mesh: Mesh
    module: Assembly | Pretraining
    periods: Periods
    plan: StatePlan
    step: Step
    features: features.Features
    """With `module` and `dataset`, in which features that are kept stand in for encoders."""
    state: TrainState
    """Shapes only, until `begin` makes it or `restore` reads it."""

    @classmethod
    def build(
        cls, config: Config, dataset: Dataset, schedule: Any = None, mesh: Mesh | None = None
    ) -> Trainer:
        """Model and optimiser on the config's mesh; `schedule` in place of the config's own.

        On `mesh`, if it is given, which may be one of devices that are not there.
        """
        require_ranges(config)
        mesh = make_mesh(config.mesh) if mesh is None else mesh
        data, train = config.data, config.train
        accumulate = train.gradient_accumulation_steps
        check_batch_size("data.batch_size", data.batch_size, mesh, times=accumulate)
        check_batch_size("data.eval_batch_size", data.eval_batch_size or data.batch_size, mesh)
        module = adapting.build(config, dataset.facts)
        if isinstance(module, Pretraining):
            module = module.clone(batch_size=data.batch_size)
            require_objectives_work(module, config)
        else:
            require_whole_batches(module.task, config)
        periods = Periods.of(config, dataset.epoch_examples("train"))
        own = make_schedule(config.optimizer, periods.total, periods.warmup)
        schedule = own if schedule is None else schedule
        optimizer = adapting.optimizer(config, schedule, periods.total)
        plan = plan_state(
            module,
            optimizer,
            example_shapes(dataset, data.batch_size),
            mesh,
            seed=config.seed,
            ema=adapting.averaged(config),
            overrides=config.mesh.overrides,
        )
        if accumulate > 1 and getattr(module, "batch_coupled", False):
            require_no_batch_statistics(plan.abstract.collections)
        fed = features.planned(config, dataset, module, plan, mesh)
        step = make_step(
            fed.module,
            optimizer,
            schedule,
            mesh,
            plan.shardings,
            accumulate=accumulate,
            ema_decay=train.ema_decay,
            average_from=periods.average,
            frozen=adapting.frozen_in(config, plan.abstract.params),
            total_steps=periods.total,
            watch=adapting.watch(config),
        )
        whole = (fed.dataset, mesh, fed.module, periods, plan, step, fed, plan.abstract)
        return cls(config, *whole)

    def begin(self) -> from_run.Started | None:
        """Makes a fresh state, with the weights of encoders that are pretrained, and then with what
        `init` takes of another run, which is returned.
        """
        if (whole := adapting.whole(self.config)) is not None:
            plain = Trainer.build(whole, self.dataset, mesh=self.mesh)
            started = plain.begin()
            self.state = adapting.replaced(self.plan.make(), plain.state, self.config)
            self.features.fill(self.state)
            return started
        # What is read of pretrained encoders is not drawn before.
        spare = [f"encoders_{name}" for name in self.config.model.pretrained]
        self.state, started = constants.fill(self.plan.make(spare), self.dataset), None
        if warm_start.wanted(self.config):
            self.state = warm_start.start(self.state, self.config)
        if self.config.init is not None:
            facts = self.dataset.facts
            self.state, started = from_run.start(self.state, self.config, facts)
        taken = {} if started is None else started.plan.taken
        self.state = adapting.settled(self.state, self.config, taken)
        self.features.fill(self.state)
        return started

    def restore(self, checkpoints: Checkpoints) -> Restored:
        """Reads the state of the newest whole checkpoint."""
        # Averages of what is frozen, which runs once kept, are the parameters themselves.
        spare = adapting.without_average(self.plan.abstract)
        restored = checkpoints.restore(self.plan.abstract, spare=spare)
        self.state = restored.state
        self.features.fill(self.state)
        return restored

    def evaluator(self, split: str) -> Callable[..., Evaluation]:
        """`evaluate(state, batches=None) -> Evaluation` on a split, compiled once.

        With `batches`, only so many of the first.
        """
        function = make_evaluate(self.module, self.mesh, self.plan.shardings.variables)

        def run(state: TrainState, batches: int | None = None) -> Evaluation:
            variables = state.best_variables
            with load(self.dataset, split, self.mesh, train=False) as loader:
                some = itertools.islice(loader, batches)
                texts = self.dataset.texts
                return evaluate(function, variables, some, self.module.task, self.mesh, texts=texts)

        return run

    def run(self, loader: Loader, hooks: list[Hook], save: Save) -> str:
        """Takes steps until the end, a hook's stop or a signal; returns why it stopped early.

        Raises Preempted, once saved, when a signal asked to stop.
        """
        step, most = int(jax.device_get(self.state.step)), self.config.train.steps_per_call
        stepping, stopped = Stepping(self.step, self.state, self.mesh, most), ""
        with StopSignals() as signals, Watchdog() as watchdog:
            pace = job.Pace()
            failpoint("compile")
            for batches, ahead in calls(loader, self.periods, step, most):
                with pace.waiting():
                    told = stepping.take(batches)
                last = step + len(batches)
                for batch, values in zip(batches, told, strict=True):
                    step += 1
                    failpoint("step")
                    rows = np.asarray(batch.row)
                    moment = Moment(step, stepping, values, rows, stop=stopped, among=step < last)
                    for hook in hooks:
                        with pace.waiting(getattr(hook, "waits", False)):
                            hook(moment)
                    stopped = moment.stop
                    watchdog.beat(step)
                    pace.step()
                border = self.periods.due(self.periods.log or 1, step)
                # Where the loader is ahead, its place is not that of the state.
                if not ahead and (asked := signals.agreed(border, pace)):
                    save.now(moment)
                    save.wait()
                    raise Preempted(
                        702,
                        f"{asked}: saved after step {step} of {self.periods.total}",
                        fix="go on with --resume",
                    )
                if stopped:
                    break
        self.state = stepping.state
        return stopped


def fit(
    config: Config,
    workdir: str | Path,
    *,
    resume: bool = False,
    frame: Any = None,
    dataset: Dataset | None = None,
    title: str = "train",
    hooks: Sequence[Hook] = (),
    built: Callable[[Trainer], None] = lambda trainer: None,
) -> RunFolder:
    """Trains into `workdir`; with `resume`, goes on where the run there stopped, or starts it.

    The folder is a run, loadable without code or data, from the first checkpoint on; what stops the
    run before it began leaves no folder. A run that was resumed ends with the same bits as one that
    was never stopped. `dataset` is the config's data if it is prepared already, `hooks` see each
    step border after validation, and before it is saved, and `built` is told what takes the steps,
    of a run that is not finished yet. Raises ConfigError, DataError,
    CheckpointError, NumericError, or Preempted after an orderly stop.
    """
    config = config_lib.check(config)
    require_ranges(config)
    folder = RunFolder(workdir)
    first = jax.process_index() == 0
    # What the first process finds: by the time another looks, it may have begun the run.
    exists = bool(processes.first(int(folder.exists())))
    resuming = resume and exists
    with contextlib.ExitStack() as stack:
        if not resuming and (first or exists):
            inner = (folder.processors, folder.checkpoints)
            new = [p for p in (*inner, folder.path, *folder.path.parents) if not p.exists()]
            folder.create()
            stack.callback(folder.remove_unused, new)
        if first:
            stack.enter_context(folder.lock())
        failpoint("start-up")
        stored = folder.read_config() if resuming else None
        config = config_lib.check(warm_start.with_encoders(config, stored))
        settings = config_lib.to_json(config)
        if resuming:
            require_same_config(folder.read_config(), settings, str(folder.path))
            if dataset is None:
                dataset = prepare(config.data, frame=frame, processors_folder=folder.processors)
            fingerprint = read_json(folder.processors / "data.json")["fingerprint"]
            require_same_data(fingerprint, dataset.fingerprint, str(folder.path))
        elif dataset is None:
            taken = processor_folders(config)
            dataset = prepare(config.data, frame=frame, taken=taken)
        require_rows(dataset, config)
        if resuming and finished(folder):
            log.info("%s is finished already", folder.path)
            return folder
        trainer = Trainer.build(config, dataset)
        built(trainer)
        job.tell(trainer.mesh, config.data.batch_size)
        evaluator = trainer.evaluator("validation") if has_validation(dataset) else None
        started = None
        if not resuming:
            started = trainer.begin()
            if evaluator is not None:
                # What is wrong with validation shows now, and not after hours of training.
                require_metric(config.train.best_metric, evaluator(trainer.state, 1).metrics)
        if first and not resuming:
            dataset.save(folder.processors)
            folder.write_facts(dataset.facts)
            write_json(folder.path / "data_summary.json", dataset.summary())
            if started is not None:
                write_json(folder.path / "init.json", started.to_json())
                started.tell()
            folder.write_config(settings)
            if dataset.quarantine.found:
                log.warning(
                    "rows left out are listed in %s", folder.processors / "quarantine.jsonl"
                )
        _train(trainer, evaluator, folder, stack, resuming=resuming, title=title, hooks=hooks)
    return folder


def require_rows(dataset: Dataset, config: Config) -> None:
    """Raises where training or choosing has no rows."""
    dataset.rows("train")
    if not has_validation(dataset) and config.train.early_stopping_patience:
        raise ConfigError(
            109,
            "early stopping without validation rows",
            where="train.early_stopping_patience",
            fix="give a validation split, or none",
        )


def _train(
    trainer: Trainer,
    evaluator: Callable[..., Evaluation] | None,
    folder: RunFolder,
    stack: contextlib.ExitStack,
    *,
    resuming: bool,
    title: str,
    hooks: Sequence[Hook],
) -> None:
    config, dataset, train = trainer.config, trainer.dataset, trainer.config.train
    first = jax.process_index() == 0
    checkpoints = stack.enter_context(
        Checkpoints(
            folder.checkpoints,
            keep_last=train.keep_last,
            keep_best=train.keep_best,
            best_metric=train.best_metric,
            best_mode=mode_of(train.best_metric),
            config_hash=folder.config_hash() if first else "",
            global_batch=config.data.batch_size,
        )
    )
    start, extra = 0, {}
    if resuming and checkpoints.latest() is not None:
        restored = trainer.restore(checkpoints)
        start, extra = restored.step, restored.extra
        log.info("resuming after step %d of %d", start, trainer.periods.total)
    elif resuming:
        trainer.begin()
    loader = stack.enter_context(
        load(
            dataset,
            "train",
            trainer.mesh,
            train=True,
            seed=config.seed,
            start=start,
            ahead=ahead_of(train),
        )
    )
    if config.init is not None and not resuming:
        # From here on the run that it starts from is needed no more.
        checkpoints.save(0, trainer.state, data_state=loader.state())
    writer = build_writers(
        train.writers if first else (),
        folder.path,
        start if resuming else None,
        config=config_lib.to_json(config),
    )
    stack.callback(writer.close)
    progress = stack.enter_context(Progress(trainer.periods.total, start, title, enabled=first))
    task = trainer.module.task
    parts: dict[str, Any] = {
        "log": Log(
            trainer.periods,
            writer,
            progress,
            loader,
            task,
            examples=config.data.batch_size,
            max_skipped=train.max_skipped,
            where=dataset.table.where,
        )
    }
    if evaluator is not None:
        parts["validate"] = Validate(
            trainer.periods,
            evaluator,
            writer,
            progress,
            metric=train.best_metric,
            patience=train.early_stopping_patience,
            threshold=train.early_stopping_threshold,
            headline=task.headline,
            logged=getattr(task, "logged", ()),
        )
    for name, part in parts.items():
        if name in extra:
            part.restore(extra[name])
    save = Save(
        trainer.periods,
        checkpoints,
        loader,
        parts,
        metric=train.best_metric,
        keep_best=bool(train.keep_best),
    )
    # A run may have been stopped between its last checkpoint and the note that it is finished.
    stopped = parts["validate"].why_stop() if "validate" in parts else ""
    if not stopped:
        own = [*batch_statistics.hooks(trainer, load), *parts.values()]
        stopped = trainer.run(loader, [*own, *hooks, save], save)
    if stopped:
        progress.note(f"stopped early: {stopped}")
    checkpoints.wait()
    if first:
        status = {"status": "finished", "stopped_early": stopped}
        write_json(folder.path / "status.json", status)
