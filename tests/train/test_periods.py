from mmjax.data.config import DataConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig
from mmjax.train.periods import Periods


def test_lengths_of_a_config_and_what_is_due_when():
    config = Config(
        data=DataConfig(batch_size=10),
        optimizer=OptimizerConfig(warmup="5%"),
        train=TrainConfig(
            duration="4 epochs",
            log_every="30 examples",
            evaluate_every="1 epoch",
            save_every="0 steps",
        ),
    )
    periods = Periods.of(config, 250)
    assert (periods.total, periods.warmup, periods.log, periods.evaluate) == (100, 5, 3, 25)
    assert [step for step in range(1, 101) if periods.due(periods.evaluate, step)] == [
        25,
        50,
        75,
        100,
    ]
    # The last step is due whatever the period is, unless that is never.
    assert periods.due(periods.log, 100)
    assert periods.save == 0
    assert not periods.due(periods.save, 100)
