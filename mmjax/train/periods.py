"""The settings' lengths in steps of this run."""

from __future__ import annotations

import dataclasses

from mmjax.train.config import Config
from mmjax.train.units import to_steps


@dataclasses.dataclass(frozen=True)
class Periods:
    """Steps: how many in all, and between two of each periodic thing (0: never)."""

    total: int
    warmup: int
    log: int
    evaluate: int
    save: int
    average: int | None = None
    """Steps after which parameters are averaged with all later ones; None if they are not."""

    @classmethod
    def of(cls, config: Config, epoch_examples: int) -> Periods:
        sizes = {"batch_size": config.data.batch_size, "epoch_examples": epoch_examples}
        train = config.train
        total = to_steps(train.duration, name="train.duration", **sizes)

        def steps(length: str, name: str) -> int:
            return to_steps(length, name=name, total_steps=total, **sizes)

        return cls(
            total=total,
            warmup=steps(config.optimizer.warmup, "optimizer.warmup"),
            log=steps(train.log_every, "train.log_every"),
            evaluate=steps(train.evaluate_every, "train.evaluate_every"),
            save=steps(train.save_every, "train.save_every"),
            average=steps(train.average_from, "train.average_from") if train.average_from else None,
        )

    def border(self, step: int) -> bool:
        """Whether anything happens after `step` steps."""
        return any(self.due(one, step) for one in (self.total, self.log, self.evaluate, self.save))

    def due(self, period: int, step: int) -> bool:
        """Whether a thing of this period happens after `step` steps; always after the last."""
        return bool(period) and (step % period == 0 or step == self.total)
